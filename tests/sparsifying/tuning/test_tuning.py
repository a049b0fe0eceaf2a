"""Which layers become sparse: choices over given times, the pieces that are timed, the cache, the whole."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from onnx import ModelProto, helper

from onnxprune import native
from onnxprune.benching.results import FASTER
from onnxprune.benching.rounds import Timing
from onnxprune.benching.statistics import verdict
from onnxprune.errors import ModelError
from onnxprune.model.load import load
from onnxprune.sparse import UNSTRUCTURED, Mask, Pattern, parse_pattern, rewrite
from onnxprune.sparsifying.tuning import LayerTimes, choose, depthwise_beside, layer_times, select, whole
from onnxprune.sparsifying.tuning.cache import Cache, cache_folder, environment
from onnxprune.sparsifying.tuning.edges import at_edges
from onnxprune.sparsifying.tuning.masks import random_mask
from onnxprune.sparsifying.tuning.pieces import Piece, pieces
from onnxprune.trace import trace_model
from onnxprune.trace.groups import Trace
from tests.builders import Net
from tests.sparse.quantized import QuantizedCase

needs_library = pytest.mark.skipif(native.library_path() is None, reason=f"the library is {native.problem()}")
FOUR = Pattern(4)


def bottlenecks(blocks: int = 2, width: int = 16, size: int = 12) -> Trace:
    """Like MobileNetV2: widen, depthwise, narrow, add; all blocks alike."""
    net = Net(batch=1)
    x = net.input(width, size, size)
    for k in range(blocks):
        h = net.op("Clip", net.conv(x, 4 * width, name=f"wide{k}"), net.number(0), net.number(6))
        h = net.conv(h, 4 * width, 3, group=4 * width, pads=[1, 1, 1, 1], name=f"deep{k}")
        h = net.op("Clip", h, net.number(0), net.number(6))
        x = net.add(net.conv(h, width, name=f"narrow{k}"), x)
    net.output(x)
    return trace_model(load(net.model()))


def fixed(models: Sequence[ModelProto], threads: int) -> list[float]:
    """Dense layers take 1 ms, sparse ones less and less."""
    return [1 / (1 + k) for k in range(len(models))]


def reversed_(models: Sequence[ModelProto], threads: int) -> list[float]:
    """Sparse layers take longer than dense ones."""
    return fixed(models, threads)[::-1]


def never(models: Sequence[ModelProto], threads: int) -> list[float]:
    raise AssertionError("something is measured again")


# ---- the choice ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("dense", "sparse", "expected"),
    [
        (1.0, {"unstructured": 0.5, "4x1": 0.3}, "4x1"),
        (1.0, {"unstructured": 0.305, "4x1": 0.3}, "unstructured"),  # about as fast, and it costs less accuracy
        (1.0, {"8x1": 0.3, "4x1": 0.3}, "4x1"),
        (1.0, {"unstructured": 1.2, "4x1": 0.98}, "sparse it is not faster: 0.98 ms, dense 1 ms"),
        (1.0, {}, "there is no sparse operator for these blocks"),
    ],
)
def test_choice(dense: float, sparse: dict[str, float], expected: str) -> None:
    patterns = {parse_pattern(text): ms for text, ms in sparse.items()}
    found = choose({"w": LayerTimes("layer", dense, patterns)}, 0.05)
    assert str(found["w"]) == expected


def test_the_choice_keeps_reasons() -> None:
    times = {
        "a": LayerTimes("a", 1.0, {UNSTRUCTURED: 0.4}),
        "b": LayerTimes("b", 0.0, {}, reason="its size is not known"),
    }
    assert choose(times) == {"a": UNSTRUCTURED, "b": "its size is not known"}


# ---- pieces ----------------------------------------------------------------------------------------------------------
def test_equal_layers_have_equal_pieces() -> None:
    traced = bottlenecks()
    found = {piece.node: piece for piece in pieces(traced.graph, traced.facts) if isinstance(piece, Piece)}
    assert list(found) == ["wide0", "deep0", "narrow0", "wide1", "deep1", "narrow1"]
    for name in ("wide", "deep", "narrow"):
        assert found[f"{name}0"].key == found[f"{name}1"].key
    assert len({piece.key for piece in found.values()}) == 3
    assert [node.op_type for node in found["wide0"].model.graph.node] == ["Conv", "Clip"]
    assert [node.op_type for node in found["narrow0"].model.graph.node] == ["Conv", "Add"]
    other = pieces(bottlenecks(size=13).graph, bottlenecks(size=13).facts)
    assert not {piece.key for piece in found.values()} & {getattr(piece, "key", "") for piece in other}


def test_a_piece_computes_what_its_layers_do() -> None:
    traced = bottlenecks(blocks=1)
    narrow = next(p for p in pieces(traced.graph, traced.facts) if p.node == "narrow0")
    assert isinstance(narrow, Piece)
    session = onnxruntime.InferenceSession(narrow.filled().SerializeToString(), providers=["CPUExecutionProvider"])
    shapes = {entry.name: entry.shape for entry in session.get_inputs()}
    assert sorted(shapes.values()) == [[1, 16, 12, 12], [1, 64, 12, 12]]
    feed = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    bias = traced.graph.constants[traced.graph.nodes[narrow.covers[0]].inputs[2]].array()
    np.testing.assert_allclose(session.run(None, feed)[0][0, :, 3, 4], bias, rtol=1e-6)


def test_a_layer_of_unknown_size_stays_dense_with_a_reason() -> None:
    net = Net(batch=1)
    x = net.input(8, name="x")
    rows = net.op("Reshape", net.op("NonZero", x), np.array([-1, 2]))
    net.output(net.matmul(net.op("Cast", rows, to=1), 4, name="odd"))
    times = layer_times(trace_model(load(net.model())), 0.8, [FOUR], measure=never)
    assert [layer.reason for layer in times.values()] == ["the size of its input is not known before it runs"]


@pytest.mark.parametrize("text", ["unstructured", "4x1", "1x4", "4x4", "2:4"])
@pytest.mark.parametrize("shape", [(24, 16), (13, 12, 3, 3)])
def test_random_masks_have_their_pattern(text: str, shape: tuple[int, ...]) -> None:
    pattern = parse_pattern(text)
    mask = random_mask(shape, pattern, 0.75)
    assert mask.keep.shape == shape
    share = pattern.share or 0.75
    assert abs(1 - mask.keep.mean() - share) < 0.03
    if pattern.of:
        taps = mask.keep.reshape(shape[0], shape[1] // 4, 4, -1)
        assert (taps.sum(axis=2) == 2).all()
    rows = mask.keep[: shape[0] // pattern.rows * pattern.rows].reshape(-1, pattern.rows, *shape[1:])
    assert (rows == rows[:, :1]).all()
    if len(shape) == 2:
        turned = random_mask(shape[::-1], pattern, 0.75, transposed=True)
        np.testing.assert_array_equal(turned.keep, mask.keep.T)


# ---- times and their cache -------------------------------------------------------------------------------------------
@needs_library
def test_what_was_measured_is_not_measured_again(tmp_path: Path) -> None:
    traced, patterns = bottlenecks(), [FOUR, UNSTRUCTURED]
    first = layer_times(traced, 0.8, patterns, cache=tmp_path)  # for real
    assert len(first) == 4  # depthwise layers have no zeros
    assert all(set(layer.sparse_ms) == set(patterns) and layer.dense_ms > 0 for layer in first.values())
    assert layer_times(traced, 0.8, patterns, cache=tmp_path, measure=never) == first
    for other in ({"cache": None}, {"cache": tmp_path, "threads": 2}):
        with pytest.raises(AssertionError, match="measured again"):
            layer_times(traced, 0.8, patterns, measure=never, **other)  # type: ignore[arg-type]
    with pytest.raises(AssertionError, match="measured again"):
        layer_times(traced, 0.9, patterns, cache=tmp_path, measure=never)
    document = json.loads(next(tmp_path.iterdir()).read_text())
    assert document["threads"] == 0 and document["instruction set"] == native.instruction_set()


@needs_library
@pytest.mark.parametrize("content", ["", "{", "[]", '{"version": 1, "times": {"k": {"numbers": [1, "x"]}}}', "\0\xff"])
def test_a_corrupt_cache_is_no_error(tmp_path: Path, content: str) -> None:
    traced = bottlenecks(blocks=1)
    expected = layer_times(traced, 0.8, [FOUR], cache=tmp_path, measure=fixed)
    next(tmp_path.iterdir()).write_text(content, "latin-1")
    assert layer_times(traced, 0.8, [FOUR], cache=tmp_path, measure=fixed) == expected
    assert layer_times(traced, 0.8, [FOUR], cache=tmp_path, measure=never) == expected  # written anew


@needs_library
def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    found = layer_times(bottlenecks(blocks=1), 0.8, [FOUR], cache=tmp_path / "file" / "folder", measure=fixed)
    assert all(layer.sparse_ms[FOUR] == 0.5 for layer in found.values())


def test_two_writers_keep_the_times_of_both(tmp_path: Path) -> None:
    one, other = Cache(tmp_path, environment(1)), Cache(tmp_path, environment(1))
    one.put("a", (1.0, 2.0), "a layer")
    other.put("b", (3.0,), "another")
    one.save()
    other.save()
    again = Cache(tmp_path, environment(1))
    assert (again.get("a", 2), again.get("b", 1), again.get("b", 2)) == ((1.0, 2.0), (3.0,), None)
    assert len(list(tmp_path.iterdir())) == 1


def test_the_folder_is_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "onnxprune"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # the standard says: to be ignored
    found = cache_folder()
    assert found is not None and found.is_absolute()


@needs_library
def test_a_layer_that_cannot_be_timed_stays_dense() -> None:
    def broken(models: Sequence[ModelProto], threads: int) -> list[float]:
        raise ModelError("no kernel")

    found = layer_times(bottlenecks(blocks=1), 0.8, [FOUR], measure=broken)
    assert set(choose(found).values()) == {"it could not be timed: no kernel"}


@needs_library
@pytest.mark.parametrize("spelling", ["qdq", "qlinear", "dynamic"])
def test_layers_of_bytes_are_timed_too(spelling: str) -> None:
    shape, weight = ((1, 16, 64), (32, 64)) if spelling == "dynamic" else ((1, 16, 10, 10), (32, 16, 3, 3))
    case = QuantizedCase(spelling, shape, weight)
    found = layer_times(trace_model(load(case.model())), 0.8, [Pattern(4, 4), Pattern(1, 4)])
    assert list(found) == ["w"]
    assert set(found["w"].sparse_ms) == {Pattern(4, 4), Pattern(1, 4)} and found["w"].dense_ms > 0


@needs_library
def test_times_are_of_what_is_asked_for_whatever_the_cache_knows(tmp_path: Path) -> None:
    traced = bottlenecks(blocks=1)
    layer_times(traced, 0.8, [UNSTRUCTURED, FOUR], cache=tmp_path, measure=fixed)
    found = layer_times(traced, 0.8, [UNSTRUCTURED], cache=tmp_path, measure=never)
    assert found and all(list(layer.sparse_ms) == [UNSTRUCTURED] for layer in found.values())
    assert set(choose(found).values()) == {UNSTRUCTURED}


@needs_library
def test_layers_of_bytes_are_timed_in_blocks_that_they_have() -> None:
    traced = trace_model(load(QuantizedCase("qdq", (1, 16, 10, 10), (32, 16, 3, 3)).model()))
    found = layer_times(traced, 0.8, [Pattern(rows) for rows in (1, 2, 4, 8)], measure=fixed)
    assert [str(pattern) for pattern in found["w"].sparse_ms] == ["unstructured", "1x4", "2x4", "4x4"]


# ---- the whole -------------------------------------------------------------------------------------------------------
def test_depthwise_layers_beside_sparse_ones() -> None:
    traced = bottlenecks(blocks=3)
    weight = {node.label: node.inputs[1] for node in traced.graph.nodes if node.op_type == "Conv"}
    assert depthwise_beside(traced, [weight["wide1"]]) == (weight["deep1"],)
    assert depthwise_beside(traced, [weight["narrow0"], weight["wide0"]]) == (weight["deep0"],)
    assert depthwise_beside(traced, []) == ()


@pytest.mark.parametrize(
    ("behind", "expected"), [((), False), (("Relu",), False), (("MaxPool",), True), (("Relu", "MaxPool"), True)]
)
def test_layers_before_an_operator_with_a_layout_of_its_own_are_at_an_edge(
    behind: tuple[str, ...], expected: bool
) -> None:
    net = Net(batch=1)
    x = net.conv(net.input(8, 8, 8), 8, name="first")
    for op in behind:
        x = net.op(op, x, kernel_shape=[2, 2]) if op == "MaxPool" else net.op(op, x)
    net.output(net.conv(x, 8, name="last"))
    traced = trace_model(load(net.model()))
    weights = {node.label: node.inputs[1] for node in traced.graph.nodes if node.op_type == "Conv"}
    assert (weights["first"] in at_edges(traced.graph, pieces(traced.graph, traced.facts))) == expected
    assert weights["last"] not in at_edges(traced.graph, pieces(traced.graph, traced.facts))


def test_quantisation_does_not_hide_an_edge() -> None:
    proto = QuantizedCase("qdq", (1, 8, 8, 8), (8, 8, 3, 3)).model()
    proto.graph.node.append(helper.make_node("MaxPool", [proto.graph.output[0].name], ["pooled"], kernel_shape=[2, 2]))
    proto.graph.output[0].name = "pooled"
    for size in proto.graph.output[0].type.tensor_type.shape.dim[2:]:
        size.ClearField("dim_value")
    traced = trace_model(load(proto))
    assert at_edges(traced.graph, pieces(traced.graph, traced.facts)) == {"w"}


@needs_library
def test_what_is_chosen_is_faster_in_the_measured_whole_or_nothing_is_chosen(tmp_path: Path) -> None:
    traced = bottlenecks(blocks=2, width=48, size=28)
    found = select(traced, 0.9, [FOUR], threads=1, cache=tmp_path, seconds=0.1)
    assert found.best in found.tried
    if found.choice.patterns:
        assert found.best is not None and verdict(found.best.ratio) == FASTER and found.choice == found.best.choice
    else:
        assert all("faster" in reason for reason in found.choice.dense.values())
    assert set(found.choice.patterns) | set(found.choice.dense) == set(found.times)
    masks = {w: random_mask(traced.graph.constants[w].shape, p, 0.9) for w, p in found.choice.patterns.items()}
    done = rewrite(traced.graph.model, masks, depthwise=found.choice.depthwise)
    assert len(done.operators) == len(masks) + len(found.choice.depthwise) and not done.declined
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert select(traced, 0.9, [FOUR], threads=1, cache=tmp_path, seconds=0.1) == found  # nothing is measured
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}


@needs_library
def test_quantised_networks_are_judged_too() -> None:
    case = QuantizedCase("qdq", (1, 64, 28, 28), (64, 64, 3, 3), attributes={"pads": [1, 1, 1, 1]})
    found = select(trace_model(load(case.model())), 0.9, [Pattern(4, 4)], threads=1, seconds=0.1)
    assert set(found.times) == {"w"}
    if found.best is not None:
        assert found.best.choice.patterns == {"w": Pattern(4, 4)}
        assert bool(found.choice.patterns) == (verdict(found.best.ratio) == FASTER)


@needs_library
def test_a_network_without_zeros_stays_dense(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sparse operators that skip nothing are slower than dense ones, each..."""
    monkeypatch.setattr(whole, "layer_times", functools.partial(layer_times, measure=reversed_))
    found = select(bottlenecks(blocks=1), 0.0, [UNSTRUCTURED], threads=1)
    assert not found.choice.patterns and not found.choice.depthwise and found.best is None
    assert all("not faster" in reason for reason in found.choice.dense.values())


@needs_library
@pytest.mark.parametrize(("ratio", "chosen"), [(0.5, True), (1.0, False), (1.5, False)])
def test_the_whole_network_has_the_last_word(monkeypatch: pytest.MonkeyPatch, ratio: float, chosen: bool) -> None:
    """... or all together, although each alone is faster."""

    def raced(renew: Callable[[], Sequence[object]], feeds: int, **options: object) -> Timing:
        count = len(renew())
        row = [[(1e-3 * (ratio if k else 1), 0.0, 1e-3)] for k in range(count)]  # the first one is dense
        return Timing(
            1, 0, [1] * count, [6] * count, [True] * count, rows=[row] * 24, owners=[n // 2 for n in range(24)]
        )

    monkeypatch.setattr(whole, "layer_times", functools.partial(layer_times, measure=fixed))
    monkeypatch.setattr(whole.rounds, "measure", raced)
    found = select(bottlenecks(blocks=1), 0.9, [UNSTRUCTURED], threads=1)
    assert bool(found.choice.patterns) == chosen and found.best is not None
    assert found.best.ratio.value == pytest.approx(ratio)
    if not chosen:
        assert any("as a whole is not surely faster" in reason for reason in found.choice.dense.values())


@needs_library
def test_a_mask_of_the_user_is_none_of_ours() -> None:
    """The weights of the model that is timed stay what they are."""
    traced = bottlenecks(blocks=1)
    before = {name: tensor.array().copy() for name, tensor in traced.graph.model.tensors.items()}
    select(traced, 0.9, [FOUR], threads=1, seconds=0.1)
    for name, array in before.items():
        np.testing.assert_array_equal(traced.graph.model.tensors[name].array(), array)
    assert isinstance(random_mask((8, 8), FOUR, 0.5), Mask)
