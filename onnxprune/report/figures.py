"""Measured figures as people read them: value, unit and interval in one text."""

from __future__ import annotations

import math

from onnxprune.benching.results import FASTER, UNDECIDED, Comparison, Estimate, Spread
from onnxprune.results.units import format_percent, plural

_TIMES = (("s", 1.0), ("ms", 1e-3), ("us", 1e-6))
_COUNTS = (("G", 1e9), ("M", 1e6), ("k", 1e3), ("", 1.0))


def time_text(found: Estimate | Spread) -> str:
    """Seconds: "178 us (164-203)"."""
    unit, scale = next((one for one in _TIMES if abs(found.value) >= one[1]), _TIMES[-1])
    return _figure(found, scale, unit)


def seconds_text(seconds: float) -> str:
    """One observation, exact as far as the clock is: "52.1 ms"."""
    unit, scale = next((one for one in _TIMES if seconds >= one[1]), _TIMES[-1])
    return f"{seconds / scale:.{_decimals(seconds / scale)}f} {unit}"


def memory_text(found: Spread | None) -> str:
    """Bytes: "60.3 MB (60.2-60.4)"; "unknown" where the system does not tell."""
    if found is None:
        return "unknown"
    prefix, scale = next((one for one in _COUNTS if abs(found.value) >= one[1]), _COUNTS[-1])
    return _figure(found, scale, f"{prefix}B")


def rate_text(found: Estimate) -> str:
    """Samples a second: "5.60 k/s (4.94-6.09)"."""
    prefix, scale = next((one for one in _COUNTS if abs(found.value) >= one[1]), _COUNTS[-1])
    return _figure(found, scale, f"{prefix}/s")


def share_text(found: Estimate) -> str:
    """A share: "86.2 % (84.0-88.1)"."""
    return _figure(found, 0.01, "%")


def _figure(found: Estimate | Spread, scale: float, unit: str) -> str:
    digits = _decimals(found.value / scale)
    value, low, high = (f"{x / scale:.{digits}f}" for x in (found.value, found.low, found.high))
    return f"{value} {unit} ({_range(found, low, high)})"


def _range(found: Estimate | Spread, low: str, high: str) -> str:
    return f"{low}-{high}" if math.isfinite(found.low) and math.isfinite(found.high) else "interval unknown"


def _decimals(value: float) -> int:
    """For three significant digits."""
    return 0 if value >= 99.95 else 1 if value >= 9.995 else 2


def ratio_text(found: Estimate, verdict: str = "") -> str:
    """A time ratio: "1.09x the time (95 % CI 1.03-1.22)"; of what is faster "2.20x faster (95 % CI 2.10-2.31)"; of
    what is undecided the interval alone, since a value in it would be taken for more.
    """
    if verdict == UNDECIDED and math.isfinite(found.high):
        return f"{_number(found.low)} to {_number(found.high)} times the time (95 % CI)"
    if verdict == FASTER:
        shown = Estimate(1 / found.value, 1 / found.high, 1 / found.low if found.low > 0 else math.inf)
        return f"{_times(shown.value)} faster ({_interval(shown)})"
    return f"{_times(found.value)} the time ({_interval(found)})"


def _number(value: float) -> str:
    return f"{value:.2g}" if value < 100 else f"{value:.0f}"


def _times(value: float) -> str:
    return f"{value:.{_ratio_digits(value)}f}x"


def _interval(found: Estimate) -> str:
    digits = _ratio_digits(found.value)
    return f"95 % CI {_range(found, f'{found.low:.{digits}f}', f'{found.high:.{digits}f}')}"


def _ratio_digits(value: float) -> int:
    """More where two numbers near 1 would look alike."""
    return 3 if 0.9 < value < 1.1 else 2 if value < 10 else 1


def comparison_text(found: Comparison, threads: int) -> str:
    """The verdict on one model, in one line."""
    how = f", {plural(found.pairs, 'interleaved pair')}" if found.paired else ", weaker: measured at another time"
    ratio = ratio_text(found.ratio, found.verdict)[:-1]
    cores = f", {plural(threads, 'thread')})"
    return f"{found.verdict}: {found.model} against {found.reference}: {ratio}{how}{cores}"


def unresolved_text(found: Comparison) -> str:
    """What an interval this wide leaves open."""
    share = (
        "any change" if not math.isfinite(found.resolution) else f"a change below {format_percent(found.resolution)}"
    )
    return f"{share} would not show here: measure longer (--seconds), or on a machine with less to do"
