"""The function of the API that stores a model in few bytes: `pack`. Nothing here prints.

It reads, chooses, writes beside the target, decodes again, measures, and renames into place.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from onnxprune.api.public import public
from onnxprune.capture.samples import files_of
from onnxprune.choose.ranking import matching
from onnxprune.data import anchored
from onnxprune.errors import OutputError
from onnxprune.measure.gate import Gate, open_gate
from onnxprune.model.graph import build
from onnxprune.model.load import Model
from onnxprune.model.save import StagedFiles, output_path
from onnxprune.model.sources import beside, opened
from onnxprune.options.others import PackOptions
from onnxprune.packing.compare import Comparison
from onnxprune.packing.kinds import weights as kinds_of
from onnxprune.packing.reader import Packed
from onnxprune.packing.recipe import Recipe, recipe
from onnxprune.packing.results import PackResult
from onnxprune.packing.source import Source, open_source
from onnxprune.packing.writer import Writer
from onnxprune.results import Fidelity
from onnxprune.results.clock import Clock

SUFFIX = ".onnxpack"
REWRITTEN = "stored as onnxprune writes it, in files of its own: same graph and tensors, but not the same bytes"


@public(PackOptions)
def pack(options: PackOptions, model: str | Path | Model, out: str | Path | None = None) -> PackResult:
    """Store a model in as few bytes as its weights allow. What is written has been decoded again. After Deep
    Compression (Han et al., ICLR 2016): shared weights, gaps between them, entropy coding.

    Args:
        model: A path, or a model in memory.
        out: The file to write. Default: NAME.onnxpack beside the model.

    Returns:
        What was stored how, in how many bytes, and what that does to the outputs, if it was measured.

    Raises:
        GateError: The metric falls by more than `max_drop`. As with all errors, nothing was written.
        UsageError: An option is wrong, or a path does not exist.
        ModelError: It is no valid model.
        DataError: `data` does not fit the model.
        OutputError: The file cannot be written, or is there.
    """
    clock = Clock(options.told)
    options = replace(options, data=anchored(options.data), metric=anchored(options.metric))
    comparison = Comparison(options)
    asked = recipe(options.weights, options.bits, options.clusters, options.max_error, options.exclude)
    source = opened(model)
    target = _packed_path(source, out)
    protected = (*source.origin, *files_of(options.data), *files_of(options.metric))
    with (
        StagedFiles(target, [target.name], force=options.force, protected=protected) as staged,
        open_gate(options.metric, options.max_drop, source) as gate,
        open_source(source) as files,
    ):
        clock.start("pack")
        writer = _writer(files, asked, clock)
        staged.write(target.name, writer.chunks())
        clock.start("check")
        packed = Packed(staged.path, max_size=writer.directory.size)
        measured = comparison.of(packed, source, gate, clock)
        clock.start("write")
        written = staged.commit()
    return _result(source, files, packed, writer, options.weights, measured, gate, written, clock)


def default_packed(model: Path) -> Path:
    """Where a packed model goes by default."""
    return beside(model, SUFFIX)


def _packed_path(source: Model, out: str | Path | None) -> Path:
    if out is None and source.path is None:
        raise OutputError("a model that was not read from a file needs an output path")
    return output_path(default_packed(source.path) if out is None and source.path is not None else Path(str(out)))


def _writer(files: Source, asked: Recipe, clock: Clock) -> Writer:
    graph = build(files.model)
    return Writer(files, kinds_of(graph, matching(graph, asked.exclude, "--exclude")), asked, clock.steps())


def _result(
    source: Model,
    files: Source,
    packed: Packed,
    writer: Writer,
    weights: str,
    measured: Fidelity | None,
    gate: Gate | None,
    written: tuple[Path, ...],
    clock: Clock,
) -> PackResult:
    return PackResult(
        source.name,
        writer.directory.size,
        writer.directory.original.hex(),
        writer.directory.unpacked.hex(),
        packed.packed_bytes,
        writer.sizes(),
        tuple(writer.tensors),
        weights,
        measured,
        gate.summary() if gate else None,
        written,
        (REWRITTEN,) if files.rewritten else (),
        clock.finish(),
    )
