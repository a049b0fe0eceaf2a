"""The report of `check`: model by model what is allowed, what was found, and the verdict."""

from __future__ import annotations

from onnxprune.checking.results import CheckedModel, CheckResult
from onnxprune.checking.verdicts import PASSED, Check
from onnxprune.checking.words import TITLES, bound, excess, found, sentence
from onnxprune.report.blocks import Block, Column, Heading, Line, Report, Table
from onnxprune.report.shared import model_line, notes

_COLUMNS = (
    Column("budget"),
    Column("measured", right=True),
    Column("allowed"),
    Column("verdict"),
)


def check_report(result: CheckResult) -> Report:
    """Everything. No line begins with a name: a file must not look like a command to who reads the log."""
    blocks: list[Block] = []
    for model in result.models:
        blocks += _model(result, model)
    return (*blocks, Line(result.words))


def verdicts(result: CheckResult) -> Report:
    """What did not pass, and the count."""
    lines = [
        Line(f"{check.verdict}: {model.name}: {sentence(check)}")
        for model in result.models
        for check in model.checks
        if check.verdict != PASSED
    ]
    errors = [Line(f"error: {m.name}: {m.error.message}") for m in result.models if m.error is not None]
    return (*lines, *errors, Line(result.words))


def _model(result: CheckResult, model: CheckedModel) -> list[Block]:
    line = model.name if model.summary is None else model_line(model.summary).replace(model.summary.name, model.name, 1)
    blocks: list[Block] = [Heading(f"{result.verdict(model)}  {line}")]
    if model.baseline is not None:
        blocks.append(Line(f"baseline: {model.baseline}", indent=2))
    if model.checks:
        blocks.append(Table(_COLUMNS, tuple(_row(check) for check in model.checks)))
    blocks += notes(*(f"{TITLES[check.kind]}: {check.reason}" for check in model.checks if check.reason))
    if model.summary is not None and model.summary.symbols and any(check.kind == "macs" for check in model.checks):
        sizes = ", ".join(f"{name} = {size}" for name, size in model.summary.symbols.items())
        blocks += notes(f"MACs are for {sizes}")
    if model.error is not None:
        hint = f" ({model.error.hint})" if model.error.hint else ""
        blocks.append(Line(f"error: {model.error.message}{hint}", indent=2))
    return blocks


def _row(check: Check) -> tuple[str, ...]:
    detail = excess(check)
    return (TITLES[check.kind], found(check), bound(check), f"{check.verdict}: {detail}" if detail else check.verdict)
