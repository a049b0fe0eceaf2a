"""Commands as most tests call them: without the timing at the end, which takes seconds and is the topic of few."""

from __future__ import annotations

from collections.abc import Sequence

TIMED = {"shrink", "sparsify"}
MENTIONED = {"--bench", "--no-bench", "--help"}


def untimed(arguments: Sequence[object]) -> list[str]:
    """The arguments of the program, with `--no-bench` unless they say something else about it."""
    words = [str(argument) for argument in arguments]
    return words if MENTIONED & set(words) or not TIMED & set(words) else [*words, "--no-bench"]
