"""The file of a report: checked before the long part of a run, written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from onnxprune.capture.samples import files_of
from onnxprune.errors import OnnxPruneError, UsageError
from onnxprune.model.load import Model
from onnxprune.model.outputs import check_target, write_text
from onnxprune.model.sources import Place
from onnxprune.options.compressing import CompressOptions
from onnxprune.options.others import BenchOptions
from onnxprune.options.quantizing import QuantizeOptions
from onnxprune.options.shrinking import ShrinkOptions, SparsifyOptions
from onnxprune.report.html.plots import require
from onnxprune.results import CompressResult, QuantizeResult, ShrinkResult, SparsifyResult

R = TypeVar("R", CompressResult, ShrinkResult, SparsifyResult, QuantizeResult)


@dataclass(frozen=True)
class ReportFile:
    """Where a report goes; `inputs` are files that it must not replace, even with `force`."""

    path: Path
    force: bool
    inputs: tuple[Path, ...]

    def write(self, text: str, written: Iterable[Path] = ()) -> None:
        """Raises OutputError. `written` are files that were made meanwhile."""
        write_text(self.path, text, force=self.force, inputs=(*self.inputs, *written))


def open_report(
    path: str | os.PathLike[str] | None, *, force: bool, inputs: Iterable[Path] = (), outputs: Iterable[Path] = ()
) -> ReportFile | None:
    """The file of a report that may be written, None without one. `outputs` are files that are to be written, too.

    Raises UsageError without Matplotlib, or if another output has this name; OutputError if there is something.
    """
    if path is None:
        return None
    require()
    target = Path(path).absolute()  # user code may change the working directory before it is written
    for other in outputs:
        if os.path.abspath(target) in (os.path.abspath(other), f"{os.path.abspath(other)}.data"):
            raise UsageError(f"--report names another output, {str(path)!r}.", hint="Give it a name of its own.")
    found = tuple(item.absolute() for item in inputs)
    check_target(target, force=force, inputs=found)
    return ReportFile(target, force, found)


def with_report(page: ReportFile, text: str, result: R) -> R:
    """The result, after its report was written. What fails once the model is there does not take it back."""
    try:
        page.write(text, result.written)
    except OnnxPruneError as error:
        if not result.written and result.model is None:
            raise
        notes = (*result.notes, f"the report was not written: {error.message}")
        return replace(result, notes=notes, problem=result.problem or error)
    return result


def result_file(
    options: CompressOptions | ShrinkOptions | SparsifyOptions | QuantizeOptions, place: Place
) -> ReportFile | None:
    """The file of the report of a run whose result goes to `place`."""
    outputs = () if options.dry_run or place.in_memory else (place.target,)
    return open_report(options.report, force=options.force, inputs=place.protected, outputs=outputs)


def bench_file(options: BenchOptions, models: Sequence[str | Path | Model]) -> ReportFile | None:
    """The file of the report of `bench`: no model, baseline or data."""
    measured = [*models, *([] if options.baseline is None else [options.baseline])]
    files = [path for one in measured for path in (one.origin if isinstance(one, Model) else (Path(one),))]
    return open_report(options.report, force=options.force, inputs=(*files, *files_of(options.data)))
