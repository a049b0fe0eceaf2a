"""Progress on the terminal or in lines, and messages of the library on stderr."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from onnxprune.cli.run import Run, fancy

if TYPE_CHECKING:
    from onnxprune.results import Progress, ProgressCallback

_HANDLER = "onnxprune command line"


@contextlib.contextmanager
def progress(run: Run) -> Iterator[ProgressCallback | None]:
    """A callback that draws a bar on stderr if that is a terminal, or with -v writes lines; None if nobody is to see
    it.
    """
    with contextlib.ExitStack() as stack:
        yield _callback(run, stack, lines=False)


@contextlib.contextmanager
def watched(run: Run, params: dict[str, Any]) -> Iterator[ProgressCallback]:
    """As `progress`, of a command that may take long: stages that are done stay on the terminal; in a pipe there are
    lines once it takes long, and in the file of `--log-file`, among the `params` of the command, in any case.

    Raises UsageError or OutputError for a file that cannot be that, before anything is done.
    """
    with contextlib.ExitStack() as stack:
        listeners: list[ProgressCallback] = []
        if params.get("log_file") is not None:
            file = stack.enter_context(_opened(run, params))
            stack.callback(file.close)
            listeners.append(stack.enter_context(_journal(_writer(file), facts=_says_numbers(run))))
        callback = _callback(run, stack, lines=True)
        listeners += [] if callback is None else [callback]

        def tell(step: Progress) -> None:
            for listener in listeners:
                listener(step)

        yield tell


def _callback(run: Run, stack: contextlib.ExitStack, *, lines: bool) -> ProgressCallback | None:
    """Who tells on stderr. With -v lines, not a bar: the log is there as well, and two writers would garble the bar."""
    if run.quiet:
        return None
    if run.verbosity:
        return stack.enter_context(_journal(_writer(sys.stderr), facts=True)) if _says_numbers(run) else None
    if fancy(sys.stderr):
        from onnxprune.report.progress import bar

        return stack.enter_context(bar(lines=lines))
    if lines and sys.stderr is not None:
        from onnxprune.report.journal import PATIENCE_S

        return stack.enter_context(_journal(_writer(sys.stderr), patience_s=PATIENCE_S))
    return None


def _says_numbers(run: Run) -> bool:
    """Whether -v is in force: --log-level may say otherwise."""
    import logging

    return run.verbosity > 0 and logging.getLogger("onnxprune").isEnabledFor(logging.INFO)


@contextlib.contextmanager
def _journal(
    write: Callable[[str], None], *, facts: bool = False, patience_s: float = 0.0
) -> Iterator[ProgressCallback]:
    """Lines, and one every minute; the last one says how it ended."""
    from onnxprune.report.journal import Journal, every_minute

    journal = Journal(write, facts=facts, patience_s=patience_s)
    outcome = "interrupted"
    try:
        with every_minute(journal.tick):
            yield journal
        outcome = "done"
    except Exception as error:
        outcome = f"failed: {getattr(error, 'message', None) or type(error).__name__}"
        raise
    finally:
        journal.end(outcome)


def _writer(file: IO[str]) -> Callable[[str], None]:
    """Writes lines; that nobody reads them, or that the disk is full, does not stop the work."""

    def write(line: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            file.write(f"{line}\n")
            file.flush()

    return write


def _opened(run: Run, params: dict[str, Any]) -> IO[str]:
    from onnxprune.cli.log_file import open_log

    others = {name: value for name, value in params.items() if name != "log_file"}
    return open_log(Path(params["log_file"]), run.command, others)


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
