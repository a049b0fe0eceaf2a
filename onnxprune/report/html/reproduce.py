"""How to do it again: commands, versions, and what the model was."""

from __future__ import annotations

from collections.abc import Sequence

from onnxprune.report.html.page import Section, escaped, paragraph
from onnxprune.results import ModelSummary
from onnxprune.results.system import Environment


def reproduce(commands: Sequence[str], machine: Environment, model: ModelSummary | None) -> Section:
    """Commands as one would type them, and what they depend on."""
    text = "\n".join(escaped(command) for command in commands)
    packages = ("onnx", "onnxruntime", "numpy", "scipy")
    versions = ", ".join(f"{name} {machine.packages[name]}" for name in packages if machine.packages.get(name))
    body = f"<pre>{text}</pre>" + paragraph(
        f"onnxprune {machine.onnxprune}, {machine.python}, {versions}; {machine.cpu}, {machine.cores} cores.", "note"
    )
    if model is not None:
        body += paragraph(f"{model.name}: SHA-256 {model.sha256}", "note")
    return Section("reproduce", "Commands to reproduce", body)
