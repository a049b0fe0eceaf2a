"""The parts of a sweep that run nothing: points, frontier, samples as a file, the folder."""

from __future__ import annotations

import fcntl
import json
import math
import os
import threading
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from sweep_support import small_data, small_model

from onnxprune.api.sweep import sweep
from onnxprune.benching.results import Comparison, Estimate
from onnxprune.data import open_data
from onnxprune.errors import OutputError, UsageError
from onnxprune.measure.summaries import summary_of
from onnxprune.model.load import load
from onnxprune.options.shrinking import SweepOptions
from onnxprune.results import Agreement
from onnxprune.sweeping.assemble import placed
from onnxprune.sweeping.folder import LOCK, Folder, open_folder
from onnxprune.sweeping.frontier import Candidate, dominated, dominates
from onnxprune.sweeping.points import TARGETS, measures, points_of
from onnxprune.sweeping.record import outcome_document, outcome_of
from onnxprune.sweeping.results import FAILED, FINISHED, NOTHING, Failure, Latency, Outcome, Point, SweptPoint
from onnxprune.sweeping.samples import opened, pack

IDENTITY = {"schema": "onnxprune.sweep-folder/1", "model": {"sha256": "a"}, "options": {"seed": 0}, "versions": {}}
POINT = Point("ratio-0.5-l1", 0.5, None, "l1")


def asked(ratios: Any, targets: Any, criteria: Any, **options: Any) -> SweepOptions:
    return SweepOptions(ratios=ratios, targets=targets, criteria=criteria, **options)


# ---- points ----------------------------------------------------------------------------------------------------
def test_every_amount_with_every_criterion() -> None:
    found = points_of(asked("0.2, 50%", ["macs=50%"], "l1,obs", data="random"))
    assert [point.name for point in found] == [
        *("ratio-0.2-l1", "ratio-0.2-obs", "ratio-0.5-l1", "ratio-0.5-obs", "macs-50pct-l1", "macs-50pct-obs"),
    ]
    assert found[2] == POINT
    assert len(points_of(asked("0.5,50%,0.5", (), "l1,l1"))) == 1, "no point twice"
    default = points_of(asked((), (), ()))
    assert [point.target for point in default] == list(TARGETS) and {point.criterion for point in default} == {"l1"}
    blocks = points_of(asked([0.5], (), (), units="blocks", data="random"))
    assert [(point.name, point.criterion) for point in blocks] == [("ratio-0.5-blocks", None)]


def test_names_are_those_of_files() -> None:
    targets = ["size=1MB", "size=1mb", "macs=1.5 G"]
    names = [point.name for point in points_of(asked((), targets, "l1"))]
    assert names == ["size-1MB-l1", "size-1mb-l1-2", "macs-1.5-G-l1"], "some systems do not tell case apart"


@pytest.mark.parametrize(
    ("ratios", "targets", "criteria", "message"),
    [
        ("half", (), (), "not a share"),
        ("1", (), (), "from 0 to below 1"),
        ("0.2,,0.4", (), (), "is empty"),
        ((), "speed=2", (), "speed"),
        ("0.5", (), "l3", "l3"),
        ("0.5", (), "obs", "calibration data"),
    ],
)
def test_what_shrink_would_refuse_is_refused_at_once(ratios: Any, targets: Any, criteria: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        points_of(asked(ratios, targets, criteria))


def test_what_has_no_effect_is_refused_at_once() -> None:
    with pytest.raises(UsageError, match="no effect without sparsity="):
        points_of(asked("0.5", (), (), lock=True))


def test_no_samples_are_refused_whether_they_are_open_or_not(tmp_path: Path) -> None:
    model, data = tmp_path / "model.onnx", tmp_path / "data.npz"
    small_model(model)
    small_data(data)
    for source in (data, open_data(data, load(model))):
        with pytest.raises(UsageError, match="samples= must be at least 1, not 0"):
            sweep(model, tmp_path / "points", ratios=[0.5], data=source, samples=0, bench=False)


def test_what_is_measured_is_known() -> None:
    for targets, options, expected in (
        ("macs=50%", {}, False),
        ("macs=50%,latency=50%", {}, True),
        ("macs=50%", {"multiple_of": "auto"}, True),
        ("macs=50%", {"pattern": "auto", "sparsity": 0.5}, True),
    ):
        one = asked((), targets, "l1", **options)
        assert measures(points_of(one), one) == expected


# ---- frontier --------------------------------------------------------------------------------------------------
def exact(quality: float, cost: float) -> Candidate:
    return Candidate(quality, cost, cost, cost)


def test_who_dominates_whom() -> None:
    found = {
        "good": exact(0.9, 50),
        "twin": exact(0.9, 50),
        "cheap": exact(0.7, 10),
        "worse": exact(0.8, 60),
        "worst": exact(0.6, 70),
        "broken": exact(math.nan, 1),
    }
    assert dominated(found) == {
        "good": None,
        "twin": None,
        "cheap": None,
        "worse": "good",
        "worst": "good",
        "broken": "good",
    }


def test_times_that_cannot_be_told_apart_dominate_nobody() -> None:
    """Equal quality: only if the intervals do not overlap. Better quality at no more time: in any case."""
    fast, slow = Candidate(0.9, 10, 9, 12), Candidate(0.9, 11, 10, 13)
    assert not dominates(fast, slow) and not dominates(slow, fast)
    assert dominates(fast, Candidate(0.9, 14, 13, 15))
    assert dominates(Candidate(0.95, 10, 9, 12), slow) and not dominates(slow, Candidate(0.95, 12, 11, 14))


def swept(name: str, ratio: Estimate) -> SweptPoint:
    """A point with an agreement of 90 % and this time by that of the original."""
    against = Comparison(name, "m", ratio, "same", True, 9, 0.02)
    found = Outcome(FINISHED, 1.0, agreement=Agreement(0.9, 0.8, 0.95, 40))
    return SweptPoint(Point(name, 0.5, None, name), found, latency=Latency(ratio, against))


def test_times_within_the_margin_of_bench_are_equal(tmp_path: Path) -> None:
    small_model(tmp_path / "m.onnx")
    model = summary_of(load(tmp_path / "m.onnx"), None)
    near = [swept("a", Estimate(0.5, 0.499, 0.501)), swept("b", Estimate(0.508, 0.507, 0.509))]
    assert [point.frontier for point in placed(near, model, "agreement", None)] == [("latency",)] * 2
    far = [near[0], swept("b", Estimate(0.52, 0.519, 0.521))]
    assert placed(far, model, "agreement", None)[1].dominated == {"latency": "a"}
    slow = placed([swept("a", Estimate(1.1, 1.09, 1.11))], model, "agreement", None)
    assert slow[0].dominated == {"latency": "the original"}


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=12))
def test_the_frontier_is_what_nothing_is_better_than(pairs: list[tuple[int, int]]) -> None:
    found = {str(k): exact(*pair) for k, pair in enumerate(pairs)}
    result = dominated(found)
    assert None in result.values()
    for name, (quality, cost) in zip(found, pairs, strict=True):
        better = any(q >= quality and c <= cost and (q, c) != (quality, cost) for q, c in pairs)
        assert (result[name] is not None) == better
        assert result[name] is None or result[str(result[name])] is None, "who is named is on the frontier"


# ---- samples ---------------------------------------------------------------------------------------------------
def test_samples_are_what_the_model_is_fed(tmp_path: Path) -> None:
    """Drawn and in order; a second packing has the same digest, other samples another one."""
    small_model(tmp_path / "m.onnx")
    small_data(tmp_path / "d.npz", 150)
    model = load(tmp_path / "m.onnx")
    data = open_data(str(tmp_path / "d.npz"), model, samples=100, seed=3)
    packed = pack(data, tmp_path / "samples")
    assert packed.samples == 100 and packed.sha256 == pack(data, tmp_path / "again").sha256
    other = open_data(str(tmp_path / "d.npz"), model, samples=100, seed=4)
    assert packed.sha256 != pack(other, tmp_path / "other").sha256
    again = open_data(opened(packed.path, data.specs), model)
    wanted, found = (list(one.batches(7)) for one in (data, again))
    assert all(np.array_equal(a["x"], b["x"]) for a, b in zip(wanted, found, strict=True))


def declared(*inputs: tuple[str, int, list[Any]]) -> onnx.ModelProto:
    """A model with these inputs, each of them passed on."""
    value = helper.make_tensor_value_info
    nodes = [helper.make_node("Identity", [name], [f"{name}.out"]) for name, _, _ in inputs]
    graph = helper.make_graph(
        nodes, "g", [value(*one) for one in inputs], [value(f"{name}.out", kind, None) for name, kind, _ in inputs]
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_shapes_that_differ_and_unusual_types(tmp_path: Path) -> None:
    kinds = [("a", TensorProto.FLOAT, ["n", "s"]), ("b", TensorProto.BFLOAT16, ["n", 2])]
    kinds += [("c", TensorProto.STRING, ["n", 1]), ("d", TensorProto.BOOL, ["n", 1])]
    model = load(declared(*kinds))
    rng = np.random.default_rng(0)

    def feeds() -> Any:
        for length in (3, 3, 5):
            yield {
                "a": rng.standard_normal((2, length)).astype(np.float32),
                "b": rng.standard_normal((2, 2)).astype(ml_dtypes.bfloat16),
                "c": np.array([["x" * length], ["ü"]], object),
                "d": np.array([[True], [False]]),
            }

    data = open_data(feeds, model)
    packed = pack(data, tmp_path / "samples")
    again = open_data(opened(packed.path, data.specs), model, samples=packed.samples)
    pairs = list(zip(data.batches(4), again.batches(4), strict=True))
    assert len(pairs) == 2 and data.samples == 6
    for wanted, found in pairs:
        for name, array in wanted.items():
            assert array.dtype == found[name].dtype and array.tolist() == found[name].tolist(), name


def test_single_numbers_and_fixed_batches(tmp_path: Path) -> None:
    model = load(declared(("a", TensorProto.FLOAT, [2, 3]), ("b", TensorProto.INT64, [])))
    arrays = {"a": np.arange(24, dtype=np.float32).reshape(8, 3), "b": np.arange(4)}
    data = open_data(arrays, model)
    packed = pack(data, tmp_path / "samples")
    again = open_data(opened(packed.path, data.specs), model)
    pairs = list(zip(data.batches(1), again.batches(1), strict=True))
    assert len(pairs) == 4
    for wanted, found in pairs:
        assert all(
            np.array_equal(wanted[name], found[name]) and wanted[name].shape == found[name].shape for name in wanted
        )


# ---- outcomes and the folder -----------------------------------------------------------------------------------
def outcome(tmp_path: Path, **rest: Any) -> Outcome:
    small_model(tmp_path / "m.onnx")
    model = summary_of(load(tmp_path / "m.onnx"), tmp_path / "m.onnx")
    return Outcome(FINISHED, 1.5, model, "abc", 7, 0.5, Agreement(0.9, 0.8, 0.95, 40), None, 0.25, 40, ("n",), **rest)


def test_outcomes_survive_json(tmp_path: Path) -> None:
    whole = outcome(tmp_path)
    failed = Outcome(FAILED, 0.5, failure=Failure("CutError", "no", "try", 4))
    for one in (whole, failed, Outcome(NOTHING, 1, error=math.inf, no_agreement="why")):
        assert outcome_of(json.loads(json.dumps(outcome_document(one), allow_nan=False))) == one


def committed(folder: Folder, found: Outcome, content: bytes = b"model") -> None:
    (folder.work / f"{POINT.name}.onnx").write_bytes(content)
    (folder.work / f"{POINT.name}.onnx.data").write_bytes(b"weights")
    files = {name: folder.work / name for name in (f"{POINT.name}.onnx.data", f"{POINT.name}.onnx")}
    folder.commit(POINT, found, files)


def test_a_point_is_finished_if_its_files_are_as_they_were(tmp_path: Path) -> None:
    found = outcome(tmp_path)
    target = tmp_path / "s"
    with open_folder(target) as folder:
        folder.claim(IDENTITY)
        assert folder.finished(POINT) is None
        committed(folder, found)
        assert folder.finished(POINT) == found
    names = {".lock", "sweep.json", *(f"{POINT.name}{end}" for end in (".json", ".onnx", ".onnx.data"))}
    assert {path.name for path in target.iterdir()} == names, "nothing else stays"
    for damage in (f"{POINT.name}.onnx", f"{POINT.name}.onnx.data", f"{POINT.name}.json"):
        before = (target / damage).read_bytes()
        (target / damage).write_bytes(before[:-3])
        with open_folder(target) as folder:
            folder.claim(IDENTITY)
            assert folder.finished(POINT) is None, damage
        (target / damage).write_bytes(before)
    with open_folder(target) as folder:
        folder.claim(IDENTITY)
        assert folder.finished(POINT) == found
        folder.commit(POINT, Outcome(FAILED, 0.5, failure=Failure("Crashed", "no", None, 3)), {})
        assert folder.finished(POINT) is None, "what failed is tried again"


def test_another_sweep_is_refused(tmp_path: Path) -> None:
    with open_folder(tmp_path / "s") as folder:
        folder.claim(IDENTITY)
    other = {**IDENTITY, "model": {"sha256": "b", "name": "n.onnx"}, "options": {"seed": 1}, "versions": {"onnx": "2"}}
    with open_folder(tmp_path / "s") as folder, pytest.raises(OutputError) as error:
        folder.claim(other)
    said = str(error.value)
    assert "now n.onnx (b)" in said
    assert "seed= was 0, now 1" in said and "onnx was not given, now 2" in said and "out=" in said


def test_a_folder_that_says_nothing_is_not_taken(tmp_path: Path) -> None:
    with open_folder(tmp_path / "s") as folder:
        folder.claim(IDENTITY)
    (tmp_path / "s" / "sweep.json").write_text("{")
    with open_folder(tmp_path / "s") as folder, pytest.raises(OutputError, match="not one that this version wrote"):
        folder.claim(IDENTITY)


def test_two_writers_and_foreign_folders_are_refused(tmp_path: Path) -> None:
    with open_folder(tmp_path / "s") as folder:
        folder.claim(IDENTITY)
        with pytest.raises(OutputError, match="another sweep is writing"), open_folder(tmp_path / "s"):
            raise AssertionError
        assert folder.work.is_dir(), "the other one left it alone"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a.txt").write_text("a")
    with pytest.raises(OutputError, match="not the folder of a sweep"), open_folder(tmp_path / "mine"):
        raise AssertionError
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["a.txt"]
    with pytest.raises(OutputError, match="cannot use the folder"), open_folder(tmp_path / "no" / "where"):
        raise AssertionError


def test_a_lock_that_is_soon_free_is_waited_for(tmp_path: Path) -> None:
    """As that of a killed sweep whose child has not yet started its program."""
    (tmp_path / "s").mkdir()
    descriptor = os.open(tmp_path / "s" / LOCK, os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    timer = threading.Timer(0.15, os.close, [descriptor])
    timer.start()
    with open_folder(tmp_path / "s") as folder:
        assert not timer.is_alive()
        folder.claim(IDENTITY)


def test_what_was_half_done_goes_and_a_folder_without_a_sweep_too(tmp_path: Path) -> None:
    with open_folder(tmp_path / "s") as folder:
        folder.claim(IDENTITY)
    (tmp_path / "s" / ".work-old").mkdir()
    (tmp_path / "s" / ".work-old" / "x").write_text("x")
    with open_folder(tmp_path / "s"):
        assert not (tmp_path / "s" / ".work-old").exists()
    with pytest.raises(KeyboardInterrupt), open_folder(tmp_path / "new"):
        raise KeyboardInterrupt
    assert not (tmp_path / "new").exists()
