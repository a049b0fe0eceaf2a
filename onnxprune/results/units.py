"""Quantities as people write them: counts, bytes, multiply-accumulates, shares, times. Formatting and parsing.

Prefixes are decimal (1 MB = 1,000,000 bytes); `KiB`, `MiB`, ... are accepted where sizes are read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from onnxprune.errors import UsageError

_PREFIXES = ("", "k", "M", "G", "T", "P", "E")
_QUANTITY = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE]([+-]?[0-9]{1,2}))?\s*([A-Za-z]*)\s*", re.ASCII)
_DURATION = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*(s|ms|us|µs)\s*", re.ASCII)
_NUMBER = r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
_TIME = re.compile(rf"(?:{_NUMBER}h)?(?:{_NUMBER}m)?(?:{_NUMBER}s)?", re.ASCII)
_DECIMAL = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_MAX = (1 << 63) - 1


def _scaled(value: float, unit: str) -> str:
    """`value` with three significant digits and the prefix that keeps it below 1000: "11.7 M"."""
    if not math.isfinite(value):
        return f"{value} {unit}".rstrip()
    for power, prefix in enumerate(_PREFIXES):
        scaled = value / 1000.0**power
        if abs(scaled) < 999.5 or prefix == _PREFIXES[-1]:
            break
    if power == 0:
        return f"{value:g} {unit}".rstrip()
    digits = 2 if abs(scaled) < 9.995 else 1 if abs(scaled) < 99.95 else 0
    return f"{scaled:.{digits}f} {prefix}{unit}"


def format_count(count: int) -> str:
    """A number of things: 11689512 is "11.7 M"."""
    return _scaled(count, "")


def format_bytes(size_bytes: int) -> str:
    """A size: 46827520 is "46.8 MB"."""
    return _scaled(size_bytes, "B")


def format_macs(macs: int) -> str:
    """Multiply-accumulates: 1814073344 is "1.81 GMACs"."""
    return _scaled(macs, "MACs")


def format_seconds(seconds: float) -> str:
    """A duration: "12 ms", "6.1 s", "4 min 10 s"."""
    if seconds < 0.0995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"


def format_latency(seconds: float) -> str:
    """A short time with three digits: "4.21 ms", "85.3 us"."""
    unit, factor = ("us", 1e6) if seconds < 0.9995e-3 else ("ms", 1e3) if seconds < 0.9995 else ("s", 1.0)
    return f"{seconds * factor:.3g} {unit}"


def format_ratio(ratio: float) -> str:
    """A share as a number: 0.5 is "0.50"; more digits where two would hide it."""
    if ratio == 0.0 or 0.01 <= abs(ratio) <= 0.99 or ratio == 1.0:
        return f"{ratio:.2f}"
    return f"{ratio:.4f}"


def format_percent(share: float) -> str:
    """A share in percent, three significant digits below 100: 0.0312 is "3.12 %"."""
    percent = share * 100.0
    return f"{percent:.0f} %" if percent >= 99.5 or percent == 0 else f"{percent:.3g} %"


def format_change(before: float, after: float) -> str:
    """The relative change in percent, with its sign: "-67 %", "+0.4 %"; "-" if `before` is zero."""
    if before == 0:
        return "-" if after else "0 %"
    change = (after - before) / before * 100.0
    if change == 0:
        return "0 %"
    if -100 < change <= -99.5:  # something is left
        return f"{max(change, -99.99):+.2f} %"
    return f"{change:+.0f} %" if abs(change) >= 0.95 else f"{change:+.2g} %"


def format_difference(value: float) -> str:
    """A small number in scientific notation: "2.4e-06"; exactly zero is "0"."""
    return "0" if value == 0 else f"{value:.1e}"


def plural(count: int, noun: str, nouns: str | None = None) -> str:
    """A number with its noun: "1 layer", "2 layers"."""
    return f"{count} {noun if count == 1 else nouns or noun + 's'}"


def parse_ratio(text: str | float) -> float:
    """A share: "0.5", "50%", "50 %" or a number. Raises UsageError for what is not a finite number."""
    try:
        if isinstance(text, str) and text.strip().endswith("%"):
            value = float(text.strip()[:-1]) / 100.0
        else:
            value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UsageError(f"not a share: {text!r}", hint="Give a number such as 0.5, or a percentage such as 50%.")
    return value


def parse_bytes(text: str | int) -> int:
    """A size: "10MB", "1.5 GiB", "800" (bytes). Raises UsageError for anything else."""
    found = _parse(text, "B")
    if found is None:
        raise UsageError(f"not a size: {text!r}", hint="Give bytes, or a unit: 500kB, 10MB, 1.5GiB.")
    return found


def parse_count(text: str | int, unit: str = "") -> int:
    """A number of things, `unit` optional: "1.8G", "300 M", "12000". Raises UsageError for anything else."""
    found = _parse(text, unit)
    if found is None:
        raise UsageError(f"not a number of {unit or 'things'}: {text!r}", hint="Give a number such as 300M or 1.8G.")
    return found


_TIMES = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6}


def parse_duration(text: str) -> float:
    """A time in seconds: "4ms", "0.5 s", "250us"; above zero. Raises UsageError for anything else."""
    match = _DURATION.fullmatch(text)
    value = float(match[1]) * _TIMES[match[2]] if match else 0.0
    if value <= 0:
        raise UsageError(f"not a time: {text!r}", hint="Give it with its unit: 4ms, 250us or 0.1s.")
    return value


def parse_time(text: str) -> float:
    """A time that a person waits, in seconds: "1h", "1h30m", "20m", "90s"; above zero. Raises UsageError."""
    match = _TIME.fullmatch(text.strip())
    hours, minutes, seconds = (float(part or 0) for part in match.groups()) if match else (0.0, 0.0, 0.0)
    found = 3600 * hours + 60 * minutes + seconds
    if found <= 0:
        raise UsageError(f"not a time: {text!r}", hint="Give it with its unit: 1h, 20m, 90s or 1h30m.")
    return found


def _parse(text: str | int, unit: str) -> int | None:
    """Decimal and (for bytes) binary prefixes, with or without the unit; None if it is none of that."""
    match = _QUANTITY.fullmatch(str(text))
    if match is None:
        return None
    suffix = match[3].lower()
    if unit and suffix.endswith(unit.lower()):
        suffix = suffix[: len(suffix) - len(unit)]
    binary = unit == "B" and suffix.endswith("i")
    power = _DECIMAL.get(suffix[:-1] if binary else suffix)
    if power is None or (binary and power == 0):
        return None
    value = float(match[1]) * 10.0 ** int(match[2] or 0) * (1024 if binary else 1000) ** power
    return round(value) if value <= _MAX else None


def printable(text: str) -> str:
    """One line that is safe to show: control characters, line ends and lone surrogates become escapes."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def listed(texts: str | Sequence[str]) -> tuple[str, ...]:
    """Several texts, or one by itself, which is not its letters."""
    return (texts,) if isinstance(texts, str) else tuple(texts)
