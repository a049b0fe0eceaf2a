"""The log of a bug: what is needed to find it, and nothing of the model but its operators, types and shapes."""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxprune.cli.run import Run

if TYPE_CHECKING:
    from onnx import ValueInfoProto


_PLAN_BYTES = 1 << 20


def write_bundle(run: Run, error: BaseException) -> Path:
    """Write the log to a new file of the temporary folder, readable by its owner only."""
    parts = ["".join(traceback.format_exception(type(error), error, error.__traceback__))]
    for title, content in (("call", _call), ("environment", _environment), ("models", _models), ("plan", _plan)):
        try:
            text = content(run)
        except Exception as second:  # the log must not fail for the reason that it is about
            text = f"not available: {type(second).__name__}: {second}"
        parts.append(f"---- {title} ----\n{text}\n")
    descriptor, name = tempfile.mkstemp(prefix="onnxprune-", suffix=".log")
    with open(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write("\n".join(parts))
    return Path(name)


def _call(run: Run) -> str:
    options = (f"{name} = {_without_folder(name, value)}" for name, value in run.options.items())
    return "\n".join([f"onnxprune {run.command}", *options])


def _without_folder(name: str, value: Any) -> str:
    if isinstance(value, Path):
        return repr(value.name)
    if name == "data" and value:  # folder/a.npz, or x=folder/a.npy
        return repr([os.path.basename(text.partition("=")[2] or text) for text in value])
    return repr(value)


def _environment(run: Run) -> str:
    from onnxprune.results.system import PACKAGES, version

    packages = (f"{name} {version(name)}" for name in ("onnxprune", *PACKAGES))
    return "\n".join([f"python {sys.version}", f"platform {sys.platform}", f"cores {os.cpu_count()}", *packages])


def _models(run: Run) -> str:
    paths = [value for value in run.options.values() if isinstance(value, Path) and value.is_file()]
    return "\n".join(_model(path) for path in dict.fromkeys(paths) if path.suffix != ".json")


def _plan(run: Run) -> str:
    path = run.options.get("plan")
    if not isinstance(path, Path):
        return "none given"
    with path.open("rb") as file:
        return file.read(_PLAN_BYTES).decode("utf-8", "replace")


def _model(path: Path) -> str:
    from onnxprune.model import load

    proto = load(path).proto
    nodes = Counter(f"{node.domain}:{node.op_type}" if node.domain else node.op_type for node in proto.graph.node)
    tensors = Counter(f"type {t.data_type} {list(t.dims)}" for t in proto.graph.initializer)
    opsets = ", ".join(f"{entry.domain or 'ai.onnx'} {entry.version}" for entry in proto.opset_import)
    return "\n".join(
        [
            f"{path.name}: ir {proto.ir_version}, opsets {opsets}, producer {proto.producer_name!r}",
            "inputs: " + "; ".join(map(_value, proto.graph.input)),
            "outputs: " + "; ".join(map(_value, proto.graph.output)),
            "operators:",
            *(f"  {count} x {name}" for name, count in nodes.most_common()),
            "initializers:",
            *(f"  {count} x {name}" for name, count in tensors.most_common()),
        ]
    )


def _value(value: ValueInfoProto) -> str:
    tensor = value.type.tensor_type
    dims = [dim.dim_param or dim.dim_value for dim in tensor.shape.dim]
    return f"type {tensor.elem_type} {dims}"
