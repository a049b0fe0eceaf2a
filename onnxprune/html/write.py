"""The file of a report: checked before the long part of a run, written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from onnxprune.errors import UsageError
from onnxprune.html.plots import require
from onnxprune.outputs import check_target, write_text


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
    target = Path(path)
    for other in outputs:
        if os.path.abspath(target) in (os.path.abspath(other), f"{os.path.abspath(other)}.data"):
            raise UsageError(f"--report names another output, {str(path)!r}.", hint="Give it a name of its own.")
    found = tuple(inputs)
    check_target(target, force=force, inputs=found)
    return ReportFile(target, force, found)
