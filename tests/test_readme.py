"""What README.md says is so: its examples run and print what it shows, its tables name things that exist."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import click
import numpy as np
import pytest

from onnxprune import errors
from onnxprune.trace.ops import registry

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
UNSTABLE = re.compile(r"\d+(\.\d+)? (ms|s)\b|peak \d+(\.\d+)? [MG]B|\d\.\d+e-\d+|[ \t]+")


def script(name: str) -> ModuleType:
    """A file of scripts/, which is no package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


docs, demo = script("docs"), script("demo")


MEASURED = re.compile(r"plan [0-9a-f]{8}|(?<= at )\S+|-?\d+(\.\d+)?( [kMG](?=B?\b))?")


def stable(text: str) -> str:
    """Without times, rounding noise and the width of columns, which depend on the machine."""
    return UNSTABLE.sub(lambda m: " " if m[0].isspace() else "#", text)


FIGURE = re.compile(r"\d[\d.]*(-[\d.]+)?( (us|ms|s|%|[kMG]?/s|[kMG]?B)(?![a-z]))?")
OPTIONAL = re.compile(
    r"\b(faster|same|slower|undecided): |\b[\d.]+ to [\d.]+ times the time\b|x (faster|the time)\b|interval unknown"
    r"| of \d+ inferences each"
)


def timed(text: str) -> str:
    """Of times measured on some machine only the words: no figure, verdict or processor, no remark on what was seen."""
    lines = [line for line in text.splitlines() if not re.search(r"would not show|note: |ONNX Runtime", line)]
    words = OPTIONAL.sub("", "\n".join(lines)).replace("sessions", "session")
    return re.sub(r"[#()\s]+", " ", FIGURE.sub("#", words))


SPEED = re.compile(
    r", (but (no faster|slower): )?[\d.]+x (faster|the speed) \([^)]*\)"
    r"|, faster or slower cannot be told here \([^)]*\)"
)
WHY = re.compile(
    r"\. [^(]*(of its time is in|a run takes|measure longer).*?(?=\. What|\. The answers|$)", re.IGNORECASE
)


def closed(line: str) -> str:
    """Of the last line of a run what holds on every machine: not how much faster the result is, nor why not."""
    return WHY.sub("", SPEED.sub("", line)) if re.match(r"[\d.]+ % (less work|fewer)|as much work", line) else line


ALWAYS = ("digits.onnx", "traced", "captured", "planned", "measured", "levers", "parameters", "file", "MACs", "wrote")
"""What lines of `compress` begin with on every machine."""


def shape(example: str, text: str) -> str:
    """What must be the same everywhere: with samples, choices that are nearly equal may go either way."""
    if " compress " in example:  # which levers are taken, and how far, is measured
        return " ".join(
            word for word in (line.split()[0] for line in text.splitlines() if line.strip()) if word in ALWAYS
        )
    kept = (line for line in text.splitlines() if "is far less than" not in line)  # where kernels take such widths
    text = "\n".join(map(closed, kept))
    if " bench " in example:
        return timed(text)
    if " sparsify " in example:  # the library may be missing, and then says so
        text = re.sub(r" and with it \([\w-]+\)|^ *note: the library with .*\n", "", text, flags=re.M)
    return MEASURED.sub("#", stable(text)) if re.search("--data|demo|examples", example) else stable(text)


def demonstrated(shown: str, printed: str) -> None:
    """The demo's accuracies are those that README shows, but for what another processor rounds differently."""
    said, measured = (np.array(re.findall(r"([\d.]+) %", text), float) for text in (shown, printed))
    assert len(said) == 1 + len(demo.CUTS)
    assert np.abs(said - measured).max() <= 2
    assert "\n0 of them among the 510 test images" in printed


def assert_a_clone_stays_clean(folder: Path) -> None:
    """What the commands of a page leave in a clone, git does not take for a change."""
    shutil.copy(ROOT / ".gitignore", folder)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    status = ["git", "status", "--porcelain", "--untracked-files=all"]
    shown = subprocess.run(status, cwd=folder, check=True, capture_output=True, text=True).stdout
    names = [line[3:].strip('"') for line in shown.splitlines()]
    assert [name for name in names if not (ROOT / name).exists()] == []


PROMISES, SUPPORT = ((docs.DOCS / f"{name}.md").read_text(encoding="utf-8") for name in ("promises", "support"))


def section(title: str, text: str = README) -> str:
    """The text of one section of README, or of another page."""
    return f"\n{text}".split(f"\n## {title}\n")[1].split("\n## ")[0]


def cells(text: str) -> list[list[str]]:
    """The rows of the first table of a section or page."""
    lines = [line for line in text.split("\n## ")[0].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_console(tmp_path: Path) -> None:
    """Every example prints what README shows. If it should print something else now: make docs."""
    examples = docs.examples(README)
    assert len(examples) >= 4 and any(e.python for e in examples)
    for example, printed in zip(examples, docs.outputs(examples, tmp_path), strict=True):
        assert shape(example.command, printed) == shape(example.command, example.output), example.command
        if "scripts/demo.py" in example.command:
            demonstrated(example.output, printed)
    assert_a_clone_stays_clean(tmp_path)
    assert "allowed" in examples[1].output


@pytest.mark.parametrize("page", [docs.BENCH, docs.SPARSE, *docs.TUTORIALS], ids=lambda path: path.stem)
def test_pages_show_what_their_commands_print(page: Path, tmp_path: Path) -> None:
    """If one should show something else now: make docs."""
    examples = docs.examples(page.read_text(encoding="utf-8"))
    assert any(not e.python for e in examples)
    for example, printed in zip(examples, docs.outputs(examples, tmp_path), strict=True):
        assert shape(example.command, printed) == shape(example.command, example.output), example.command
    assert_a_clone_stays_clean(tmp_path)


def test_blocks_that_print_nothing_are_not_run() -> None:
    text = "```python\na\n```\n\nwords\n\n```python\nb\n```\n\n```text\nc\n```\n"
    assert [(e.command, e.output) for e in docs.examples(text)] == [("b\n", "c\n")]


def test_stable_keeps_what_counts() -> None:
    assert stable("took   21 ms, 9.5e-07 of  12 k") == "took #, # of 12 k"


def test_closed_keeps_gain_and_loss() -> None:
    why = ". 72 % of its time is in 12 layers whose kernels round: try --multiple-of 16, or (--target latency=...)"
    one = f"30 % less work, but slower: 0.94x the speed (95 % CI 0.93-0.95, 2 threads){why}. What this does is unknown"
    two = "30 % less work, 1.12x faster (95 % CI 1.11-1.13, 1 thread). What this does is unknown"
    assert closed(one) == closed(two) == "30 % less work. What this does is unknown"
    assert closed("30 % of it. What this does") == "30 % of it. What this does"


def test_timed_keeps_the_words() -> None:
    one = "slower: a against b: 1.43x the time (95 % CI 1.42-1.43, 414 pairs)\n  a  113 us (112-115)  1.2 kB"
    two = "faster: a against b: 1.053x faster (95 % CI 1.052-1.060, 9 pairs)\n  a    3 ms (2.9-115)  9 MB"
    assert timed(one) == timed(two) and "a against b" in timed(one)
    assert timed(one) != timed(two.replace("pairs", "things"))


def test_operators_are_those_of_the_registry() -> None:
    """If not: make docs."""
    assert docs.OPERATORS.read_text(encoding="utf-8") == docs.operators()


def test_the_page_of_commands_is_what_help_says() -> None:
    """If not: make commands."""
    page = docs.COMMANDS.read_text(encoding="utf-8")
    assert page == docs.commands()
    assert "## shrink\n" in page and "--target" in page


def test_named_operators_have_rules() -> None:
    for family, operators, _ in cells(SUPPORT)[:-1]:
        for name in re.sub(r"\([^)]*\)", "", operators).replace(", ...", "").split(", "):
            domain, _, kind = name.strip().rpartition(":")
            assert registry.find(domain, kind), f"{family}: {name}"


def test_promises_name_tests_that_exist() -> None:
    rows = cells(PROMISES)
    assert len(rows) >= 12
    for promise, test in rows:
        file, name = test.strip("`").split("::")
        assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8"), promise


def test_exit_codes_are_those_of_the_errors() -> None:
    listed = {int(code) for code, _ in cells(section("Exit codes", PROMISES))}
    kinds = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, errors.OnnxPruneError)]
    raised = {kind.exit_code for kind in kinds}
    assert listed == raised | {0, 70, 130}


def test_options_exist() -> None:
    """Options are named only if a command has them, or if README says that they are missing."""
    from onnxprune.cli import bench, check, inspect, pack, shrink, sparsify, sweep

    modules = (shrink, sparsify, inspect, bench, check, pack, sweep)
    commands = [c for module in modules for c in vars(module).values() if isinstance(c, click.Command)]
    known = {option for command in commands for parameter in command.params for option in parameter.opts}
    said = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", README.replace(section("What it does not do yet"), "")))
    assert {"--ratio", "--criterion"} <= known
    assert said - known - {"--help", "--strict"} == set()
    missing = set(re.findall(r"--[a-z][a-z-]+", section("What it does not do yet")))
    assert missing and not missing & known, "README says that something is missing which is there"


def test_the_list_of_commands_is_whole() -> None:
    from onnxprune.cli.main import application

    context = click.Context(application)
    listed = {name for row in cells(section("Commands")) for name in re.findall(r"`([a-z]+)`", row[0])}
    assert listed == set(application.list_commands(context))


MARKDOWN = sorted({*ROOT.glob("*.md"), *ROOT.glob("*/README.md"), *docs.DOCS.rglob("*.md")})


@pytest.mark.parametrize("page", MARKDOWN, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (page.parent / target).exists(), target


def test_the_summary_of_the_zoo_is_that_of_its_page() -> None:
    page = (ROOT / "docs" / "zoo.md").read_text(encoding="utf-8")
    found = re.search(r"^\*\*(.*)\*\*$", page, re.M)
    assert found is not None and found[1] in README


def test_accuracies_are_those_of_their_pages() -> None:
    page = (ROOT / "docs" / "accuracy.md").read_text(encoding="utf-8")

    def top1(model: str) -> tuple[float, float]:
        rows = (rf"{model} \| {cut} \|[^|]*\| ([\d.]+) top-1" for cut in ("original", "macs=50%"))
        before, after = (float(re.findall(row, page)[0]) for row in rows)
        return before, after

    text = " ".join(section("What to expect").split())
    before, after = top1("cifar10_resnet20")
    assert f"a CIFAR ResNet-20 falls from {before:.1f} to {after:.1f} % top-1" in text
    before, after = top1("imagenet_mobilenet_v2")
    assert f"a MobileNetV2, compact by design, from {before:.0f} to {after:.0f} %" in text


def test_sizes_and_losses_of_packed_models_are_those_of_their_page() -> None:
    page = (ROOT / "docs" / "pack-benchmarks.md").read_text(encoding="utf-8")
    said = " ".join((ROOT / "docs" / "pack.md").read_text(encoding="utf-8").split())
    row = r"^\| (\w+) \| `?\(?(original|defaults|--bits 6)\)?`? \| [\d,]+ \| ([\d.]+)% \|[^|]*\| ([\d.]+) "
    table: dict[str, dict[str, tuple[float, float]]] = {}
    for model, options, size, score in re.findall(row, page, re.M):
        table.setdefault(model, {})[options] = float(size), float(score)
    del table["digits"]
    text = table.pop("minilm_l6_v2")
    sizes = [rows["defaults"][0] for rows in table.values()]
    assert len(table) == 6 and f"the defaults leave {min(sizes):.0f} to {max(sizes):.0f} % of the bytes" in said
    assert f"of a small language model {text['defaults'][0]:.1f} %" in said
    loss = {name: rows["original"][1] - rows["defaults"][1] for name, rows in table.items()}
    assert max(v for k, v in loss.items() if k != "det_yolox_nano") <= 0.4 and loss["det_yolox_nano"] <= 1.1
    six = {name: rows["original"][1] - rows["--bits 6"][1] for name, rows in table.items()}
    assert f"cost {six['sr_imdn_x2']:.1f} dB" in said
    assert f"{six['imagenet_mobilenet_v2']:.1f} % (MobileNetV2) and {six['det_yolox_nano']:.0f} mAP" in said


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for target in set(re.findall(r"(?:`|^)make ([a-z][a-z-]+)", README + contributing, re.M)):
        assert re.search(rf"^{target}:", makefile, re.M), target
    assert "make test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
