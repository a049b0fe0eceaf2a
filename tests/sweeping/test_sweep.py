"""`onnxprune sweep` end to end: results, resuming, conflicts, failures, the page, JSON."""

from __future__ import annotations

import inspect
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from cli_schema import check
from click.testing import CliRunner, Result
from sweep_support import MANY, ROOT, WORKER, computing, small_data, small_model

import onnxprune
from onnxprune.cli import shrink as shrink_command
from onnxprune.cli import sweep as sweep_command
from onnxprune.cli.main import application
from onnxprune.errors import DataError, GateError, OutputError, UsageError
from onnxprune.report.html.sweep import sweep_page
from onnxprune.results import Progress
from onnxprune.sweeping.points import SHARED
from onnxprune.sweeping.results import FAILED, FINISHED, NOTHING
from tests.builders import Net
from tests.processes import wait_for_child
from tests.report.html.page_parser import Page

DIGITS = ROOT / "models" / "digits.onnx"
QUICK: dict[str, Any] = {"repair": "bias", "bench": False}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of a test, with a small model and its data. No configuration is above it."""
    small_model(tmp_path / "m.onnx")
    small_data(tmp_path / "d.npz")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(application, [str(a) for a in arguments], prog_name="onnxprune")
    assert result.exit_code == code, (result.exit_code, result.output)
    return result


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix != ".lock"}


def test_the_example_model(folder: Path) -> None:
    """All of it at once, on digits.onnx: document, page, metric, latency, and the very bytes that shrink writes."""
    (folder / "score.py").write_text(
        "import os\n\ndef score(path):\n    with open('scored.txt', 'a') as file:\n        file.write(path + '\\n')\n"
        "    return os.path.getsize(path) ** 0.1\n"
    )
    sweep = ("sweep", DIGITS, "-o", "out", "--ratios", "0.3", "--targets", "params=300k", "--criteria", "l1,obs")
    shared = ("--data", ROOT / "models" / "digits_calib.npz", "--samples", "60", "--repair", "least-squares")
    judged = ("--metric", "score.py:score", "--runs", "6", "--threads", "1", "--report", "page.html")
    found = json.loads(call(*sweep, *shared, *judged, "--format", "json").stdout)
    check(found)
    l1, obs, *nothing = found["points"]
    assert [one["status"] for one in nothing] == [NOTHING, NOTHING]
    assert nothing[0]["failure"]["message"] == "the original meets params=300k already"
    assert found["quality"] == "metric" and found["original"]["metric_absolute"] > l1["metric_absolute"]
    for one in (l1, obs):
        assert one["status"] == FINISHED and one["held_out_count"] == one["agreement"]["samples_count"] == 12
        low, high = one["agreement"]["low_ratio"], one["agreement"]["high_ratio"]
        assert low <= one["agreement"]["share_ratio"] <= high
        assert one["latency"]["time"]["interval_ratio"][0] > 0
        written = folder / one["written"]
        alone = folder / "alone.onnx"
        call("shrink", DIGITS, "-o", alone, "--force", "--ratio", "0.3", "--criterion", one["criterion"], *shared)
        assert written.read_bytes() == alone.read_bytes(), "a point is what shrink makes"
        assert one["model"]["size_bytes"] == written.stat().st_size
    assert l1["frontier"] or obs["frontier"]
    page = Page((folder / "page.html").read_text("utf-8"))
    page.check()
    assert list(page.sections) == ["frontier", "points", "reproduce"] and page.tags.count("svg") == 3
    assert "onnxprune shrink" in page.sections["reproduce"] and "ratio-0.3-obs" in page.sections["points"]
    assert str(folder) not in page.sections["points"]
    scored = (folder / "scored.txt").read_text().splitlines()
    assert len(scored) == 3, "the original and two points"
    again = call(*sweep, *shared, *judged, "--force")
    assert "4 of an earlier run" in again.stdout and len((folder / "scored.txt").read_text().splitlines()) == 3
    assert "ratio-0.3-l1" in again.stdout and "by that of the original" in again.stdout


def test_options_are_those_of_shrink() -> None:
    """The same defaults, and on the command line the same options, but for what a sweep says otherwise."""
    sweep, shrink = (inspect.signature(one).parameters for one in (onnxprune.sweep, onnxprune.shrink))
    assert {name: sweep[name].default for name in SHARED} == {name: shrink[name].default for name in SHARED}
    other = {"ratio", "target", "criterion", "max_drop", "min_agreement", "plan", "dry_run", "verify"}
    other |= {"on_interrupt", "fresh"}  # a sweep keeps its finished points, and goes on with them
    assert set(shrink) - set(sweep) == other
    commands = [{name for p in one.command.params for name in p.opts} for one in (shrink_command, sweep_command)]
    spelled = {
        "--ratio",
        "--target",
        "--criterion",
        "--max-drop",
        "--min-agreement",
        "--plan",
        "--dry-run",
        "--save-plan",
        "--on-interrupt",
        "--fresh",
    }
    assert commands[0] - commands[1] == spelled


def test_only_what_is_missing_is_computed(folder: Path) -> None:
    first = onnxprune.sweep("m.onnx", "s", ratios=[0.25], data="d.npz", **QUICK)
    assert [(point.reused, point.outcome.status) for point in first.points] == [(False, FINISHED)]
    check(json.loads((folder / "s" / "ratio-0.25-obs.json").read_text()))
    before = contents(folder / "s")
    told: list[Progress] = []
    more = onnxprune.sweep("m.onnx", "s", ratios="0.25,0.5", data="d.npz", progress=told.append, **QUICK)
    assert [point.reused for point in more.points] == [True, False]
    assert more.points[0].outcome == first.points[0].outcome, "even the time it took"
    assert [step.message for step in told] == ["computing 1 point", "ratio-0.5-obs: finished"]
    after = contents(folder / "s")
    assert {name: after[name] for name in before} == before
    (folder / "s" / "ratio-0.5-obs.onnx").write_bytes(b"broken")
    third = onnxprune.sweep("m.onnx", "s", ratios="0.25,0.5", data="d.npz", **QUICK)
    assert [point.reused for point in third.points] == [True, False]
    assert (folder / "s" / "ratio-0.5-obs.onnx").read_bytes() == after["ratio-0.5-obs.onnx"], "deterministic"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_run_that_was_ended_goes_on(folder: Path, number: signal.Signals) -> None:
    """Ended in the middle, in whatever way: what was finished stays, nobody works on, and the rest is computed."""
    options = ("--ratios", ",".join(map(str, MANY)), "--repair", "bias", "--no-bench", "--jobs", "1")
    command = [sys.executable, "-m", "onnxprune", "sweep", "m.onnx", "-o", "s", *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    while not list((folder / "s").glob("ratio-*.json")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    started = [pid for pid, parent in computing().items() if parent == process.pid]
    process.send_signal(number)
    _, errors = process.communicate()
    assert process.returncode == (-9 if number == signal.SIGKILL else 130), errors
    assert number == signal.SIGKILL or errors == b"Interrupted.\n"
    while set(started) & set(computing()):  # they end by themselves
        time.sleep(0.02)
    done = {path.name: path.stat().st_mtime_ns for path in (folder / "s").glob("ratio-*.json")}
    assert 1 <= len(done) < len(MANY)
    assert number == signal.SIGKILL or not list((folder / "s").glob(".work-*")), "nothing half done stays"
    count = len(done) + 1  # one after another: the first are done
    result = onnxprune.sweep("m.onnx", "s", ratios=MANY[:count], **QUICK)
    assert sum(point.reused for point in result.points) == len(done)
    assert [point.outcome.status for point in result.points] == [FINISHED] * count
    assert {name: (folder / "s" / name).stat().st_mtime_ns for name in done} == done
    assert not list((folder / "s").glob(".work-*"))


def test_other_options_need_another_folder(folder: Path) -> None:
    onnxprune.sweep("m.onnx", "s", ratios=[0.5], **QUICK)
    before = contents(folder / "s")
    for options, message in (
        ({"repair": "none"}, "repair= was bias, now none"),
        ({"data": "d.npz"}, "data was none, now data"),
        ({"exclude": ["type:Conv"]}, "exclude= was not given, now type:Conv"),
    ):
        with pytest.raises(OutputError, match=message):
            onnxprune.sweep("m.onnx", "s", ratios=[0.5], **{**QUICK, **options})
    small_model(folder / "n.onnx", weights_beside=True)
    with pytest.raises(OutputError, match=r"model was m\.onnx .*now n\.onnx"):
        onnxprune.sweep("n.onnx", "s", ratios=[0.5], **QUICK)
    assert contents(folder / "s") == before
    assert "another sweep" in call("sweep", "m.onnx", "-o", "s", "--ratios", "0.5", "--no-bench", code=2).stderr


def test_what_fails_is_a_row(folder: Path) -> None:
    """Some points: exit code 0. All of them: 1, with the document all the same. They are tried again."""
    some = ("sweep", "m.onnx", "-o", "s", "--no-bench", "--repair", "bias", "--targets", "size=1GB,size=100B,macs=60%")
    found = json.loads(call(*some, "--format", "json").stdout)
    check(found)
    huge, tiny, good = found["points"]
    assert (huge["status"], tiny["status"], good["status"]) == (NOTHING, FAILED, FINISHED)
    assert huge["failure"]["message"] == "the original meets size=1GB already" and huge["written"] is None
    assert tiny["failure"]["exit_code"] == 2 and "100" in tiny["failure"]["message"]
    text = call(*some).stdout
    assert "failed: size-100B-l1: " in text and "2 of an earlier run" in text, "what failed is tried again"
    all_ = ("sweep", "m.onnx", "-o", "t", "--no-bench", "--targets", "size=100B")
    failed = call(*all_, "--format", "json", code=1)
    document = json.loads(failed.stdout)
    check(document)
    assert document["points"][0]["status"] == FAILED and failed.stderr.startswith("Error: no point of 1 gave a model")
    result = onnxprune.sweep("m.onnx", "u", targets=["size=100B"], **QUICK)
    assert isinstance(result.failure(), GateError)


def kill_first() -> None:
    """Kill the first process of a point of ours, as soon as it is there."""
    os.kill(wait_for_child(WORKER), signal.SIGKILL)


def test_a_process_that_is_killed_is_a_row(folder: Path) -> None:
    """As the system does when memory runs out."""
    computing()
    thread = threading.Thread(target=kill_first)
    thread.start()
    result = onnxprune.sweep("m.onnx", "s", ratios="0.25,0.5", jobs=1, **QUICK)
    thread.join()
    first, second = result.points
    assert first.outcome.status == FAILED and second.outcome.status == FINISHED
    assert first.outcome.failure is not None and "SIGKILL" in first.outcome.failure.message
    again = onnxprune.sweep("m.onnx", "s", ratios="0.25,0.5", jobs=1, **QUICK)
    assert [(p.outcome.status, p.reused) for p in again.points] == [(FINISHED, False), (FINISHED, True)]


def test_values_from_python(folder: Path) -> None:
    """Arrays, functions, a metric and a model in memory; they are what the files are."""
    with np.load("d.npz") as file:
        images = file["x"]
    by_file = onnxprune.sweep("m.onnx", "s", ratios=[0.5], data="d.npz", **QUICK)
    metric_calls: list[str] = []

    def metric(path: str) -> float:
        metric_calls.append(path)
        if len(metric_calls) == 2:
            raise ValueError("no score today")
        return 1.0

    by_value = onnxprune.sweep(
        onnxprune.load((folder / "m.onnx").read_bytes()),
        "t",
        ratios=[0.5],
        data=lambda: {"x": images},
        metric=metric,
        **QUICK,
    )
    names = [contents(folder / name)["ratio-0.5-obs.onnx"] for name in ("s", "t")]
    assert names[0] == names[1] and by_file.quality == by_value.quality == "agreement"
    assert by_value.points[0].metric is None and any("no score today" in note for note in by_value.notes)
    with pytest.raises(DataError, match="failed"):
        onnxprune.sweep("m.onnx", "v", ratios=[0.5], metric=lambda path: 1 / 0, **QUICK)
    assert not (folder / "v").exists(), "found out before anything is made"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--ratios", "2"), "from 0 to below 1"),
        (("--criteria", "obs"), "calibration data"),
        (("--targets", "latency=50%", "--jobs", "2"), "one point at a time"),
        (("--multiple-of", "auto", "--scheduler", "tcp://localhost:1"), "one point at a time"),
        (("--no-bench", "--seconds", "3"), "no effect with --no-bench"),
        (("--seconds", "nan"), "--seconds"),
        (("--samples", "5"), "no effect without --data"),
        (("--data", "gone.npz"), "no such file"),
        (("--max-memory", "lots"), "not a size"),
        (("--exclude", "nobody*"), "--exclude 'nobody*' matches no node"),
        (("--include", "type:Pad"), "--include 'type:Pad' matches no node"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_made(folder: Path, arguments: tuple[str, ...], message: str) -> None:
    assert message in call("sweep", "m.onnx", "-o", "s", *arguments, code=2).stderr
    assert not (folder / "s").exists()


def test_a_scheduler_that_is_not_there(folder: Path) -> None:
    failed = call("sweep", "m.onnx", "-o", "s", "--no-bench", "--scheduler", "nonsense://x", code=3)
    assert "no Dask scheduler answers at 'nonsense://x'" in failed.stderr


def test_latency_targets_are_alone(folder: Path) -> None:
    """A point whose choice depends on times runs by itself; the threads that it was measured with are its own."""
    result = onnxprune.sweep("m.onnx", "s", targets=["latency=90%"], repair="none", threads=1, bench=False)
    assert result.where == "this machine, 1 at a time, 1 thread each"
    (point,) = result.points
    assert point.outcome.status in (FINISHED, NOTHING, FAILED)
    with pytest.raises(OutputError, match="threads= was 1, now 2"):
        onnxprune.sweep("m.onnx", "s", targets=["latency=90%"], repair="none", threads=2, bench=False)


def test_without_data_there_is_no_frontier(folder: Path) -> None:
    result = onnxprune.sweep("m.onnx", ratios=[0.5], **QUICK)
    assert result.folder == Path("m.sweep") and result.quality is None and not result.points[0].frontier
    text = call("sweep", "m.onnx", "--ratios", "0.5", "--repair", "bias", "--no-bench", "--format", "markdown").stdout
    assert "nothing says how good" in text and "| `ratio-0.5-l1` |" in text
    quiet = call("-q", "sweep", "m.onnx", "--ratios", "0.5", "--repair", "bias", "--no-bench").stdout
    assert quiet == "1 model in m.sweep\n"


def test_without_classes_the_error_counts(folder: Path) -> None:
    """Outputs that are images: no agreement; the frontier is about the error, of which less is better."""
    net = Net()
    net.output(net.conv(net.relu(net.conv(net.input(3, 6, 6, name="x"), 12, 3, name="a")), 4, name="z"))
    onnx.save(net.model(), "i.onnx")
    options: dict[str, Any] = {"repair": "none", "bench": False, "report": "page.html", "multiple_of": 1}
    result = onnxprune.sweep("i.onnx", ratios="0.25,0.75", data="d.npz", **options)
    mild, strong = result.points
    assert result.quality == "error" and mild.outcome.agreement is None
    assert 0 < (mild.outcome.error or 0) < (strong.outcome.error or 0)
    assert "macs" in mild.frontier and "macs" in strong.frontier
    page = Page((folder / "page.html").read_text("utf-8"))
    page.check()
    assert page.tags.count("svg") == 2 and "output error (%)" in page.sections["frontier"]
    odd = replace(strong, outcome=replace(strong.outcome, error=math.inf))
    text = sweep_page(replace(result, points=(mild, odd)), onnxprune.environment(), [])
    assert "infinite" in Page(text).sections["points"], "NaN in one of the models only"


def test_what_is_not_installed_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UsageError, match=r"onnxprune\[cluster\]"):
        onnxprune.sweep("m.onnx", "s", ratios=[0.5], scheduler="tcp://x:1", **QUICK)


def test_the_page_needs_a_name_of_its_own(folder: Path) -> None:
    (folder / "page.html").write_text("mine")
    with pytest.raises(OutputError, match="exists"):
        onnxprune.sweep("m.onnx", "s", ratios=[0.5], report="page.html", **QUICK)
    with pytest.raises(UsageError, match="needs a folder"):
        onnxprune.sweep(onnxprune.load((folder / "m.onnx").read_bytes()), ratios=[0.5], **QUICK)
    assert not (folder / "s").exists()


def test_weights_that_become_sparse(folder: Path) -> None:
    """The options of sparsity hold for all points, as those of channels do."""
    options = ("--ratio", "0.5", "--repair", "bias", "--sparsity", "0.5", "--pattern", "unstructured")
    call("shrink", "m.onnx", "-o", "alone.onnx", *options, "--emit", "dense-zeros")
    call("sweep", "m.onnx", "-o", "s", "--ratios", *options[1:], "--emit", "dense-zeros", "--no-bench")
    assert (folder / "s" / "ratio-0.5-l1.onnx").read_bytes() == (folder / "alone.onnx").read_bytes()
