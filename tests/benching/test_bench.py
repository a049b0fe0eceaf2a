"""Real models, really run; no time is asserted. Verdicts are tested on intervals that are put in place of the measured
ones; whether measured ones are right is for `make bench-honesty`.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bench_support import DIGITS, convolutions, quick, save, unknown
from onnx import helper, numpy_helper

from onnxprune.benching.baseline import compare_with, is_document, read_baseline
from onnxprune.benching.bench import against, judged
from onnxprune.benching.results import BenchResult, Comparison, Estimate, Gate
from onnxprune.benching.statistics import verdict
from onnxprune.benching.tasks import Crashed, run_job
from onnxprune.errors import DataError, GateError, ModelError, OnnxPruneError, UsageError
from onnxprune.report import bench as text
from onnxprune.report.bench_document import bench as document
from onnxprune.report.documents import dumps
from onnxprune.report.render import markdown, plain

SMALL, LARGE = (8,), (8,) + (96,) * 8


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> BenchResult:
    """A small network, one of far more work, and one that cannot be run."""
    folder = tmp_path_factory.mktemp("bench")
    small, large = convolutions(folder / "small.onnx", *SMALL), convolutions(folder / "large.onnx", *LARGE)
    return quick(small, large, unknown(folder / "odd.onnx"), runs=8, fail_above="5%", batch="2", seed=3)


@pytest.fixture(scope="module")
def slower(result: BenchResult) -> BenchResult:
    """The same, had the large network taken three times as long."""
    found = replace(result.settings[0].comparisons[0], ratio=Estimate(3.0, 2.9, 3.1), verdict="slower")
    settings = (replace(result.settings[0], comparisons=(found,)),)
    return replace(result, settings=settings, gate=judged(0.05, settings))


def test_models_are_compared_in_pairs(result: BenchResult) -> None:
    found = result.settings[0]
    (comparison,) = found.comparisons
    assert (comparison.model, comparison.reference) == ("large.onnx", "small.onnx")
    assert comparison.verdict == verdict(comparison.ratio)
    assert comparison.ratio.low <= comparison.ratio.value <= comparison.ratio.high
    assert (found.rounds, comparison.pairs, comparison.paired) == (8, 8, True)
    assert result.gate == judged(0.05, result.settings)


def test_a_slower_model_fails_the_gate(slower: BenchResult) -> None:
    assert slower.gate is not None and slower.gate.failed == slower.settings[0].comparisons
    error = replace(slower, rejected=()).failure()
    assert isinstance(error, GateError) and "--fail-above allows 5 %" in error.message


def test_what_is_measured_besides(result: BenchResult) -> None:
    small, large = result.settings[0].measurements
    for one in (small, large):
        assert 0 < one.latency.low <= one.latency.value <= one.latency.high
        assert (one.tail is None) == (one.timed < 59)
        assert one.tail is None or one.tail.value >= one.latency.value
        assert one.samples == 2 and one.throughput.value == pytest.approx(2 / one.latency.value)
        assert one.load.value > 0 and one.first_run.value > 0 and one.warmup >= 6 and one.timed >= 8
        assert one.peak_memory is not None and one.runtime_memory is not None
        assert one.peak_memory.value > one.runtime_memory.value > 1e6
        assert one.inferences >= 1
    assert result.inputs[0].shape == (2, 3, 16, 16) and result.inputs[0].chosen == ()


def test_a_model_that_cannot_be_run_is_left_out_with_the_words_of_the_runtime(slower: BenchResult) -> None:
    (rejected,) = slower.rejected
    assert rejected.model == "odd.onnx" and "Nonsense" in rejected.reason
    error = slower.failure()
    assert isinstance(error, ModelError) and error.exit_code == 3 and "odd.onnx" in error.message


def test_every_figure_has_its_unit_and_its_uncertainty(slower: BenchResult) -> None:
    shown = plain(text.bench_report(slower))
    assert "slower: large.onnx against small.onnx: " in shown and "8 interleaved pairs, 1 thread)" in shown
    assert "failed: large.onnx" in shown and "odd.onnx was left out" in shown
    for line in shown.splitlines():
        for unit in (" us", " ms", " k/s"):
            if f"{unit} " in line and "slowest" not in line:
                assert f"{unit} (" in line, line
    assert markdown(text.bench_report(slower)).count("| ---") >= 2
    brief = plain(text.verdicts(slower))
    assert brief.splitlines()[0].startswith("slower: ") and len(brief) < len(shown) / 2


def test_too_few_models_left_is_an_error(tmp_path: Path) -> None:
    fine, odd = convolutions(tmp_path / "fine.onnx", 4), unknown(tmp_path / "odd.onnx")
    (tmp_path / "text.onnx").write_text("no model")
    for models, words in (((odd,), "odd.onnx"), ((fine, odd), "Nothing is left"), ((odd, fine, fine), "compared with")):
        with pytest.raises(ModelError, match=r"odd\.onnx could not be measured") as caught:
            quick(*models)
        assert words in str(caught.value) and caught.value.exit_code == 3
    with pytest.raises(ModelError, match=r"text\.onnx"):
        quick(fine, tmp_path / "text.onnx")
    with pytest.raises(UsageError):
        quick(fine, tmp_path / "missing.onnx")


def test_sizes_too_small_for_the_model_are_chosen_larger(tmp_path: Path) -> None:
    """A kernel of 600 steps does not fit into the usual 256."""
    weight = numpy_helper.from_array(np.ones((1, 1, 600), np.float32), "w")
    path = save(tmp_path / "long.onnx", [helper.make_node("Conv", ["x", "w"], ["y"])], [weight], ["N", 1, "T"])
    assert quick(path).inputs[0].shape[-1] >= 600
    with pytest.raises(ModelError, match="cannot run it"):
        quick(path, shape=("x=1x1x100",))


def test_external_data_several_settings_and_sessions(tmp_path: Path) -> None:
    path = convolutions(tmp_path / "m.onnx", 8, external=True)
    found = quick(path, threads="1,2", batch="1,3", runs=6)
    assert [(s.setting.threads, s.setting.batch) for s in found.settings] == [(1, 1), (1, 3), (2, 1), (2, 3)]
    assert [s.measurements[0].samples for s in found.settings] == [1, 3, 1, 3]
    assert found.reference is None and not found.settings[0].comparisons and found.failure() is None


def test_a_profile_says_why_a_layer_left_the_blocked_layout(tmp_path: Path) -> None:
    before, after = convolutions(tmp_path / "a.onnx", 32, 32, 32), convolutions(tmp_path / "b.onnx", 31, 31, 32)
    found = quick(before, after, profile=True)
    (layers,) = found.profile_comparisons
    changes = {change.layer: change for change in layers.changes}
    assert {"conv0", "conv1", "conv2"} <= set(changes)
    if "NCHWc" not in changes["conv1"].before.kernel:  # type: ignore[union-attr]
        pytest.skip("this processor has no blocked layout")
    for name in ("conv1", "conv2"):
        assert changes[name].reason == "31 input channels are not a multiple of 4: out of the blocked layout (NCHWc)"
    first, second = found.profiles
    assert 10 <= first.runs <= 50 and first.layout_count >= 1
    assert {one.operator for one in second.operators} >= {"FusedConv"}
    assert all(0 < one.share.value <= 1 for one in first.operators)
    assert "not a multiple of 4" in plain(text.bench_report(found))


# ---- the gate and earlier results --------------------------------------------------------------------------------
def _gate(result: BenchResult, low: float, high: float) -> Gate:
    comparison = replace(result.settings[0].comparisons[0], ratio=Estimate((low + high) / 2, low, high))
    found = judged(0.05, [replace(result.settings[0], comparisons=(comparison,))])
    assert found is not None
    return found


def test_the_gate_fails_by_the_lower_end_and_says_when_it_cannot_tell(result: BenchResult) -> None:
    assert [len(x) for x in (_gate(result, 1.06, 1.1).failed, _gate(result, 1.06, 1.1).undecided)] == [1, 0]
    assert [len(x) for x in (_gate(result, 1.04, 1.1).failed, _gate(result, 1.04, 1.1).undecided)] == [0, 1]
    assert [len(x) for x in (_gate(result, 1.0, 1.04).failed, _gate(result, 1.0, 1.04).undecided)] == [0, 0]
    undecided = replace(result, gate=_gate(result, 1.04, 1.1), rejected=())
    assert "undecided" in plain(text.verdicts(undecided)) and undecided.failure() is None
    assert "passed" in plain(text.verdicts(replace(result, gate=_gate(result, 1.0, 1.04))))


def test_an_earlier_result_is_a_weaker_baseline(result: BenchResult, tmp_path: Path) -> None:
    certain = tuple(replace(m, latency=Estimate(1e-3, 0.99e-3, 1.01e-3)) for m in result.settings[0].measurements)
    result = replace(result, settings=(replace(result.settings[0], measurements=certain),))
    path = tmp_path / "earlier.json"
    path.write_text(dumps(document(result)))
    assert is_document(path) and not is_document(DIGITS)
    baseline = read_baseline(path)
    measured = result.settings[0].measurements[0]
    comparison = compare_with(baseline, result.settings[0].setting, measured, 0.02)
    assert isinstance(comparison, Comparison) and not comparison.paired and comparison.verdict in ("same", "undecided")
    assert comparison.ratio.value == pytest.approx(1) and "another time" in str(comparison.reason)
    slower = Estimate(*(10 * x for x in (measured.latency.value, measured.latency.low, measured.latency.high)))
    compared, unknown_ = against(
        baseline, [replace(result.settings[0], measurements=(replace(measured, latency=slower),))]
    )
    assert compared[0].comparisons[0].verdict == "slower" and not unknown_
    assert "weaker: measured at another time" in plain(text.verdicts(replace(result, settings=tuple(compared))))
    other = replace(result.settings[0], setting=replace(result.settings[0].setting, threads=7))
    compared, unknown_ = against(baseline, [other])
    assert compared[0].comparisons == () and len(unknown_) == 2 and "7 threads" in unknown_[0]
    with pytest.raises(UsageError, match="nothing to compare"):
        judged(0.05, compared)


@pytest.mark.parametrize("content", ["{", "{}", '{"schema": "onnxprune.shrink/1"}', '{"schema": "onnxprune.bench/1"}'])
def test_files_that_are_no_earlier_result(tmp_path: Path, content: str) -> None:
    path = tmp_path / "b.json"
    path.write_text(content)
    with pytest.raises(DataError, match=r"b\.json"):
        read_baseline(path)


def test_a_process_that_dies_is_a_message(tmp_path: Path) -> None:
    with pytest.raises(Crashed, match="exit code 1: KeyError"):
        run_job(tmp_path, "job", {"kind": "probe"})
    assert issubclass(Crashed, OnnxPruneError)


def test_the_document_is_json_whatever_is_unknown(result: BenchResult) -> None:
    measured = replace(result.settings[0].measurements[0], latency=Estimate(1.0, -np.inf, np.inf), peak_memory=None)
    found = replace(result, settings=(replace(result.settings[0], measurements=(measured,), comparisons=()),))
    entry = json.loads(dumps(document(found)))["settings"][0]["measurements"][0]
    assert entry["latency"] == {"median_s": 1.0, "interval_s": [None, None]} and entry["peak_memory"] is None
    shown = plain(text.bench_report(found))
    assert "1.00 s (interval unknown)" in shown and "unknown" in shown
