"""From exceptions to a message, an exit code and, for our own bugs, a log file."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING

import click

from onnxprune.cli.run import Run, discard
from onnxprune.errors import OnnxPruneError, Terminated
from onnxprune.results.units import printable
from onnxprune.results.wording import readable

if TYPE_CHECKING:
    from onnxprune.results.made import Made

USAGE = 2
MEMORY = 3
BUG = 70
INTERRUPTED = 130
MOVED = {"--jobs": "Threads of the runtime are --threads. --jobs is of sweep alone: how many points at a time."}
"""Options that a command had, or that people expect of it -> what to write."""


@dataclass(frozen=True)
class Failure:
    """What the user is told. `kind` is the name of the error's class."""

    kind: str
    message: str
    hint: str | None
    exit_code: int


def guarded(run: Run, action: Callable[[], None]) -> int:
    """Run `action`; the exit code. Every exception becomes a message, and none gets out."""
    try:
        with _signals_interrupt():
            action()
        code = 0
    except click.exceptions.Exit as leave:
        code = leave.exit_code
    except BrokenPipeError:  # nobody reads the help text to its end
        discard(sys.stdout)
        code = 0
    except BaseException as error:
        failure = _failure(run, error)
        _tell(run, failure)
        code = failure.exit_code
    _flush()
    return code


def leave(result: Made) -> None:
    """End with the exit code of an interrupt, if the result that was printed was cut short by one."""
    if result.interrupted is not None:
        raise click.exceptions.Exit(INTERRUPTED)


def _failure(run: Run, error: BaseException) -> Failure:
    if isinstance(error, click.Abort) or any(isinstance(one, KeyboardInterrupt) for one in _causes(error)):
        return Failure("Interrupted", "interrupted", None, INTERRUPTED)
    if isinstance(error, OnnxPruneError):
        return Failure(type(error).__name__, error.message, error.hint, error.exit_code)
    if isinstance(error, click.ClickException):
        return Failure("UsageError", error.format_message(), _usage_hint(error), USAGE)
    if isinstance(error, MemoryError):
        return Failure("MemoryError", "there is not enough memory for this model", None, MEMORY)
    return _bug(run, error)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it came of: Ctrl-C while a library is imported is an ImportError."""
    while error is not None:
        yield error
        error = error.__cause__


def _usage_hint(error: click.ClickException) -> str | None:
    context = getattr(error, "ctx", None)
    if context is None:
        return None
    return _misplaced(error, context) or f"Try '{context.command_path} --help'."


def _misplaced(error: click.ClickException, context: click.Context) -> str | None:
    """Where an option belongs that the program has, and its command has not."""
    if not isinstance(error, click.NoSuchOption) or context.parent is None:
        return None
    if error.option_name in MOVED:
        return MOVED[error.option_name]
    options = [param for param in context.parent.command.params if isinstance(param, click.Option)]
    found = next((param for param in options if error.option_name in param.opts), None)
    if found is None:
        return None
    takes = "" if found.is_flag or found.count else f" {found.metavar or 'VALUE'}"
    before = f"{context.parent.command_path} {error.option_name}{takes} {context.info_name}"
    return f"{error.option_name} comes before the command: {before} ..."


def _bug(run: Run, error: BaseException) -> Failure:
    from onnxprune.cli.bundle import write_bundle

    try:
        path = write_bundle(run, error)
        hint = f"Details, without weights, to attach to a report: {path}"
    except Exception as second:  # no place to write to
        hint = f"The log could not be written ({type(second).__name__})."
    what = f"{type(error).__name__}: {error}".splitlines()[0][:200]
    return Failure("InternalError", f"this is a bug in onnxprune ({what}).", hint, BUG)


def _tell(run: Run, failure: Failure) -> None:
    """The message on stderr, and with `--format json` the document on stdout, unless one is there already."""
    lines = [f"Error: {failure.message}", *([f"  {failure.hint}"] if failure.hint else [])]
    if failure.exit_code == BUG:
        lines = [" ".join(line.strip() for line in lines)]
    text = "\n".join(readable(printable(line)) for line in "\n".join(lines).split("\n"))
    if failure.exit_code == INTERRUPTED:
        text = "Interrupted."
    try:
        click.echo(text, err=True)
    except OSError:
        discard(sys.stderr)
    if run.format == "json" and not run.printed:
        from onnxprune.report.json_text import dumps, error

        with contextlib.suppress(OnnxPruneError):
            run.print(dumps(error(failure.kind, failure.message, failure.hint, failure.exit_code)))


@contextlib.contextmanager
def _signals_interrupt() -> Iterator[None]:
    """Being asked to end (SIGTERM, a closed terminal) is the same as Ctrl-C: cleaning up, exit code 130."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {}
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:
            before[number] = signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            discard(stream)
