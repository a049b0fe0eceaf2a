"""The folder in which a run keeps what it found, at times that the test gives."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from onnxprune.results.kept.memory import MANIFEST, NOTHING, Memory, manifest_of


class Times:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def memory(path: Path, times: Times, **options: int) -> Memory:
    return Memory(path, lambda: {"schema": "s"}, every_s=20.0, now=times, **options)


def test_short_runs_write_nothing(tmp_path: Path) -> None:
    times = Times()
    kept = memory(tmp_path / "run", times)
    assert kept.call("stage", 1, lambda: 5) == 5
    times.now = 19.0
    kept.call("stage", 2, lambda: 6)
    assert list(tmp_path.iterdir()) == []
    times.now = 20.0
    kept.call("stage", 3, lambda: np.arange(3))
    assert len(list((tmp_path / "run").glob("*.npz"))) == 3, "what was found before as well"
    assert json.loads((tmp_path / "run" / MANIFEST).read_text()) == {"schema": "s"}
    assert manifest_of(tmp_path / "run") == {"schema": "s"}
    kept.clear()
    assert list(tmp_path.iterdir()) == []


def test_another_run_takes_what_is_there() -> None:
    assert NOTHING.call("stage", 1, lambda: 7) == 7 and NOTHING.slot("stage", 1).load() is None


def test_it_is_asked_by_what_it_was_computed_from(tmp_path: Path) -> None:
    Memory(tmp_path / "run", every_s=0.0).call("stage", [np.ones(2)], lambda: (1, np.zeros(1)))
    again = Memory(tmp_path / "run", every_s=0.0)
    assert again.call("stage", [np.ones(2)], lambda: 1 / 0)[0] == 1 and again.taken == 1  # type: ignore[index]
    assert again.call("stage", [np.zeros(2)], lambda: "new") == "new"
    assert again.call("other", [np.ones(2)], lambda: "new") == "new"


def test_a_broken_file_is_as_none(tmp_path: Path) -> None:
    """Whatever a crash left of it, and at whatever byte."""
    Memory(tmp_path / "run", every_s=0.0).call("stage", 1, lambda: np.arange(5))
    (path,) = (tmp_path / "run").glob("*.npz")
    whole = path.read_bytes()
    for size in range(0, len(whole), 31):
        path.write_bytes(whole[:size])
        assert Memory(tmp_path / "run", every_s=60.0).call("stage", 1, lambda: "again") == "again"
    path.write_bytes(whole.replace(b"array", b"brray"))
    assert Memory(tmp_path / "run", every_s=60.0).call("stage", 1, lambda: "again") == "again"


def test_a_result_takes_the_place_of_the_way_to_it(tmp_path: Path) -> None:
    kept = Memory(tmp_path / "run", every_s=0.0)
    steps, result = kept.slot("steps", 1), kept.slot("result", 1)
    steps.put([1, 2])
    steps.put([1, 2, 3])
    assert steps.load() == [[1, 2, 3]]
    result.put(6, instead_of=steps)
    assert steps.load() is None and result.load() == [6]


def test_it_is_bounded(tmp_path: Path) -> None:
    kept = Memory(tmp_path / "run", every_s=0.0, most_bytes=10_000)
    for number in range(5):
        kept.slot("stage", number).put(np.zeros(500))
    assert len(list((tmp_path / "run").glob("*.npz"))) == 2
    kept.slot("stage", 1).put(np.ones(500))
    found = kept.slot("stage", 1).load()
    assert found is not None and found[0].all(), "what is there can be replaced"


def test_what_takes_long_to_write_is_written_seldom(tmp_path: Path) -> None:
    times = Times()

    def slow() -> dict[str, str]:
        times.now += 10.0
        return {}

    kept = Memory(tmp_path / "run", slow, every_s=20.0, now=times)
    times.now = 20.0
    kept.put("a", 1)
    times.now = 30.0 + 249.0
    assert not kept.due
    times.now = 30.0 + 250.0
    assert kept.due


def test_that_nothing_can_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    kept = Memory(tmp_path / "file" / "run", every_s=0.0)
    assert kept.call("stage", 1, lambda: 3) == 3
    kept.clear()
    assert (tmp_path / "file").read_text() == ""
