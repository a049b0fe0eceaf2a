"""Whether other tools take what `onnxprune shrink` writes: everything that takes the original must take the result.

usage: python benchmarks/downstream.py [--eval FOLDER] [--models FOLDER ...] [--results FOLDER] [--report FILE]

Models: the example, those of an evaluation folder (see evaluation.py), and the .onnx files in --models. Each is cut
once, `onnxprune shrink MODEL --target macs=75% --criterion l1 --repair none`, without data. Then every tool of
downstream_tools.py gets the original and the result. Results are kept in --results, one JSON file a model.
Exits with 1 if a tool takes an original and not its result.
"""

from __future__ import annotations

import argparse
import functools
import json
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from downstream_tools import TOOLS
from evaluation import Evaluation, Row, absent, kept, machine, markdown

from onnxprune.results.units import plural

ROOT = Path(__file__).resolve().parents[1]
SHRINK = ("--target", "macs=75%", "--criterion", "l1", "--repair", "none", "--force")
WHOLE = "removes nothing"
TIMEOUT_S = 1800
SHOWN = 80  # characters of why a model was not cut
OTHERS = ("onnxsim", "onnxslim", "openvino", "sympy")
TAKES, LOSES, NEVER = "yes", "**no**", "-"
HEADER = """# Other tools

Made by `make downstream`; do not edit. Whether other tools take what `onnxprune shrink MODEL --target macs=75%
--criterion l1 --repair none` writes (without data; by `--ratio 0.1` where that target is out of reach): onnx's full
check (`check_model(full_check=True)`) and strict shape inference (with types and data), ONNX Runtime's
`quant_pre_process` (without symbolic shapes where those fail), `quantize_static` (after it) and `quantize_dynamic`,
onnxsim, onnxslim, and OpenVINO, which reads and compiles. What a tool writes must load in ONNX Runtime. "No unread
weights": no initializer is left that no node reads. Names with `dynamo` and `script` are architectures of torchvision
from PyTorch's two exporters, those with `wheels` are files of the packages rapidocr-onnxruntime 1.4.4 and silero-vad
6.2.3.

"yes": the tool takes the original and the result. "{never}": it does not take the original either{but}. "{loses}": it
takes the original and not the result, which is a fault of onnxprune.

{machine}
{versions}

{table}

{summary}
"""


def examine(name: str, model: Path, folder: Path) -> Row:
    """What every tool says of the original and of its result."""
    out = folder / "small.onnx"
    if fault := shrunk(model, out):
        return {"model": name, "fault": fault}
    found: Row = {"model": name, "original": tried(model), "result": tried(out)}
    for tool in TOOLS:
        old, new = found["original"][tool], found["result"][tool]
        print(f"{name} {tool}: {verdict(old, new)}{'' if new is None else f' ({new})'}", flush=True)
    return found


def shrunk(model: Path, out: Path) -> str | None:
    """Cut to 75 % of the MACs, or by a tenth where that is out of reach. Why there is no result, or None."""
    said = ""
    for options in (SHRINK, ("--ratio", "0.1", *SHRINK[2:])):
        command = [sys.executable, "-m", "onnxprune", "shrink", str(model), "-o", str(out), *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0 and out.exists():
            return None
        said = done.stderr.strip().splitlines()[0] if done.returncode else WHOLE
    return said


def tried(model: Path) -> dict[str, str | None]:
    """By tool: None, or what it said. A tool that crashes takes the process with it; the others get a new one."""
    found: dict[str, str | None] = {}
    while left := [tool for tool in TOOLS if tool not in found]:
        command = [sys.executable, str(ROOT / "benchmarks" / "downstream_tools.py"), str(model.absolute()), *left]
        try:
            with tempfile.TemporaryDirectory() as here:  # some tools leave files where they run
                done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S, cwd=here)
            lines, why = done.stdout.splitlines(), f"ended with {done.returncode}"
        except subprocess.TimeoutExpired as error:
            lines, why = (error.stdout or b"").decode().splitlines(), f"more than {TIMEOUT_S} s"
        for line in lines:
            if line.startswith('{"tool"'):
                one = json.loads(line)
                found[one["tool"]] = one["error"]
        crashed = next((tool for tool in left if tool not in found), None)
        if crashed is not None:
            found[crashed] = why
    return found


def verdict(original: str | None, result: str | None) -> str:
    if original is not None:
        return NEVER
    return TAKES if result is None else LOSES


def models(evaluation: str, folders: list[str], scratch: Path) -> dict[str, Path]:
    """By name."""
    found = {"digits": ROOT / "models" / "digits.onnx"}
    source = Evaluation(Path(evaluation))
    if source.present():
        for name in source.names():
            if "+" not in name:
                found[name] = scratch / f"{name}.onnx"
                source.original(name, found[name])
    else:
        print(absent(evaluation))
    for folder in folders:
        for path in sorted(Path(folder).glob("*.onnx")):
            found[f"{Path(folder).name}/{path.stem}" if len(folders) > 1 else path.stem] = path
    return found


def report(rows: list[Row]) -> tuple[str, int]:
    """The page, and how often a tool takes an original and not the result."""
    head, body, lost, refused = ["model", *TOOLS], [], 0, 0
    for row in rows:
        if "fault" in row:
            body.append([row["model"], *["" for _ in TOOLS]])
            continue
        cells = [verdict(row["original"][tool], row["result"][tool]) for tool in TOOLS]
        lost += cells.count(LOSES)
        refused += cells.count(NEVER)
        body.append([row["model"], *cells])
    done = [row for row in rows if "fault" not in row]
    summary = f"{len(done)} models, {len(done) * len(TOOLS)} pairs: {lost} in which only the original is taken."
    uncut = [f"{row['model']} ({row['fault'].removeprefix('Error: ')[:SHOWN]})" for row in rows if "fault" in row]
    if uncut:
        summary += f" Not cut: {'; '.join(uncut)}."
    page = HEADER.format(
        machine=machine(),
        versions=", ".join(f"{name} {version(name)}" for name in OTHERS) + ".",
        table=markdown(head, body),
        summary=summary,
        never=NEVER,
        loses=LOSES,
        but=f" ({plural(refused, 'pair')})" if refused else "",
    )
    return page, lost


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--eval", default="", help="folder with evaluate.py")
    parser.add_argument("--models", nargs="*", default=[], help="folders with .onnx files")
    parser.add_argument("--results", type=Path, default=ROOT / "out" / "downstream")
    parser.add_argument("--report", type=Path)
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, model in models(options.eval, options.models, Path(folder)).items():
            place = options.results / f"{name.replace('/', '-')}.json"
            work = Path(folder) / "work"
            work.mkdir()
            rows.append(kept(place, functools.partial(examine, name, model, work)))
            shutil.rmtree(work)
    page, lost = report(rows)
    if options.report:
        options.report.write_text(page)
    print(page)
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
