"""Every activation criterion against its definition, computed from whole tensors."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import helper

from onnxprune.capture.statistics import Deviations, Ranks, Sizes, Zeros
from onnxprune.choose.score.activations import activation_criterion, activation_scores, criteria, get
from onnxprune.choose.score.registry import FloatArray
from onnxprune.errors import ModelError, UsageError
from onnxprune.model.load import load
from onnxprune.trace import Trace, trace_model
from onnxprune.trace.groups import Group
from tests.builders import Net

Array = NDArray[Any]
NAMES = [entry.name for entry in criteria()]
every = pytest.mark.parametrize("name", NAMES)


def definition(name: str, maps: Array) -> FloatArray:
    """The score of each channel of maps (samples, channels, height, width), straight from the formula."""
    h = maps.astype(np.float64)
    one: dict[str, Callable[[FloatArray], float]] = {
        "apoz": lambda c: float((c != 0).mean()),
        "mean-activation": lambda c: float(np.abs(c).mean()),
        "std-activation": lambda c: float(c.std()),
        "entropy": lambda c: histogram_entropy(c.mean(axis=(1, 2))),
        "hrank": lambda c: float(np.mean([np.linalg.matrix_rank(m.astype(np.float32)) for m in c[:64]])),
    }
    return np.array([one[name](h[:, c]) for c in range(h.shape[1])])


def histogram_entropy(values: FloatArray) -> float:
    if values.min() == values.max():
        return 0.0
    counts, _ = np.histogram(values, bins=max(round(math.sqrt(len(values))), 2))
    share = counts[counts > 0] / len(values)
    return float(-(share * np.log(share)).sum())


def feeds(net: Net, count: int = 20, size: int = 7, seed: int = 0) -> list[dict[str, Array]]:
    """`count` samples in batches of `size`, the last one smaller."""
    value = net.inputs[0]
    shape = [d.dim_value for d in value.type.tensor_type.shape.dim][1:]
    x = np.random.default_rng(seed).standard_normal((count, *shape)).astype(np.float32)
    return [{value.name: x[k : k + size]} for k in range(0, count, size)]


def seen(net: Net, key: str, batches: list[dict[str, Array]]) -> Array:
    """All of one inner value."""
    model = net.model()
    if key not in {o.name for o in model.graph.output}:
        model.graph.output.append(helper.make_tensor_value_info(key, 1, None))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return np.concatenate([session.run([key], feed)[0] for feed in batches])


def traced(net: Net) -> tuple[Trace, dict[str, Group]]:
    trace = trace_model(load(net.model()))
    return trace, {g.name: g for g in trace.prunable}


def scores(net: Net, name: str, batches: list[dict[str, Array]]) -> dict[str, FloatArray | None]:
    trace, groups = traced(net)
    found = activation_scores(trace, list(groups.values()), batches, name)
    return dict(zip(groups, found, strict=True))


def test_the_names() -> None:
    assert NAMES == ["apoz", "entropy", "hrank", "mean-activation", "std-activation"]
    assert all(entry.doc.endswith(".") and len(entry.source) > 15 for entry in criteria())


@every
def test_what_the_next_layer_reads(name: str) -> None:
    """conv - batch norm - relu - conv: the value behind the relu."""
    net = Net()
    h = net.relu(net.bn(net.conv(net.input(3, 6, 5), 8, 3, name="a")))
    net.head(h)
    batches = feeds(net)
    np.testing.assert_allclose(scores(net, name, batches)["a"], definition(name, seen(net, h, batches)), rtol=1e-6)


@every
def test_members_are_averaged(name: str) -> None:
    """A residual stream is read three times; a unit gets the mean of its three values."""
    net = Net()
    h = net.relu(net.stem(6))
    inner = net.relu(net.conv(h, 5, name="b"))
    total = net.add(h, net.conv(inner, 6, name="c"))
    net.head(net.relu(net.conv(total, 4, name="d")))
    late = net.relu(total)
    net.head(late, name="y")
    batches = feeds(net)
    found = scores(net, name, batches)
    stream = np.mean([definition(name, seen(net, key, batches)) for key in (h, total, late)], axis=0)
    np.testing.assert_allclose(found["a"], stream, rtol=1e-6)
    np.testing.assert_allclose(found["b"], definition(name, seen(net, inner, batches)), rtol=1e-6)


@every
@pytest.mark.parametrize("how", ["pool", "flatten", "mean"])
def test_maps_are_taken_before_their_positions_are_lost(name: str, how: str) -> None:
    net = Net()
    h = net.relu(net.stem(7, size=4))
    if how == "mean":
        flat = net.mean(h, 2, 3, keepdims=0)
    else:
        flat = net.op("Flatten", net.op("GlobalAveragePool", h) if how == "pool" else h)
    net.head(flat)
    batches = feeds(net)
    np.testing.assert_allclose(scores(net, name, batches)["a"], definition(name, seen(net, h, batches)), rtol=1e-6)


@every
def test_vectors(name: str) -> None:
    """Without positions a map is one number: its rank is 1 unless it is zero."""
    net = Net()
    h = net.relu(net.gemm(net.input(6), 9, name="a"))
    net.head(h)
    batches = feeds(net)
    maps = seen(net, h, batches)[:, :, None, None]
    np.testing.assert_allclose(scores(net, name, batches)["a"], definition(name, maps), rtol=1e-6)


@every
def test_sequences_have_their_channels_last(name: str) -> None:
    net = Net()
    h = net.relu(net.tokens(8, length=5))
    net.project(h)
    batches = feeds(net)
    maps = np.moveaxis(seen(net, h, batches), -1, 1)[:, :, None]
    np.testing.assert_allclose(scores(net, name, batches)["a"], definition(name, maps), rtol=1e-6)


@every
def test_grouped_and_transposed_convolutions_read_too(name: str) -> None:
    net = Net()
    h = net.relu(net.stem(8))
    g = net.relu(net.conv(h, 6, name="b", group=2))
    net.output(net.transposed(g, 4, name="z"))
    batches = feeds(net)
    found = scores(net, name, batches)
    np.testing.assert_allclose(found["a"], definition(name, seen(net, h, batches)), rtol=1e-6)
    np.testing.assert_allclose(found["b"], definition(name, seen(net, g, batches)), rtol=1e-6)


@every
def test_concatenated_groups_get_their_own_channels(name: str) -> None:
    net = Net()
    x = net.input(3, 6, 6)
    both = net.relu(net.concat(net.conv(x, 4, name="a"), net.conv(x, 6, name="b")))
    net.head(both)
    batches = feeds(net)
    found, whole = scores(net, name, batches), definition(name, seen(net, both, batches))
    np.testing.assert_allclose(found["a"], whole[:4], rtol=1e-6)
    np.testing.assert_allclose(found["b"], whole[4:], rtol=1e-6)


def test_a_group_that_no_layer_sums_over_has_no_scores() -> None:
    net = Net()
    net.output(net.op("ReduceMax", net.relu(net.stem(8)), axes=[1]))
    assert scores(net, "apoz", feeds(net)) == {"a": None}


@every
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 99))
def test_permuting_filters_permutes_scores(name: str, seed: int) -> None:
    def build(order: Array) -> Net:
        net = Net(seed=seed)
        x, weight, bias = net.input(3, 6, 6), net.normal(8, 3, 3, 3), net.normal(8)
        net.head(net.relu(net.op("Conv", x, weight[order], bias[order], name="a")))
        return net

    order = np.random.default_rng(seed).permutation(8)
    plain, permuted = build(np.arange(8)), build(order)
    first, second = (scores(net, name, feeds(net))["a"] for net in (plain, permuted))
    assert first is not None and second is not None
    np.testing.assert_allclose(second, first[order], rtol=1e-5)


@pytest.mark.parametrize("name", ["std-activation", "entropy"])
def test_constant_channels_leave_first(name: str) -> None:
    """Also where the constant is large, and not a round number."""
    net = Net()
    weight, bias = net.normal(6, 3, 1, 1), np.full(6, 1000.1, np.float32)
    weight[[1, 4]] = 0
    net.head(net.relu(net.op("Conv", net.input(3, 6, 6), weight, bias, name="a")))
    found = scores(net, name, feeds(net))["a"]
    assert found is not None
    assert found[[1, 4]].tolist() == [0, 0] and (np.delete(found, [1, 4]) > 0).all()


@every
def test_dead_channels_score_zero(name: str) -> None:
    net = Net()
    weight, bias = net.normal(6, 3, 3, 3), net.normal(6)
    weight[2], bias[2] = 0, -1
    net.head(net.relu(net.op("Conv", net.input(3, 6, 6), weight, bias, name="a")))
    found = scores(net, name, feeds(net))["a"]
    assert found is not None and found[2] == 0 and (np.delete(found, 2) > 0).all()


@every
def test_batches_do_not_matter(name: str) -> None:
    net = Net()
    net.head(net.relu(net.stem(8)))
    one, other = (scores(net, name, feeds(net, 90, size))["a"] for size in (90, 11))
    np.testing.assert_allclose(one, other, rtol=1e-9)


def test_ranks_are_taken_of_the_first_samples() -> None:
    net = Net()
    net.head(net.relu(net.stem(8)))
    assert get("hrank").samples == 64
    many, few = feeds(net, 90, 40), feeds(net, 90, 64)[:1]
    np.testing.assert_array_equal(scores(net, "hrank", many)["a"], scores(net, "hrank", few)["a"])


def test_the_rank_of_products_is_known() -> None:
    """Rounding to the type of the data does not count as rank."""
    rng = np.random.default_rng(0)
    for kind in (np.float16, np.float32, np.float64):
        for rank in (0, 1, 2):
            ranks = Ranks(3)
            ranks.add((rng.standard_normal((4, 3, 9, rank)) @ rng.standard_normal((4, 3, rank, 7))).astype(kind))
            assert ranks.total.tolist() == [4.0 * rank] * 3


def test_large_values_are_looked_at_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    net = Net()
    net.head(net.relu(net.stem(8)))
    whole = {name: scores(net, name, feeds(net))["a"] for name in NAMES}
    monkeypatch.setattr("onnxprune.capture.activations.PIECE", 700)
    for name in NAMES:
        np.testing.assert_allclose(scores(net, name, feeds(net))["a"], whole[name], rtol=1e-12)


def test_progress_and_order() -> None:
    net = Net()
    h = net.relu(net.conv(net.relu(net.stem(8)), 4, name="b"))
    net.head(h)
    trace, groups = traced(net)
    steps: list[tuple[int, int]] = []
    found = activation_scores(
        trace,
        [groups["b"], groups["a"]],
        feeds(net),
        "apoz",
        progress=lambda done, of: steps.append((done, of)),
    )
    assert [x.shape for x in found if x is not None] == [(4,), (8,)]
    assert steps == [(1, 2), (2, 2)]


@every
def test_what_is_not_finite_is_named(name: str) -> None:
    net = Net()
    h = net.op("Log", net.stem(8))
    net.head(h)
    with pytest.raises(ModelError, match=f"the activation '{h}' holds NaN or infinity"):
        scores(net, name, feeds(net))


def test_registry() -> None:
    with pytest.raises(UsageError, match="unknown criterion 'mean_activatio'") as caught:
        get("mean_activatio")
    assert "did you mean mean-activation?" in str(caught.value) and "hrank" in str(caught.value)

    def silent(seen: Zeros) -> FloatArray:
        raise AssertionError

    with pytest.raises(ValueError, match="activation criterion 'new' has no docstring"):
        activation_criterion("new", statistic=Zeros, source="")(silent)
    with pytest.raises(ValueError, match="activation criterion 'apoz' is registered twice"):
        activation_criterion("apoz", statistic=Zeros, source="")(silent)


def test_a_criterion_that_gives_the_wrong_shape_is_our_bug() -> None:
    with pytest.raises(ValueError, match=r"'apoz' gave float64 \(3,\) for 4 channels"):
        get("apoz")("x", 4, Zeros(3))


@pytest.mark.parametrize("statistic", [Deviations, Ranks, Sizes, Zeros])
def test_integers_count_by_their_value(statistic: type[Any]) -> None:
    """The smallest int8 has no negative in its type."""
    small = np.random.default_rng(0).integers(-128, 127, (3, 4, 5, 6)).astype(np.int8)
    small[0, 0, 0, 0] = -128
    one, other = statistic(4), statistic(4)
    one.add(small)
    other.add(small.astype(np.float32))
    for name, value in vars(one).items():
        np.testing.assert_array_equal(value, vars(other)[name])
