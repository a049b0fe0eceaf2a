"""Pages of real runs: what is on them, that nothing acts or is loaded, and what they never replace."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from page_parser import Page
from untimed import untimed

import onnxprune
from onnxprune.cli.main import application
from onnxprune.errors import OutputError, UsageError
from tests.builders import Net

pytestmark = pytest.mark.usefixtures("brief")
QUICK = ("--samples", "60", "--repair", "least-squares")


def call(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(application, untimed(arguments), prog_name="onnxprune")
    assert result.exit_code == code, (result.exit_code, result.output)
    return result


def opened(path: str | Path) -> Page:
    page = Page(Path(path).read_text(encoding="utf-8"))
    page.check()
    return page


def test_the_page_of_shrink(folder: Path) -> None:
    data = ("--data", "digits_calib.npz", *QUICK)
    call("shrink", "digits.onnx", "--target", "macs=50%", *data, "--report", "my r.html", "--bench", "-o", "half.onnx")
    page = opened("my r.html")
    assert list(page.sections) == [
        *("before-after", "accuracy", "groups", "sensitivity", "repair", "latency", "operators", "run", "reproduce"),
    ]
    result = onnxprune.diff("digits.onnx", "half.onnx")
    assert f"{result.b.macs / result.a.macs * 100:.1f} %" in page.sections["before-after"]
    groups = onnxprune.inspect("digits.onnx").groups
    assert all(group.name in page.sections["groups"] for group in groups)
    assert "it belongs to a graph output" in page.sections["groups"]
    assert "12 samples" in page.sections["sensitivity"] and "Wilson" in page.sections["accuracy"]
    assert "95 % CI" in page.sections["latency"] and "half.onnx" in page.sections["latency"]
    assert "Conv" in page.sections["operators"] and "95 %" in page.sections["operators"]
    assert str(folder) not in page.source, "what nobody typed"


def test_the_command_gives_the_same_file(folder: Path) -> None:
    call("shrink", "digits.onnx", "--ratio", "30%", "--exclude", "stem*", "-o", "a b.onnx", "--report", "r.html")
    wanted = Path("a b.onnx").read_bytes()
    Path("a b.onnx").unlink()
    first, second, _ = opened("r.html").sections["reproduce"].split("Commands to reproduce")[1].splitlines()[:3]
    assert first == "onnxprune shrink digits.onnx -o 'a b.onnx' --ratio 0.3 --exclude 'stem*'"
    for line in (first, second):
        call(*shlex.split(line)[1:])
    assert Path("a b.onnx").read_bytes() == wanted


def test_sections_without_data_are_not_there(folder: Path) -> None:
    call("shrink", "digits.onnx", "--report", "r.html", "--dry-run")
    assert list(opened("r.html").sections) == ["groups", "run", "reproduce"]
    assert not Path("digits.pruned.onnx").exists()
    call("shrink", "digits.onnx", "--ratio", "0.2", "--report", "s.html")
    assert list(opened("s.html").sections) == ["before-after", "groups", "repair", "run", "reproduce"]


def test_trials_of_a_search(folder: Path) -> None:
    Path("score.py").write_text(
        "import onnx\n\ndef weight(path):\n"
        "    return float(sum(i.ByteSize() for i in onnx.load(path).graph.initializer))\n"
    )
    data = ("--metric", "score.py:weight", "--max-drop", "500000", "--repair", "none")
    call("shrink", "digits.onnx", *data, "--report", "r.html")
    page = opened("r.html")
    assert "The metric against the MACs that are left" in page.source and "one evaluation each" in page.source
    found = onnxprune.shrink(
        "digits.onnx", "b.onnx", metric="score.py:weight", max_drop=500000.0, repair="none", report="again.html"
    )
    assert found.metric is not None and found.after is not None
    assert found.after.macs in {trial.macs for trial in found.metric.trials}
    assert all(str(trial.macs) in page.sections["accuracy"] for trial in found.metric.trials)


def test_the_page_of_inspect(folder: Path) -> None:
    for units in ("channels", "blocks"):
        call("inspect", "digits.onnx", "--units", units, "--report", f"{units}.html")
        page = opened(f"{units}.html")
        assert list(page.sections) == ["groups", "layers", "notes", "reproduce"]
    assert "stage2.add" in page.sections["groups"] and "--units blocks" in page.sections["reproduce"]
    assert "--why" in call("inspect", "digits.onnx", "--why", "classifier", "--report", "x.html", code=2).stderr


def test_the_page_of_bench(folder: Path) -> None:
    call("bench", "digits.onnx", "--runs", "12", "--threads", "1", "--report", "r.html")
    page = opened("r.html")
    assert list(page.sections) == ["latency", "reproduce"] and "p50" in page.sections["latency"]
    command = page.sections["reproduce"].split("Commands to reproduce")[1]
    assert command.startswith("onnxprune bench digits.onnx --threads 1 --runs 12onnxprune")


HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</style></svg></title><b>",
    "$\\frac{a$ {$ @0@ @1@ #010203 var(--ink)",
    "&lt;&amp;&#60;",
    "javascript:alert(1)\r\n\t\x1b[31m\u202e",
    "\u540d\u524d " + "long" * 400,
)


def test_hostile_names_are_inert(folder: Path) -> None:
    net = Net()
    h = net.input(3, 8, 8)
    for name in HOSTILE:
        h = net.relu(net.conv(h, 8, name=name))
    net.output(net.conv(h, 4, name="end"))
    onnx.save(net.model(), "<i>m&.onnx")
    rng = np.random.default_rng(0)
    samples = {net.inputs[0].name: rng.standard_normal((40, 3, 8, 8)).astype(np.float32)}
    Path("hostile.py").write_text("def f(path):\n    return 1.0\n")
    with_data = onnxprune.shrink(
        "<i>m&.onnx",
        "<i>out.onnx",
        target="macs=60%",
        data=samples,
        repair="least-squares",
        metric="hostile.py:f",
        report="r.html",
        bench=True,
    )
    assert with_data.curves and with_data.written
    onnxprune.inspect("<i>m&.onnx", report="i.html")
    for name in ("r.html", "i.html"):
        page = opened(name)
        for hostile in HOSTILE[:3]:
            assert hostile in page.sections["groups"], "shown, as text"
        assert "\x1b" not in page.source and "\u202e" not in page.source
    assert "=IN-PYTHON" in opened("r.html").sections["reproduce"]


def test_a_large_model(folder: Path) -> None:
    """500 nodes, with data: every group has a bar and a curve, and the page stays small."""
    net = Net()
    h = net.relu(net.conv(net.input(3, 4, 4), 8))
    for _ in range(248):
        h = net.relu(net.conv(h, 8))
    net.output(net.conv(h, 4))
    model = net.model()
    assert len(model.graph.node) >= 499
    onnx.save(model, "large.onnx")
    rng = np.random.default_rng(0)
    data = {net.inputs[0].name: rng.standard_normal((4, 3, 4, 4)).astype(np.float32)}
    unproven = {"allow_unproven": True}  # what leaves so far in front of the outputs shows in none of them
    result = onnxprune.shrink("large.onnx", "l.onnx", ratio=0.3, data=data, repair="none", report="r.html", **unproven)
    assert len(result.curves) == 249
    onnxprune.inspect("large.onnx", report="i.html")
    for name in ("r.html", "i.html"):
        page = opened(name)
        assert page.source.count('class="bar"') == 250
        assert Path(name).stat().st_size < 3_000_000


def test_the_same_run_gives_the_same_page_but_for_times(folder: Path) -> None:
    pages = []
    for name in ("a.html", "b.html"):
        onnxprune.inspect("digits.onnx", report=name)
        pages.append(Path(name).read_text())
    assert pages[0] == pages[1]


def test_nothing_is_replaced(folder: Path) -> None:
    model = Path("digits.onnx").read_bytes()
    for name in ("digits.onnx", "digits_calib.npz"):
        before = Path(name).read_bytes()
        with pytest.raises(OutputError, match="is an input file"):
            onnxprune.shrink("digits.onnx", "o.onnx", data="digits_calib.npz", report=name, force=True)
        assert Path(name).read_bytes() == before
    with pytest.raises(OutputError, match="is an input file"):
        onnxprune.inspect("digits.onnx", report="digits.onnx", force=True)
    with pytest.raises(OutputError, match="is an input file"):
        onnxprune.bench("digits.onnx", runs=6, report="digits.onnx", force=True)
    with pytest.raises(UsageError, match="another output"):
        onnxprune.shrink("digits.onnx", "o.onnx", report="./o.onnx")
    call("shrink", "digits.onnx", "--dry-run", "--save-plan", "p.json")
    call("shrink", "digits.onnx", "--plan", "p.json", "--report", "p.json", "--force", code=2)
    call("shrink", "digits.onnx", "--save-plan", "q.json", "--report", "q.json", code=2)
    Path("r.html").write_text("mine")
    call("inspect", "digits.onnx", "--report", "r.html", code=2)
    assert Path("r.html").read_text() == "mine" and Path("digits.onnx").read_bytes() == model
    call("inspect", "digits.onnx", "--report", "r.html", "--force")
    opened("r.html")
    assert not list(folder.glob(".*")) and not Path("o.onnx").exists()


def test_a_dry_run_times_nothing(folder: Path) -> None:
    dry = call("shrink", "digits.onnx", "--bench", "--dry-run", "--report", "r.html", code=2)
    assert "--bench has no effect with --dry-run" in dry.stderr


def test_without_matplotlib(folder: Path) -> None:
    """Said before the run, with the way to install it; everything else works without."""
    code = (
        "import sys; sys.modules['matplotlib'] = None\nfrom onnxprune.cli.main import application\n"
        "application.main(sys.argv[1:])"
    )
    run = [sys.executable, "-c", code, "inspect", "digits.onnx"]
    found = subprocess.run([*run, "--report", "r.html"], capture_output=True, text=True, check=False)
    assert found.returncode == 2 and "pip install 'onnxprune[report]'" in found.stderr and not Path("r.html").exists()
    assert subprocess.run(run, capture_output=True, check=False).returncode == 0
