"""The rooms of the package as a picture, from its imports: `make architecture` writes docs/architecture.svg.

usage: python scripts/architecture_picture.py [FILE]

A room is a box; its floor is one above the highest room that it imports. Arrows lead to what is imported, but for those
where a longer way leads to the same room. The same tree gives the same bytes with the same release of Matplotlib.
"""

from __future__ import annotations

import ast
import io
import itertools
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "onnxprune"
PICTURE = ROOT / "docs" / "architecture.svg"
EDGE, FILL, LOW, ARROW, INK = "#3f51b5", "#eef0fb", "#f4f4f4", "#8a8fa8", "#1b1d2a"
WIDTH, HEIGHT, STEP, PASSAGE, ROW = 1.5, 0.5, 1.75, 0.4, 1.1
SWEEPS = 24
SETTINGS: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "onnxprune",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with Matplotlib: the same layout everywhere
    "font.size": 10,
}

Edges = Mapping[str, frozenset[str]]


Point = tuple[float, float]


@dataclass(frozen=True)
class House:
    """`place`: room -> (x, floor), the ground is 0. `ways`: (room, room below) -> the points that an arrow takes."""

    place: Mapping[str, Point]
    ways: Mapping[tuple[str, str], tuple[Point, ...]]


def imports(package: Path = PACKAGE) -> Edges:
    """Room -> the rooms that it imports. Processes that call the whole package count for nothing."""
    rooms = {_room(path.relative_to(package)) for path in package.rglob("*.py")} - {"__init__"}
    found: dict[str, set[str]] = {room: set() for room in rooms}
    for path in sorted(package.rglob("*.py")):
        room = _room(path.relative_to(package))
        if room != "__init__":
            found[room] |= (_imported(path) & rooms) - {room}
    return {room: frozenset(found[room]) for room in sorted(found)}


def _room(path: Path) -> str:
    return path.parts[0].removesuffix(".py")


def _imported(path: Path) -> set[str]:
    """The second parts of all names of the package that a file imports."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    parts = [name.split(".") for name in names]
    return {part[1] for part in parts if part[0] == PACKAGE.name and len(part) > 1}


def levels(edges: Edges) -> dict[str, int]:
    """Room -> floor: one above the highest room that it imports. Raises ValueError if imports form a circle."""
    found: dict[str, int] = {}
    while len(found) < len(edges):
        free = [room for room in edges if room not in found and edges[room] <= set(found)]
        if not free:
            raise ValueError(f"imports form a circle among {sorted(set(edges) - set(found))}")
        found |= {room: 1 + max((found[below] for below in edges[room]), default=-1) for room in free}
    return found


def reduced(edges: Edges) -> Edges:
    """Without arrows where a longer way leads to the same room."""
    below: dict[str, frozenset[str]] = {}
    for room in sorted(edges, key=levels(edges).__getitem__):
        below[room] = edges[room].union(*(below[other] for other in edges[room]))
    return {
        room: frozenset(t for t in targets if not any(t in below[other] for other in targets))
        for room, targets in edges.items()
    }


def house(edges: Edges) -> House:
    """Rooms and arrows in the plane: an arrow that passes a floor has a place there, so that it crosses no box.

    Every thing goes near its neighbours, from the top down and back, a few times over (Sugiyama et al., 1981).
    """
    at, arrows = levels(edges), reduced(edges)
    floors: list[list[str]] = [[room for room in edges if at[room] == k] for k in range(max(at.values()) + 1)]
    chains, above, below = {}, {room: [] for room in edges}, {room: [] for room in edges}  # type: ignore[var-annotated]
    for room in edges:
        for target in sorted(arrows[room]):
            chain = [room, *(f"{room}>{target}@{k}" for k in range(at[room] - 1, at[target], -1)), target]
            for k, name in zip(range(at[room] - 1, at[target], -1), chain[1:-1], strict=True):
                floors[k].append(name)
            for high, low in itertools.pairwise(chain):
                below.setdefault(high, []).append(low)
                above.setdefault(low, []).append(high)
            chains[room, target] = chain
    x: dict[str, float] = {}
    for floor in floors:
        x |= dict(zip(floor, _apart([0.0] * len(floor), floor), strict=True))
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        for floor in reversed(floors) if down else floors:
            near = above if down else below
            wanted = {name: _mean([x[other] for other in near[name]], x[name]) for name in floor}
            if sweep < SWEEPS // 2:
                floor.sort(key=lambda name, wanted=wanted: (wanted[name], x[name]))  # type: ignore[misc]
            x |= dict(zip(floor, _apart([wanted[name] for name in floor], floor), strict=True))
    level = {name: k for k, floor in enumerate(floors) for name in floor}
    place = {room: (x[room], float(at[room])) for room in edges}
    return House(place, {ends: tuple((x[n], float(level[n])) for n in chain) for ends, chain in chains.items()})


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _apart(wanted: Sequence[float], names: Sequence[str]) -> list[float]:
    """Near `wanted`, in this order, with room for every box: the mean of pushing to the right and to the left."""
    gaps = [(_width(a) + _width(b)) / 2 for a, b in itertools.pairwise(names)]
    right, left = list(wanted), list(wanted)
    for k, gap in enumerate(gaps):
        right[k + 1] = max(right[k + 1], right[k] + gap)
    for k in range(len(gaps) - 1, -1, -1):
        left[k] = min(left[k], left[k + 1] - gaps[k])
    return [(a + b) / 2 for a, b in zip(right, left, strict=True)]


def _width(name: str) -> float:
    return PASSAGE if ">" in name else STEP


def drawn(shown: House, folders: Sequence[str]) -> str:
    """The picture as SVG. `folders` are rooms whose names end with a stroke."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # whatever a matplotlibrc says
        for key, value in SETTINGS.items():
            matplotlib.rcParams[key] = value  # type: ignore[index,unused-ignore]
        figure = Figure(figsize=(8, 10))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        for _, way in sorted(shown.ways.items()):
            _arrow(axes, way)
        for room, (x, floor) in sorted(shown.place.items()):
            _box(axes, x, floor, room, f"{room}/" if room in folders else f"{room}.py")
        spots = [*shown.place.values(), *(point for way in shown.ways.values() for point in way)]
        left, right = (pick(x for x, _ in spots) for pick in (min, max))
        axes.set_xlim(left - WIDTH / 2 - 0.1, right + WIDTH / 2 + 0.1)
        axes.set_ylim(-HEIGHT, max(floor for _, floor in spots) * ROW + HEIGHT)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return text.getvalue()


def _box(axes: Any, x: float, floor: float, room: str, title: str) -> None:
    from matplotlib.patches import FancyBboxPatch

    corner = (x - WIDTH / 2, floor * ROW - HEIGHT / 2)
    fill = FILL if title.endswith("/") else LOW
    style = "round,pad=0,rounding_size=0.1"
    box = FancyBboxPatch(corner, WIDTH, HEIGHT, boxstyle=style, facecolor=fill, edgecolor=EDGE, linewidth=1, zorder=2)
    box.set_gid(f"room-{room}-floor-{floor:.0f}")
    axes.add_patch(box)
    axes.text(x, floor * ROW, title, ha="center", va="center_baseline", color=INK, zorder=3)


def _arrow(axes: Any, way: Sequence[Point]) -> None:
    """A smooth line that stands upright wherever it passes a floor."""
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path as Line

    points = [(x, floor * ROW) for x, floor in way]
    (x0, y0), (x1, y1) = points[0], points[-1]
    points[0] = (x0 + _aside(points[1][0] - x0), y0 - HEIGHT / 2)
    points[-1] = (x1 + _aside(points[-2][0] - x1), y1 + HEIGHT / 2)
    curve = [points[0]]
    for (a, b), (c, d) in itertools.pairwise(points):
        curve += [(a, (b + d) / 2), (c, (b + d) / 2), (c, d)]
    line = Line(curve, [Line.MOVETO, *[Line.CURVE4] * (len(curve) - 1)])
    style = "-|>,head_length=4.5,head_width=2.2"
    axes.add_patch(FancyArrowPatch(path=line, arrowstyle=style, color=ARROW, linewidth=1.1, zorder=1))


def _aside(distance: float) -> float:
    """Where on its edge a box is left: towards what comes next."""
    return max(-WIDTH * 0.35, min(WIDTH * 0.35, distance * 0.2))


def main() -> None:
    edges = imports()
    folders = [room for room in edges if (PACKAGE / room).is_dir()]
    target = Path(sys.argv[1]) if sys.argv[1:] else PICTURE
    target.write_text(drawn(house(edges), folders), encoding="utf-8")


if __name__ == "__main__":
    main()
