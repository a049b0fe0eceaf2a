"""Progress on the terminal, and messages of the library on stderr."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from onnxprune.cli.run import Run, fancy

if TYPE_CHECKING:
    from onnxprune.results import Progress, ProgressCallback

_HANDLER = "onnxprune command line"


@contextlib.contextmanager
def progress(run: Run) -> Iterator[ProgressCallback | None]:
    """A callback that draws on stderr if that is a terminal; None if there is nobody to see it.

    With -v the stages are in the log instead: two writers would garble the line.
    """
    if run.quiet or run.verbosity:
        yield _log_stage if run.verbosity else None
        return
    if not fancy(sys.stderr):
        yield None
        return
    from onnxprune.report.progress import bar

    with bar() as draw:
        yield draw


def _log_stage(step: Progress) -> None:
    import logging

    from onnxprune.report.progress import said

    logging.getLogger("onnxprune.cli").info("%s %s", said(step), step.message)


def configure_logging(verbosity: int, quiet: bool, level: str | None) -> None:
    """Send the library's log to stderr: warnings, with -v information, with -vv everything, with -q errors only."""
    import logging

    chosen = level or ("error" if quiet else ("warning", "info", "debug")[min(verbosity, 2)])
    logger = logging.getLogger("onnxprune")
    for old in [handler for handler in logger.handlers if handler.name == _HANDLER]:
        logger.removeHandler(old)
    handler = logging.StreamHandler(sys.stderr)
    handler.name = _HANDLER
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(chosen.upper())
