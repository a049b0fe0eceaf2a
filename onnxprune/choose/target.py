"""What the result may cost: `macs=50%` leaves at most half, `params=2M` at most two million, `latency=4ms` four ms."""

from __future__ import annotations

from dataclasses import dataclass

from onnxprune.errors import UsageError
from onnxprune.results.units import parse_bytes, parse_count, parse_duration, parse_ratio

AMOUNTS = {"macs": parse_count, "params": parse_count, "size": parse_bytes, "latency": parse_duration}
KINDS = tuple(AMOUNTS)
EXAMPLES = "macs=50%, params=2M, size=10MB, latency=50% or latency=4ms"


@dataclass(frozen=True)
class Target:
    """`kind` of cost, and what may be left: a `share` of the original, or an `amount` (a count, bytes, seconds)."""

    kind: str
    share: float | None
    amount: float | None

    def limit(self, original: float) -> float:
        return original * self.share if self.share is not None else float(self.amount or 0)


def parse_target(text: str) -> Target:
    """`KIND=50%` or `KIND=1.2G`. Raises UsageError."""
    kind, found, value = text.partition("=")
    if not found or kind not in KINDS:
        raise UsageError(f"not a target: {text!r}", hint=f"Give {EXAMPLES}.")
    if value.strip().endswith("%"):
        share = parse_ratio(value)
        if not 0 < share <= 1:
            raise UsageError(f"a target of {value} is not a share that can be left", hint="Give between 0% and 100%.")
        return Target(kind, share, None)
    return Target(kind, None, AMOUNTS[kind](value))
