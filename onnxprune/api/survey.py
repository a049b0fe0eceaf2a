"""What several files could lose, and why not more: `inspect` of a folder. Nothing here prints."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from onnxprune.choose.ranking import Options
from onnxprune.choose.reach import at_ratio, held_back
from onnxprune.cut.planned_cost import PlannedCost
from onnxprune.errors import ModelError, OnnxPruneError
from onnxprune.measure.summaries import summary
from onnxprune.model.load import load
from onnxprune.results.surveys import Held, Survey, Surveyed, Trouble
from onnxprune.trace import trace_model

SUFFIX = ".onnx"
HALF = 0.5
NO_MEMORY = Trouble("MemoryError", "there is not enough memory for this model", None, 3)


def files_in(given: Sequence[Path]) -> list[Path]:
    """The files, and for folders the .onnx files in them, at any depth, by name. Raises ModelError for one without."""
    found: list[Path] = []
    for path in given:
        if not path.is_dir():
            found.append(path)
            continue
        inside = sorted(_below(path))
        if not inside:
            raise ModelError(f"the folder {os.fspath(path)!r} has no {SUFFIX} file", hint="Name the files.")
        found += inside
    return list(dict.fromkeys(found))


def _below(folder: Path) -> Iterator[Path]:
    """Links to folders are not followed, and hidden folders are none of ours."""
    for where, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(where) / name for name in names if name.endswith(SUFFIX) and not name.startswith("."))


def survey(files: Sequence[Path], units: str = "channels", seen: Callable[[Path], None] = lambda _: None) -> Survey:
    """A row for every file; one that cannot be read has the error. `seen` is told of each before it is read."""
    rows: list[Surveyed] = []
    for path in files:
        seen(path)
        try:
            rows.append(_surveyed(path, units))
        except OnnxPruneError as error:
            rows.append(Surveyed(path, error=Trouble(type(error).__name__, error.message, error.hint, error.exit_code)))
        except MemoryError:
            rows.append(Surveyed(path, error=NO_MEMORY))
    return Survey(tuple(rows), units)


def _surveyed(path: Path, units: str) -> Surveyed:
    """Raises an OnnxPruneError."""
    source = load(path).inlined()
    traced = trace_model(source, units=units)
    groups = [group for group in traced.groups if group.members or group.pin is None]
    free = [group for group in groups if group.pin is None]
    blocks = traced.branches
    before = summary(source, traced.graph, traced.facts)
    held = [] if units == "blocks" else held_back(traced, "macs")
    return Surveyed(
        path,
        before,
        len(groups) + len(blocks),
        len(free) + len(traced.removable_branches),
        sum(group.size for group in free) + len(traced.removable_branches),
        None if units == "blocks" else PlannedCost(traced).macs(at_ratio(traced, Options(), HALF)),
        tuple(Held(share, reason, len(nodes), nodes[0].label) for share, reason, nodes in held),
    )
