"""Quantities in both directions."""

from __future__ import annotations

import pytest

from onnxprune.errors import UsageError
from onnxprune.results import units


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.00 k"),
        (9_994, "9.99 k"),
        (9_996, "10.0 k"),
        (99_960, "100 k"),
        (999_499, "999 k"),
        (999_500, "1.00 M"),
        (11_689_512, "11.7 M"),
        (1_814_073_344, "1.81 G"),
        (10**24, "1000000 E"),
    ],
)
def test_counts(count: int, text: str) -> None:
    assert units.format_count(count) == text


def test_formats() -> None:
    assert units.format_bytes(46_827_520) == "46.8 MB"
    assert units.format_macs(1_814_073_344) == "1.81 GMACs"
    assert [units.format_seconds(s) for s in (0, 0.012, 0.0996, 6.14, 59.96, 250)] == [
        "0 ms",
        "12 ms",
        "0.1 s",
        "6.1 s",
        "1 min 0 s",
        "4 min 10 s",
    ]
    assert [units.format_ratio(r) for r in (0.0, 0.5, 0.999, 0.0042)] == ["0.00", "0.50", "0.9990", "0.0042"]
    assert [units.format_change(*pair) for pair in ((3, 1), (1000, 1004), (2, 2), (0, 1), (0, 0))] == [
        "-67 %",
        "+0.4 %",
        "0 %",
        "-",
        "0 %",
    ]
    assert units.format_difference(0) == "0" and units.format_difference(2.44e-6) == "2.4e-06"
    assert units.plural(1, "layer") == "1 layer" and units.plural(2, "entry", "entries") == "2 entries"
    assert units.printable("a\nb\x1bc\udc80") == "a\\nb\\x1bc\\udc80"


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("800", 800),
        ("10MB", 10_000_000),
        ("1.5 GiB", 3 << 29),
        ("500kB", 500_000),
        (".5k", 500),
        ("1e3", 1000),
        ("2m", 2_000_000),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert units.parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "MB", "10 XB", "-1", "1e99", "ten", "1iB", "nan", "1,5MB"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(UsageError, match="not a size"):
        units.parse_bytes(text)


def test_counts_and_ratios_are_read() -> None:
    assert units.parse_count("1.8G") == 1_800_000_000
    assert units.parse_count("300 MMACs", "MACs") == 300_000_000
    with pytest.raises(UsageError):
        units.parse_count("5 MiB")
    assert units.parse_ratio("50%") == units.parse_ratio(" 50 % ") == units.parse_ratio(0.5) == 0.5
    for text in ("nan", "inf", "half", "%", ""):
        with pytest.raises(UsageError):
            units.parse_ratio(text)
