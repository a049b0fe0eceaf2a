"""What can go wrong, by whose fault, and the exit code that says so.

A message says what, where, what was found and how to go on. `OnnxPruneError` is for everything a user can mend;
any other exception that reaches the command line is a bug of ours (exit code 70).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable


class OnnxPruneError(Exception):
    """Base of every error that is not our bug. `exit_code` is what the command line returns.

    Attributes:
        message: What is wrong. It names options as the command line does: "--max-memory 4GB".
        hint: How to go on, if more can be said; likewise.

    `str()` is both, and names options as Python does: "max_memory='4GB'".
    """

    exit_code = 3

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return _in_python(self.message if self.hint is None else f"{self.message}\n  {self.hint}")


_wording: list[Callable[[str], str]] = []


def speak_with(in_python: Callable[[str], str]) -> None:
    """Set what names the options of a message as Python does: it knows all options, which nothing down here does."""
    _wording[:] = [in_python]


def _in_python(text: str) -> str:
    return _wording[0](text) if _wording else text


class Terminated(KeyboardInterrupt):
    """The process was told to end (SIGTERM, a closed terminal): unlike Ctrl-C it says nothing of what is wanted."""


class UsageError(OnnxPruneError):
    """Wrong options, configuration, or a path that does not exist."""

    exit_code = 2


class ModelError(OnnxPruneError):
    """The model cannot be read, is invalid, or is not supported."""

    exit_code = 3


class NotFinite(ModelError):
    """Values of the network are NaN or infinite where numbers are needed."""


class DataError(OnnxPruneError):
    """Calibration or input data cannot be read or does not fit the model."""

    exit_code = 3


class PlanError(OnnxPruneError):
    """A plan cannot be read, or was made for another model."""

    exit_code = 3


class OutputError(OnnxPruneError):
    """The output cannot be written, or would overwrite something that must stay."""

    exit_code = 2


class VerificationError(OnnxPruneError):
    """The result is not the same network minus the removed channels: nothing was written."""

    exit_code = 4


class ClusterError(OnnxPruneError):
    """The cluster that was to compute cannot be reached, or does not fit."""

    exit_code = 3


class GateError(OnnxPruneError):
    """A budget or threshold that the user set was not met."""

    exit_code = 1


def nearest(word: str, known: Iterable[str], *, count: int = 1, cutoff: float = 0.6) -> list[str]:
    """At most `count` of the known words that `word` may have been meant to be, the likeliest first."""
    import difflib  # here, because only errors need it

    return difflib.get_close_matches(word, list(known), n=count, cutoff=cutoff)


def did_you_mean(word: str, known: Iterable[str], *, count: int = 1, cutoff: float = 0.6) -> str:
    """The start of a hint, "Did you mean 'x'?  ", or nothing if no known word is near."""
    close = nearest(word, known, count=count, cutoff=cutoff)
    return f"Did you mean {', '.join(map(repr, close))}?  " if close else ""
