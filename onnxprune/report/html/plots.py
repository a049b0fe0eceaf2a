"""Matplotlib's figures as SVG that is part of a page: small, with the page's fonts, and colours that follow its theme.

A figure is drawn with the *inks* below, which no theme has; in the SVG they become CSS variables. Names out of models
never reach Matplotlib (which would read `$` as mathematics, and look for their letters in its fonts): what is drawn is
a placeholder, and the name replaces it, escaped.
"""

from __future__ import annotations

import hashlib
import html
import io
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from onnxprune.errors import UsageError
from onnxprune.report.html.matplotlib_import import import_matplotlib
from onnxprune.report.shared import shortened
from onnxprune.results.units import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INKS = {
    "ink": "#010203",
    "faint": "#010204",
    "kept": "#010205",
    "removed": "#010206",
    "pinned": "#010207",
    **{f"line{k}": f"#01020{8 + k:x}" for k in range(6)},
}
"""Name of a CSS variable -> the colour that stands for it while Matplotlib draws."""
LINES = tuple(f"line{k}" for k in range(6))
WIDTH = 4.6  # inches: one column of a page, whose letters a phone still shows at a legible size
SETTINGS: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "onnxprune",
    "font.size": 9,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with Matplotlib: the same layout everywhere
    "text.parse_math": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INKS["faint"],
    "axes.labelcolor": INKS["ink"],
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.formatter.use_mathtext": False,
    "grid.color": INKS["faint"],
    "grid.alpha": 0.35,
    "grid.linewidth": 0.6,
    "text.color": INKS["ink"],
    "xtick.color": INKS["faint"],
    "ytick.color": INKS["faint"],
    "xtick.labelcolor": INKS["ink"],
    "ytick.labelcolor": INKS["ink"],
    "figure.constrained_layout.use": True,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}
_MARK = re.compile(r"@([0-9]+)@")


def require() -> None:
    """Raise UsageError without Matplotlib; before the long part of a run rather than after it."""
    try:
        import_matplotlib()
    except ImportError as error:
        raise UsageError(
            f"--report draws with Matplotlib, which cannot be imported: {error}",
            hint="Install it: pip install 'onnxprune[report]'",
        ) from error


class Plot:
    """A figure with one pair of axes, drawn inside `with`; afterwards `svg` is its text. `label` says what it shows."""

    def __init__(self, label: str, height: float = 2.7) -> None:
        self.label, self.height = label, height
        self.names: list[str] = []
        self.svg = ""

    def __enter__(self) -> Plot:
        import_matplotlib()
        import matplotlib
        from matplotlib.figure import Figure

        self._context = matplotlib.rc_context()
        self._context.__enter__()
        matplotlib.rcdefaults()  # whatever a matplotlibrc says
        for key, value in SETTINGS.items():
            matplotlib.rcParams[key] = value  # type: ignore[index,unused-ignore]
        self.figure: Figure = Figure(figsize=(WIDTH, self.height))
        self.axes: Axes = self.figure.add_subplot()
        return self

    def __exit__(self, kind: object, *rest: object) -> None:
        try:
            if kind is None:
                self.svg = _inline(_drawn(self.figure), self.label, self.names)
        finally:
            self._context.__exit__(None, None, None)

    def name(self, text: str, most: int = 40) -> str:
        """What to draw instead of a name out of a model."""
        self.names.append(shortened(printable(text), most))
        return f"@{len(self.names) - 1}@"

    def bars(
        self,
        names: Sequence[str],
        values: Sequence[float],
        colours: Sequence[str],
        ranges: Sequence[tuple[float, float]] | None = None,
        texts: Sequence[str] | None = None,
    ) -> None:
        """Horizontal bars from the top down, each below its name, with `ranges` (low, high) as error bars."""
        axes = self.axes
        places = [-k for k in range(len(names))]
        axes.barh(places, list(values), height=0.42, color=[INKS[c] for c in colours])
        for k, (low, high) in enumerate(ranges or ()):
            axes.plot([low, high], [-k, -k], color=INKS["ink"], linewidth=1.2, marker="|", markersize=6)
        for k, name in enumerate(names):
            text = self.name(name) if texts is None else f"{self.name(name)}  {self.name(texts[k])}"
            axes.annotate(text, (0, -k + 0.24), xytext=(2, 1), textcoords="offset points", va="bottom")
        axes.set_ylim(-len(names) + 0.6, 0.85)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.grid(False, axis="y")
        axes.set_xlim(left=0)


def _drawn(figure: Figure) -> str:
    target = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(target, format="svg", metadata=nothing)
    return target.getvalue()


def _inline(text: str, label: str, names: Sequence[str]) -> str:
    """The `svg` element alone: no size but that of its box, no namespaces, identifiers of its own, CSS variables."""
    text = text[text.index("<svg") :]
    box = re.search(r'viewBox="([^"]*)"', text)
    assert box is not None
    body = text[text.index(">") + 1 : text.rindex("</svg>")]
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", body, flags=re.S)
    body = re.sub(r"font-family: [^;\"]*;? ?", "", body)
    body = re.sub(r' transform="rotate\(-0 [^"]*\)"', "", body)
    body = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\d+\.\d\d)\d+", r"\1", tag[0]), body)  # coordinates, not texts
    body = re.sub(r"\s*\n\s*", " ", body).replace("> <", "><")
    body = body.replace("xlink:href", "href")
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', body))
    body = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", body)
    own = hashlib.sha256(f"{label} {body}".encode()).hexdigest()[:8]  # identifiers of one page are unique
    body = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{own}-", body)
    for name, colour in INKS.items():
        body = body.replace(colour, f"var(--{name})")
    body = _MARK.sub(lambda found: html.escape(names[int(found[1])]), body)
    return f'<svg viewBox="{box[1]}" role="img" aria-label="{html.escape(label)}">{body}</svg>'
