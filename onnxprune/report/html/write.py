"""The file of a report: checked before the long part of a run, written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from onnxprune.capture.samples import files_of
from onnxprune.errors import OnnxPruneError, UsageError
from onnxprune.model.load import Model
from onnxprune.model.outputs import check_target, write_text
from onnxprune.model.sources import Place
from onnxprune.report.html.plots import require
from onnxprune.results import ShrinkResult, SparsifyResult

R = TypeVar("R", ShrinkResult, SparsifyResult)


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
        if not result.written:
            raise
        notes = (*result.notes, f"the report was not written: {error.message}")
        return replace(result, notes=notes, problem=result.problem or error)
    return result


def shrink_file(given: Mapping[str, Any], place: Place) -> ReportFile | None:
    """The file of the report of `shrink`, called with `given`, whose result goes to `place`."""
    outputs = () if given["dry_run"] else (place.target,)
    return open_report(given["report"], force=given["force"], inputs=place.protected, outputs=outputs)


def bench_file(given: Mapping[str, Any]) -> ReportFile | None:
    """The file of the report of `bench`, called with `given`: no model, baseline or data."""
    models = [*given["models"], *([] if given["baseline"] is None else [given["baseline"]])]
    files = [path for one in models for path in (one.origin if isinstance(one, Model) else (Path(one),))]
    return open_report(given["report"], force=given["force"], inputs=(*files, *files_of(given["data"])))
