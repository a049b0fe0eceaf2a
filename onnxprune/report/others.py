"""The reports of `verify`, `diff` and `env`."""

from __future__ import annotations

from onnxprune.report.blocks import Block, Column, Heading, Line, Report, Table
from onnxprune.report.shared import before_after, model_line, names, notes, proof_text, tolerance_text
from onnxprune.results import Difference, TensorDifference, VerifyResult
from onnxprune.system import Environment
from onnxprune.units import format_bytes, format_difference, plural

_NODES = (Column("node", code=True), Column("operator"), Column("difference"))
_TENSORS = (Column("initializer", code=True), Column("a"), Column("b"), Column("largest difference", right=True))
_FACTS = (Column("what"), Column("found"))


def verify_report(result: VerifyResult) -> Report:
    """What the proof showed."""
    refitted = f" differ from the bare cut: {names(result.refitted)}" if result.refitted else ""
    return (
        Heading(
            f"{result.pruned.name} is {result.original.name} minus the {_what(result)} of plan {result.plan_digest}"
        ),
        Line(f"verified: {proof_text(result.proof)}", indent=2),
        Line(f"refitted: {plural(len(result.refitted), 'initializer')}{refitted}", indent=2),
        Line(f"tolerance: {tolerance_text(result.proof)}", indent=2),
        before_after(result.original, result.pruned, ("original", "pruned")),
        *notes(*result.proof.notes),
    )


def _what(result: VerifyResult) -> str:
    return "blocks" if result.units == "blocks" else "channels"


def diff_report(result: Difference) -> Report:
    """What distinguishes two models, kind by kind."""
    blocks: list[Block] = [Heading(f"a  {model_line(result.a)}"), Heading(f"b  {model_line(result.b)}")]
    if result.same:
        return (*blocks, Line("no difference", indent=2))
    blocks.append(before_after(result.a, result.b, ("a", "b")))
    for title, lines in (("signature", result.signature), ("metadata", result.metadata)):
        blocks.append(Line(f"{title}: {plural(len(lines), 'difference')}", indent=2))
        blocks.extend(Line(line, indent=4) for line in lines)
    blocks.append(Line(f"nodes: {plural(len(result.nodes), 'difference')}", indent=2))
    if result.nodes:
        blocks.append(Table(_NODES, tuple((n.name, n.op_type, n.what) for n in result.nodes), indent=4))
    blocks.append(Line(f"initializers: {plural(len(result.tensors), 'difference')}", indent=2))
    if result.tensors:
        blocks.append(Table(_TENSORS, tuple(_tensor(tensor) for tensor in result.tensors), indent=4))
    return tuple(blocks)


def _tensor(tensor: TensorDifference) -> tuple[str, ...]:
    largest = "" if tensor.max_difference is None else format_difference(tensor.max_difference)
    return (tensor.name, _shape(tensor.shape_a), _shape(tensor.shape_b), largest)


def _shape(shape: tuple[int, ...] | None) -> str:
    if shape is None:
        return "-"
    return " x ".join(str(size) for size in shape) if shape else "scalar"


def env_report(result: Environment) -> Report:
    """Versions and hardware."""
    rows = [
        ("onnxprune", result.onnxprune),
        ("python", result.python),
        ("platform", result.platform),
        ("cpu", result.cpu),
        ("cores", str(result.cores)),
        ("memory", "unknown" if result.memory_bytes is None else format_bytes(result.memory_bytes)),
        *((name, version or "not installed") for name, version in result.packages.items()),
        ("providers", ", ".join(result.providers) or "none: ONNX Runtime cannot be imported"),
        ("sparse operators", result.sparse_operators or str(result.sparse_problem)),
        *([("their library", str(result.sparse_library))] if result.sparse_library else []),
    ]
    return (Heading("environment"), Table(_FACTS, tuple(rows), bare=True))
