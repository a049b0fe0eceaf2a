"""The reports of `verify`, `diff` and `env`."""

from __future__ import annotations

from onnxprune.report.blocks import Block, Column, Heading, Line, Report, Table
from onnxprune.report.quantization import equality_text, form_texts, small_text
from onnxprune.report.quantization import proof_text as grids_text
from onnxprune.report.shared import before_after, model_line, names, notes, proof_text, tolerance_text, unproven
from onnxprune.report.sparsity import proof_of_zeros
from onnxprune.results import Difference, TensorDifference, VerifyResult
from onnxprune.results.sparse import SparseWeights
from onnxprune.results.system import Environment
from onnxprune.results.units import format_bytes, format_difference, format_percent, plural

_NODES = (Column("node", code=True), Column("operator"), Column("difference"))
_TENSORS = (Column("initializer", code=True), Column("a"), Column("b"), Column("largest difference", right=True))
_FACTS = (Column("what"), Column("found"))


def verify_report(result: VerifyResult) -> Report:
    """What the proof showed."""
    bare = "cut" if result.proof is not None and result.sparse is None else "network"
    refitted = f" differ from the bare {bare}: {names(result.refitted)}" if result.refitted else ""
    blocks: list[Block] = [
        Heading(f"{result.pruned.name} is {result.original.name} {_what(result)} of plan {result.plan_digest}")
    ]
    if result.proof is not None:
        blocks.append(Line(f"verified: {proof_text(result.proof)}", indent=2))
    if result.sparse is not None:
        blocks.append(Line(f"sparse: {_zeros(result.sparse)}", indent=2))
        blocks.append(Line(f"verified: {proof_of_zeros(result.sparse.proof, result.sparse.runs)}", indent=2))
    if result.grids is not None:
        blocks.append(Line(f"verified: {grids_text(result.grids)}", indent=2))
        blocks += [Line(f"verified: {text}", indent=2) for text in form_texts(result.grids)]
    if result.small is not None:
        blocks.append(Line(f"stored: {small_text(result.small)}", indent=2))
        blocks.append(Line(f"verified: {equality_text(result.small.proof)}", indent=2))
    blocks.append(Line(f"refitted: {plural(len(result.refitted), 'initializer')}{refitted}", indent=2))
    proofs = result.proofs
    blocks.extend(Line(f"tolerance: {tolerance_text(proof)}", indent=2) for proof in proofs)
    kind = "pruned" if result.proof is not None else "sparse" if result.sparse is not None else "quantised"
    blocks.append(before_after(result.original, result.pruned, ("original", kind)))
    return (*blocks, *notes(*dict.fromkeys(note for proof in proofs for note in proof.notes)), *unproven(*proofs))


def _what(result: VerifyResult) -> str:
    if result.grids is not None:
        return "on the grids"
    if result.small is not None:
        return "with the weights in fewer bits"
    cut = "minus the blocks" if result.units == "blocks" else "minus the channels"
    if result.sparse is None:
        return cut
    return "with the zeros" if result.proof is None else f"{cut} and with the zeros"


def _zeros(found: SparseWeights) -> str:
    share = format_percent(1 - found.nonzero / found.size if found.size else 0.0)
    return f"{share} of the weights of {plural(found.layers, 'layer')} are zero, in the blocks of the plan"


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
