"""What must be the same before and after, without running anything: the signature, and the planned shapes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx

from onnxprune.errors import VerificationError
from onnxprune.model.graph import build
from onnxprune.model.infer import Facts, infer_like
from onnxprune.model.load import Model, load
from onnxprune.model.recorded import INITIALIZERS_APART
from onnxprune.trace.groups import Trace


def same_signature(original: Model, candidate: Path, *, added: str | None = None) -> None:
    """Raises VerificationError. `added`: a domain whose operators and functions the candidate may have besides.

    A function whose calls are all written out may be missing, and a domain that only its body used is imported then.
    """
    found, before = load(candidate).proto, original.outlined().proto
    same_ends(before, found)
    imports = [entry for entry in found.opset_import if entry.domain != added or entry in before.opset_import]
    functions = [entry for entry in found.functions if entry.domain != added or entry in before.functions]
    known = list(before.functions)
    if original.calls is not None:
        known = [entry for entry in known if entry in functions]
        imports = [
            entry for entry in imports if entry in before.opset_import or entry not in original.proto.opset_import
        ]
    if list(before.opset_import) != imports or known != functions:
        raise VerificationError("the operator sets or functions of the result are not those of the original")


def same_ends(original: onnx.ModelProto, found: onnx.ModelProto) -> None:
    """The inputs and outputs. Raises VerificationError. Before IR version 4 all initializers are inputs, too."""
    constants = {t.name for t in original.graph.initializer}
    if found.ir_version < INITIALIZERS_APART:
        constants |= {t.name for t in found.graph.initializer}
    for kind, before, after in (
        ("inputs", original.graph.input, found.graph.input),
        ("outputs", original.graph.output, found.graph.output),
    ):
        a = [v.SerializeToString(deterministic=True) for v in before if v.name not in constants]
        b = [v.SerializeToString(deterministic=True) for v in after if v.name not in constants]
        if a != b:
            raise VerificationError(f"the {kind} of the result are not those of the original")


def check_shapes(trace: Trace, model: Model, planned: dict[str, Any]) -> Facts:
    """The shapes inferred for the cut model must be those that the plan promises. What was inferred."""
    after = infer_like(build(model), trace.facts)
    for key, expected in planned.items():
        shape = after.shapes.get(key)
        if shape is None or key in trace.graph.constants or key in trace.facts.values:
            continue
        if len(shape) != len(expected) or any(
            a is not None and b is not None and a != b for a, b in zip(shape, expected, strict=True)
        ):
            raise VerificationError(
                f"value {key!r} has shape {list(shape)} after the cut, {list(expected)} was planned"
            )
    return after
