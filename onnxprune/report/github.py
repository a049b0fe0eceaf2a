"""Verdicts for GitHub: workflow commands that become annotations, and the summary of a job.

A workflow command is a line `::error file=NAME,title=TITLE::MESSAGE`. What is in it is escaped as the runner
(actions/toolkit, packages/core/src/command.ts) undoes it, so that no name can end the line or begin another command.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from onnxprune.checking.results import CheckResult
from onnxprune.checking.verdicts import UNDECIDED
from onnxprune.checking.words import TITLES, sentence
from onnxprune.report import render
from onnxprune.report.check import check_report
from onnxprune.results.units import printable


def commands(result: CheckResult, workspace: str | None) -> Iterator[str]:
    """An error for each budget that is missed and each model that could not be checked, a warning for each that is
    undecided. Files are named relative to `workspace`, where they are in it.
    """
    for model in result.models:
        file = _relative(model.path, workspace)
        for check in model.checks:
            title = f"onnxprune: {TITLES[check.kind]}"
            if result.failing(check):
                yield command("error", f"{model.name}: {sentence(check)}", file=file, title=title)
            elif check.verdict == UNDECIDED:
                yield command("warning", f"{model.name}: {sentence(check)}", file=file, title=title)
        if model.error is not None:
            hint = f"\n{model.error.hint}" if model.error.hint else ""
            yield command("error", f"{model.name}: {model.error.message}{hint}", file=file, title="onnxprune: error")


def command(level: str, message: str, **properties: str) -> str:
    """One workflow command."""
    listed = ",".join(f"{key}={_property(value)}" for key, value in properties.items())
    lines = "\n".join(printable(line) for line in message.split("\n"))
    return f"::{level} {listed}::{_data(lines)}"


def summary(result: CheckResult) -> str:
    """The report in Markdown, under a title of its own, as other steps write to the same page."""
    return f"# onnxprune check\n\n{render.markdown(check_report(result))}\n"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(printable(text)).replace(":", "%3A").replace(",", "%2C")


def _relative(path: Path, workspace: str | None) -> str:
    """As GitHub names files: from the top of the repository, with `/`."""
    if not workspace:
        return path.as_posix()
    try:
        return path.resolve().relative_to(Path(workspace).resolve()).as_posix()
    except (ValueError, OSError):
        return path.as_posix()
