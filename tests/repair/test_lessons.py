"""How long is learnt, and what an effort makes of it."""

from __future__ import annotations

import math

from onnxprune.options.repairing import EFFORTS, times_of
from onnxprune.repair.lessons import Effort


def test_more_effort_stops_where_it_becomes_too_dear_and_never_below_the_usual() -> None:
    assert Effort().steps(100, 7) == 100
    assert Effort(0.5, most=1.0).steps(100, 7) == 50, "what is less needs no leave"
    assert Effort(3.0).steps(100, 7) == 300
    assert Effort(3.0, most=1400.0).steps(100, 7) == 200
    assert Effort(3.0, most=1.0).steps(100, 7) == 100


def test_names_of_efforts_are_in_order() -> None:
    found = [times_of(name) for name in EFFORTS]
    assert found == sorted(found) and times_of("normal") == 1 and math.isclose(times_of("2.5"), 2.5)
