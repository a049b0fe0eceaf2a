"""What was asked for: how weights are stored, and how far from the originals they may be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from onnxprune.errors import UsageError
from onnxprune.packing.kinds import CONNECTED, CONVOLUTION, EMBEDDING
from onnxprune.results.units import listed, parse_ratio

SHARED, INT8, EXACT = "shared", "int8", "exact"
WEIGHTS = (SHARED, INT8, EXACT)
CLUSTERS = ("exact", "linear")
MOST_BITS = 8
DEFAULT_BITS = {CONVOLUTION: 8, CONNECTED: 5, EMBEDDING: 5}


@dataclass(frozen=True)
class Recipe:
    """bits: a codebook of a weight of some kind has 2^bits entries. max_error: of a weight, relative (then the bits
    are the fewest that meet it). exclude: nodes that keep their weights.
    """

    weights: str
    bits: Mapping[str, int]
    clusters: str
    max_error: float | None
    exclude: tuple[str, ...] = ()


def recipe(
    weights: str,
    bits: str | int | None,
    clusters: str | None,
    max_error: str | float | None,
    exclude: Sequence[str],
) -> Recipe:
    """Raises UsageError for what is wrong, or has no effect."""
    if weights not in WEIGHTS:
        raise UsageError(f"weights {weights!r} are none of {', '.join(WEIGHTS)}.")
    if clusters is not None and clusters not in CLUSTERS:
        raise UsageError(f"clusters {clusters!r} are none of {', '.join(CLUSTERS)}.")
    for option, value in (("--bits", bits), ("--clusters", clusters)):
        if value is not None and weights != SHARED:
            raise UsageError(f"{option} has no effect with --weights {weights}.")
    if weights == EXACT and (max_error is not None or exclude):
        option = "--max-error" if max_error is not None else "--exclude"
        raise UsageError(f"{option} has no effect with --weights exact: all weights are stored as they are.")
    if bits is not None and max_error is not None:
        raise UsageError("--bits and --max-error exclude each other.", hint="--max-error chooses the bits.")
    limit = None if max_error is None else parse_ratio(max_error)
    if limit is not None and not 0 <= limit < 1:
        raise UsageError(f"--max-error must be at least 0 and less than 1, found {max_error!r}.")
    return Recipe(weights, _bits(bits), clusters or "exact", limit, listed(exclude))


def _bits(asked: str | int | None) -> Mapping[str, int]:
    """8 for all, or 8/5: convolutions, and all others."""
    if asked is None:
        return dict(DEFAULT_BITS)
    try:
        numbers = [int(text) for text in str(asked).split("/")]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 2) or not all(1 <= number <= MOST_BITS for number in numbers):
        raise UsageError(
            f"--bits {asked!r} is not a number from 1 to {MOST_BITS}.",
            hint="One for all weights (6), or for convolutions and for all others (8/5).",
        )
    return {CONVOLUTION: numbers[0], CONNECTED: numbers[-1], EMBEDDING: numbers[-1]}
