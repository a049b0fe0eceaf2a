"""How values show themselves: one line at a prompt, HTML in a notebook.

The words of a line are with each class. HTML is made by the report, which lies above: whoever hands out results says
how (`show_with`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any

from onnxprune.results.units import printable
from onnxprune.results.wording import readable, shortened

LONGEST = 3  # entries that are shown of a list
_LONGEST_SHAPE = 6
_WIDEST, _LONGEST_TEXT = 60, 120

_how: list[Callable[[Shown], str | None]] = []


def show_with(html: Callable[[Shown], str | None]) -> None:
    """Show results in notebooks by the HTML that a function makes of them (None: as their line)."""
    _how[:] = [html]


class OneLine:
    """A dataclass (made with `repr=False`) whose repr is one line, however much it holds."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({readable(printable(self._words()))})"

    def _words(self) -> str:
        """Its fields, without those that say nothing; of lists how long they are."""
        assert is_dataclass(self)
        found = [(item, getattr(self, item.name)) for item in fields(self) if item.repr]
        return ", ".join(f"{item.name}={_brief(value)}" for item, value in found if not _silent(item, value))


class Shown(OneLine):
    """A result: also a notebook shows it, by what `show_with` was given."""

    def _repr_html_(self) -> str | None:
        return _how[0](self) if _how else None


def _silent(item: Field[Any], value: Any) -> bool:
    given = item.default is not MISSING and value == item.default
    return value is None or given or (isinstance(value, (tuple, Mapping)) and not value)


def _brief(value: Any) -> str:
    if isinstance(value, (tuple, Mapping)):
        sizes = all(isinstance(item, (int, type(None))) for item in value)
        plain = not isinstance(value, Mapping) and not any(map(is_dataclass, value))
        return repr(value) if plain and len(value) <= (_LONGEST_SHAPE if sizes else LONGEST) else f"<{len(value)}>"
    if isinstance(value, str):
        return repr(shortened(value, _LONGEST_TEXT))
    text = f"{value:.6g}" if isinstance(value, float) else repr(value)
    return text if len(text) <= _WIDEST else f"<{type(value).__name__}>"
