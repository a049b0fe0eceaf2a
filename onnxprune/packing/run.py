"""`pack` and `unpack`: read, choose, write beside the target, decode again, measure, rename into place."""

from __future__ import annotations

import contextlib
import os
import posixpath
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxprune.capture.feeding import runnable
from onnxprune.capture.samples import files_of
from onnxprune.choose.ranking import matching
from onnxprune.data import anchored, open_data
from onnxprune.errors import GateError, ModelError, OutputError, UsageError
from onnxprune.measure.fidelity import fidelity
from onnxprune.measure.gate import Gate, open_gate
from onnxprune.model.graph import build
from onnxprune.model.load import Model, load
from onnxprune.model.save import StagedFiles, output_path
from onnxprune.model.sources import beside, opened
from onnxprune.packing.kinds import weights as kinds_of
from onnxprune.packing.reader import Packed
from onnxprune.packing.recipe import Recipe, recipe
from onnxprune.packing.results import PackResult, UnpackResult
from onnxprune.packing.source import Source, open_source
from onnxprune.packing.writer import Writer
from onnxprune.results import Fidelity, ProgressCallback
from onnxprune.results.clock import Clock
from onnxprune.results.units import parse_bytes

BATCH = 32
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
    """Store a model in as few bytes as its weights allow, in `out` (default: NAME.onnxpack beside it).

    `weights`: "shared" (k-means codebooks), "int8" (one scale a channel) or "exact" (lossless). `bits` of codebooks: 8,
    or "8/5" for convolutions and all others; or `max_error`, the most that a weight may be off, relative to its norm
    (0.01). `clusters`: "exact" (least squares) or "linear" (as in the paper). `exclude`: nodes that keep their weights.
    With `data` (see `shrink`) the unpacked model is compared with the original; with `metric` and `max_drop` it may
    score at most that much less, or GateError. What is written has been decoded again. Raises an OnnxPruneError; then
    nothing was written.
    """
    clock = Clock(progress)
    data, metric = anchored(data), anchored(metric)
    comparison = _Comparison(data, preprocess, samples, seed, threads)
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


def unpack(
    file: str | Path,
    out: str | Path | None = None,
    *,
    max_size: str | int | None = None,
    force: bool = False,
    progress: ProgressCallback | None = None,
) -> UnpackResult:
    """Write the model that a packed file holds to `out` (default: NAME.unpacked.onnx beside it), and its data files
    under their own names into the same folder.

    `max_size`: refuse a file that unpacks to more (default: 1000 times its size). Raises ModelError for a damaged or
    hostile file, OutputError; then nothing was written.
    """
    clock = Clock(progress)
    path = Path(file)
    packed = Packed(path, max_size=None if max_size is None else parse_bytes(max_size))
    target = output_path(beside(path, ".unpacked.onnx") if out is None else out)
    names = [target.name, *_data_names(packed, target)]
    if not force:
        _keep_data(target.parent, names[1:])
    with StagedFiles(target, names, force=force, protected=(path,)) as staged:
        clock.start("unpack")
        for name, chunks in zip(names, packed.files(), strict=True):
            staged.write(name, chunks)
        clock.start("check")
        load(staged.path)
        clock.start("write")
        written = staged.commit()
    found = packed.directory
    return UnpackResult(
        path.name,
        packed.packed_bytes,
        found.size,
        found.unpacked.hex(),
        found.original.hex(),
        written,
        clock.finish(),
    )


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


@dataclass(frozen=True)
class _Comparison:
    """How what was packed is compared with the original."""

    data: Any
    preprocess: str | None
    samples: int | None
    seed: int
    threads: int

    def __post_init__(self) -> None:
        if self.data is None and (self.preprocess is not None or self.samples is not None):
            raise UsageError("--preprocess and --samples have no effect without --data.")

    def of(self, packed: Packed, original: Model, gate: Gate | None, clock: Clock) -> Fidelity | None:
        """Decode everything; compare what comes out, if there is something to compare by."""
        if self.data is None and gate is None:
            packed.check()
            return None
        with _unpacked(packed) as candidate:
            clock.start("measure")
            if gate is not None:
                _check(gate, candidate)
            if self.data is None:
                return None
            found = open_data(self.data, original, preprocess=self.preprocess, samples=self.samples, seed=self.seed)
            batches = runnable(original, found).batches(BATCH)
            return fidelity(original, candidate, batches, threads=self.threads, progress=clock.steps())


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


def _check(gate: Gate, candidate: Path) -> None:
    drop = gate.drop(candidate)
    if gate.max_drop is not None and not drop <= gate.max_drop:
        raise GateError(
            f"{gate.metric.label} falls by {drop:.4g}, from {gate.before:.4g} to {gate.after:.4g}; "
            f"--max-drop allows {gate.max_drop:.4g}",
            hint="Nothing was written. Allow more --bits, or a smaller --max-error, or --exclude layers.",
        )


@contextlib.contextmanager
def _unpacked(packed: Packed) -> Iterator[Path]:
    """The model of a packed file in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="onnxprune-") as name:
        folder = Path(name)
        names = ["model.onnx", *_data_names(packed, folder / "model.onnx")]
        with StagedFiles(folder / names[0], names, force=False, protected=()) as staged:
            for file, chunks in zip(names, packed.files(), strict=True):
                staged.write(file, chunks)
            yield staged.commit()[0]


def _keep_data(folder: Path, names: list[str]) -> None:
    """Raise OutputError for a data file that is there: most often that of the model that was packed, which reads it."""
    for name in names:
        if os.path.lexists(folder / name):
            raise OutputError(
                f"the output {str(folder / name)!r} exists: data files keep their names, and another model may read it",
                hint="Give an output in another folder. force=True replaces it, whoever reads it.",
            )


def _data_names(packed: Packed, target: Path) -> list[str]:
    """The names of the data files. Raises ModelError for one that leads elsewhere, or is there twice."""
    names = [file.name for file in packed.directory.files[1:]]
    for name in names:
        bad = not name or name in (".", "..") or posixpath.basename(name) != name or "\\" in name or "\0" in name
        if bad or ":" in name:
            raise ModelError(f"{packed.path}: a data file of the packed model is called {name!r}: not a plain name")
    if len({target.name, *names}) != len(names) + 1:
        raise ModelError(
            f"{packed.path}: two files of the packed model would be called the same",
            hint="Choose another name for the output.",
        )
    return names
