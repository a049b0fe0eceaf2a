"""What is known of this call of the program, and the ways to say something."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from onnxprune.errors import OutputError
from onnxprune.options.declare import choices
from onnxprune.options.running import Form

if TYPE_CHECKING:
    from onnxprune.report.blocks import Report
    from onnxprune.report.documents import Document

FORMATS = choices(Form, "format")


@dataclass
class Run:
    """`format` is known before the options are parsed, as errors in them have to be printed in it too.

    `command` and `options` are what the log of a bug names; `printed` is set once a result went to stdout.
    """

    format: str = "text"
    verbosity: int = 0
    quiet: bool = False
    command: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    printed: bool = False

    def show(self, report: Callable[[], Report], document: Callable[[], Document]) -> None:
        """Print a result to stdout, in the format that was asked for."""
        from onnxprune.report import documents, render

        if self.format == "json":
            text = documents.dumps(document())
        elif self.format == "markdown":
            text = render.markdown(report())
        elif fancy(sys.stdout):
            import shutil  # here: it brings lzma along, and --help needs neither

            text = render.terminal(report(), shutil.get_terminal_size().columns)
        else:
            text = render.plain(report())
        self.print(text)

    def print(self, text: str) -> None:
        """Write to stdout. That nobody reads it is fine; that it cannot be written is an OutputError."""
        self.printed = True
        try:
            click.echo(text, nl=False)
        except BrokenPipeError:
            discard(sys.stdout)
        except OSError as error:
            discard(sys.stdout)
            raise OutputError(f"cannot write to standard output: {error.strerror or error}") from error


def asked_format(arguments: Sequence[str]) -> str:
    """The value of the last --format among arguments that may be wrong in any way."""
    found = "text"
    for position, argument in enumerate(arguments):
        if argument == "--":
            break
        if argument.startswith("--format="):
            found = argument.partition("=")[2]
        elif argument == "--format" and position + 1 < len(arguments):
            found = arguments[position + 1]
    return found if found in FORMATS else "text"


def fancy(stream: Any) -> bool:
    """Whether a stream is a terminal that understands more than plain text."""
    return stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"


def discard(stream: Any) -> None:
    """Let a stream that cannot be written to lead nowhere, so that the interpreter's last flush does not complain."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        null = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(null, stream.fileno())
        finally:
            os.close(null)


def tolerant_streams() -> None:
    """Characters that the locale cannot write become escapes instead of errors."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
