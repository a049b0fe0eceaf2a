"""The words for a result that is not faster, cause by cause."""

from __future__ import annotations

import pytest

from onnxprune.report.speed import speed_text, why_not
from onnxprune.results import Cause, TimingSummary

ROUNDED = Cause("rounded", 0.7, ("a", "b"), 12, 16)
UNCUT = Cause("uncut", 0.6, ("c",), 1)
WEIGHTLESS = Cause("weightless", 0.5, ("d",), 2)
KERNEL = Cause("kernel", 0.4, ("e",), 3)
SPARSE = Cause("sparse", 0.9, ("f",), 4)
LAYOUT = Cause("layout", 0.2, ("g",), 5)
SMALL = Cause("small", 1.0, (), 24)
RARE = Cause("weightless", 0.05, ("h",), 1)


def timing(verdict: str, speedup: float, *causes: Cause, high: float | None = None) -> TimingSummary:
    low, high = speedup - 0.01, speedup + 0.01 if high is None else high
    return TimingSummary(verdict, speedup, low, high, 75e-6, 75e-6 / speedup, 2, 1, 100, causes)


def test_how_fast() -> None:
    assert speed_text(timing("faster", 1.27)) == "1.27x faster (95 % CI 1.26-1.28, 2 threads)"
    assert speed_text(timing("slower", 0.5)) == "but slower: 0.50x the speed (95 % CI 0.49-0.51, 2 threads)"
    assert speed_text(timing("same", 1.0)) == "but no faster: 1.000x the speed (95 % CI 0.990-1.010, 2 threads)"
    wide = timing("undecided", 1.0, ROUNDED, high=3.0)
    assert speed_text(wide) == "faster or slower cannot be told here (95 % CI 0.99-3 times, 2 threads)"
    assert why_not(wide, {}) == "measure longer, or on a machine with less to do: onnxprune bench"


@pytest.mark.parametrize(
    ("causes", "options", "words"),
    [
        (
            (ROUNDED,),
            {"multiple_of": 4},
            "70 % of its time is in 12 layers whose kernels round their widths up to mult",
        ),
        ((ROUNDED,), {"multiple_of": 4}, ": leave out --multiple-of 4, or"),
        (
            (KERNEL, LAYOUT),
            {"multiple_of": 1},
            "take as long (the longest: e), 20 % in conversions between layouts: leave",
        ),
        ((ROUNDED,), {}, "of 16: ask for time itself (--target latency=...)"),
        (
            (UNCUT,),
            {},
            "60 % of its time is in 1 layer that kept all weights (the longest: c): onnxprune inspect --why",
        ),
        ((WEIGHTLESS, RARE), {}, "50 % of its time is in 2 operators without weights (the longest: d): ask for time"),
        ((SPARSE,), {"sparsity": {}}, "4 layers whose zeros save less than their operators cost: --pattern auto"),
        ((KERNEL, WEIGHTLESS, SMALL), {}, "(the longest: e), a run takes 75 us in 24 kernels, little to save: larger"),
        ((SMALL,), {}, "a run takes 75 us in 24 kernels, little to save: larger batches"),
    ],
)
def test_why_it_is_not(causes: tuple[Cause, ...], options: dict[str, object], words: str) -> None:
    assert words in (why_not(timing("same", 1.0, *causes), options) or "")


def test_nothing_is_explained_where_nothing_is_known() -> None:
    assert why_not(timing("same", 1.0, RARE), {}) is None
    assert why_not(timing("faster", 2.0, ROUNDED), {}) is None
