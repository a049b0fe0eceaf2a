"""Lines with a time for how far a run is, at times that the test gives."""

from __future__ import annotations

import threading

import pytest

from onnxprune.report.journal import Journal, every_minute
from onnxprune.report.stages import Stages
from onnxprune.results import Progress


class Times:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def test_a_stage_has_one_line_when_it_is_done() -> None:
    stages = Stages()
    assert stages.hear(Progress("trace", 0), 10.0) is None
    assert stages.hear(Progress("rebuild", 0), 12.5) == "tracing: 2.5 s"
    for done in (1, 2, 3):
        assert stages.hear(Progress("rebuild", done, 4), 12.5 + done) is None
    assert stages.hear(Progress("rebuild", 3, None, "held-out error 3 %"), 15.5) is None
    running = stages.running
    assert running is not None
    assert running.so_far(15.5) == (
        "adjusting all weights together, 3.0 s so far: 3 of 4, 1 a second, 1.0 s left, held-out error 3 %"
    )
    assert stages.hear(Progress("rebuild", 0), 16.0) is None, "the same again is one stage"
    assert stages.end(16.5) == "adjusting all weights together: 4.0 s, 3 of 4, held-out error 3 %"
    assert stages.end(17.0) is None


def test_slow_steps_say_how_long_one_takes() -> None:
    stages = Stages()
    stages.hear(Progress("sweep", 2, 6), 0.0)
    assert stages.running is not None
    assert stages.running.so_far(90.0) == "sweeping, 1 min 30 s so far", "two were done by an earlier run"
    stages.hear(Progress("sweep", 3, 6), 80.0)
    assert stages.running.so_far(90.0) == "sweeping, 1 min 30 s so far: 3 of 6, 1 min 30 s each, 4 min 30 s left"
    stages.hear(Progress("own stage", 0), 91.0)
    assert stages.running.so_far(92.0) == "own stage, 1.0 s so far"


@pytest.mark.parametrize("facts", [False, True])
def test_numbers_are_for_those_who_ask(facts: bool) -> None:
    lines: list[str] = []
    journal = Journal(lines.append, facts=facts, now=Times())
    journal(Progress("repair", 0))
    journal(Progress("repair", 0, fact="conv1, held-out error 9 % -> 2 %"))
    journal.tick()
    journal.end("done")
    said = [line.split("  ", 1)[1] for line in lines]
    number = ["repairing layer by layer: conv1, held-out error 9 % -> 2 %"] if facts else []
    stage = ["repairing layer by layer, 0 ms so far", "repairing layer by layer: 0 ms"]
    assert said == [*number, *stage, "done"]


def test_nothing_is_said_of_what_is_soon_over() -> None:
    """And once it takes long, what was kept back, each line with its own time."""
    lines: list[str] = []
    clock = Times()
    journal = Journal(lines.append, patience_s=20.0, now=clock)
    journal(Progress("load", 0))
    clock.now += 19
    journal(Progress("trace", 0))
    assert lines == []
    clock.now += 2
    journal(Progress("capture", 0))
    assert [line.split("  ", 1)[1] for line in lines] == ["reading the model: 19.0 s", "tracing: 2.0 s"]
    assert lines[0].split("  ")[0] < lines[1].split("  ")[0]
    short: list[str] = []
    Journal(short.append, patience_s=20.0, now=Times()).end("done")
    assert short == []


def test_minutes_come_beside_the_work() -> None:
    heard = threading.Event()
    with every_minute(heard.set, seconds=0.001):
        assert heard.wait()
    assert not [thread for thread in threading.enumerate() if thread.name == "onnxprune minutes"]
