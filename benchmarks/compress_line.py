"""What `compress` has to be better than: a network cut by `shrink`, and then quantised as ONNX Runtime's manual says.

Points at a few cuts, and the line that they draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from accuracy import shrink
from quantize import theirs
from speed import faster

Row = dict[str, Any]
WHOLE = "100%"
CUTS = (WHOLE, "75%", "50%")
"""Multiply-accumulates that are left before the network is quantised."""
USUAL, TEXTS = "minmax-all", "dynamic"
WAYS = {"minilm_l6_v2": TEXTS}
"""How a model is quantised, if not as USUAL."""


def point(name: str, model: Path, data: Path, cut: str, threads: int, feed: Row, out: Path) -> Row:
    """Write `out`; what it takes: {"faster": ..., "size": share}, or {"error": why there is none}."""
    source = model
    if cut != WHOLE:
        source = out.with_suffix(".cut.onnx")
        shrink(model, f"macs={cut}", data, source)
    done = theirs(source, data, WAYS.get(name, USUAL), out)
    if "error" in done:
        return done
    return {"faster": faster(model, out, threads, feed)[:3], "size": out.stat().st_size / model.stat().st_size}


def at(points: Sequence[tuple[float, float]], left: float) -> float | None:
    """The score of the line through `points` (time left, score) where `left` of the time is left; None outside."""
    found = sorted(points)
    if len(found) < 2 or not found[0][0] <= left <= found[-1][0]:
        return None
    times, scores = zip(*found, strict=True)
    return float(np.interp(left, np.array(times), np.array(scores)))
