"""The function of the API that stores a model in few bytes: `pack`. Nothing here prints.

It reads, chooses, writes beside the target, decodes again, measures, and renames into place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from onnxprune.capture.samples import files_of
from onnxprune.choose.ranking import matching
from onnxprune.data import anchored
from onnxprune.errors import OutputError
from onnxprune.measure.gate import Gate, open_gate
from onnxprune.model.graph import build
from onnxprune.model.load import Model
from onnxprune.model.save import StagedFiles, output_path
from onnxprune.model.sources import beside, opened
from onnxprune.packing.compare import Comparison
from onnxprune.packing.kinds import weights as kinds_of
from onnxprune.packing.reader import Packed
from onnxprune.packing.recipe import Recipe, recipe
from onnxprune.packing.results import PackResult
from onnxprune.packing.source import Source, open_source
from onnxprune.packing.writer import Writer
from onnxprune.results import Fidelity, ProgressCallback
from onnxprune.results.clock import Clock

SUFFIX = ".onnxpack"
REWRITTEN = "stored as onnxprune writes it, in files of its own: same graph and tensors, but not the same bytes"


def pack(
    model: str | Path | Model,
    out: str | Path | None = None,
    *,
    weights: str = "shared",
    bits: str | int | None = None,
    clusters: str | None = None,
    max_error: str | float | None = None,
    exclude: Sequence[str] = (),
    data: Any = None,
    preprocess: str | None = None,
    samples: int | None = None,
    metric: str | Callable[[str], float] | None = None,
    max_drop: float | None = None,
    force: bool = False,
    seed: int = 0,
    threads: int = 0,
    progress: ProgressCallback | None = None,
) -> PackResult:
    """Store a model in as few bytes as its weights allow. What is written has been decoded again. After Deep
    Compression (Han et al., ICLR 2016): shared weights, gaps between them, entropy coding.

    Args:
        model: A path, or a model in memory.
        out: The file to write. Default: NAME.onnxpack beside the model.
        weights: "shared" (k-means codebooks), "int8" (one scale a channel) or "exact" (lossless).
        bits: Of codebooks: 8, or "8/5" for convolutions and all others.
        clusters: "exact" (least squares) or "linear" (as in the paper).
        max_error: The most that a weight may be off, relative to its norm (0.01), instead of `bits`.
        exclude: Nodes that keep their weights; patterns such as "stem*".
        data: Samples, as in `shrink`: the unpacked model is compared with the original.
        preprocess: Of images, as in `shrink`.
        samples: How many of `data` at most.
        metric: A function that scores the path of a model, or "file.py:function"; higher is better.
        max_drop: How much less than the original the unpacked model may score.
        force: Whether files may be replaced.
        seed: Of what is random.
        threads: Of the runtime; 0: all cores.
        progress: Hears how far it is.

    Returns:
        What was stored how, in how many bytes, and what that does to the outputs, if it was measured.

    Raises:
        GateError: The metric falls by more than `max_drop`. As with all errors, nothing was written.
        UsageError: An option is wrong, or a path does not exist.
        ModelError: It is no valid model.
        DataError: `data` does not fit the model.
        OutputError: The file cannot be written, or is there.
    """
    clock = Clock(progress)
    data, metric = anchored(data), anchored(metric)
    comparison = Comparison(data, preprocess, samples, seed, threads)
    asked = recipe(weights, bits, clusters, max_error, exclude)
    source = opened(model)
    target = _packed_path(source, out)
    protected = (*source.origin, *files_of(data), *files_of(metric))
    with (
        StagedFiles(target, [target.name], force=force, protected=protected) as staged,
        open_gate(metric, max_drop, source) as gate,
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
    return _result(source, files, packed, writer, weights, measured, gate, written, clock)


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
        source.path.name if source.path else "model",
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
