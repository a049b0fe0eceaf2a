"""Blocks to text: plain (piped), coloured and fitted to the width (terminal), and Markdown.

Names come out of model files, so nothing in them may act: control characters become escapes, markup is inert. Long ones
are shortened in all of these; JSON has them whole.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from onnxprune.report.blocks import Heading, Line, Report, Table
from onnxprune.results.units import printable
from onnxprune.results.wording import readable

if TYPE_CHECKING:
    from rich.console import RenderableType

_GAP = "  "
WIDEST = 100  # of the cells that set the width of a column
_MARKDOWN = re.compile(r"([\\`*_\[\]<>|~#])")


def plain(report: Report) -> str:
    """Text without colours in which nothing but long names is cut, however long."""
    lines: list[str] = []
    for block in report:
        if isinstance(block, Table):
            lines.extend(_plain_table(block))
        elif isinstance(block, Line):
            lines.append(" " * block.indent + _shown(block.text))
        else:
            lines.append(_shown(block.text))
    return "".join(f"{line}\n" for line in lines)


def _shown(text: str) -> str:
    return readable(printable(text))


def _plain_table(table: Table) -> list[str]:
    rows = [tuple(_shown(cell) for cell in row) for row in table.rows]
    if not table.bare:
        rows.insert(0, tuple(column.title for column in table.columns))
    widths = [_width(rows, k) for k in range(len(table.columns))]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if column.right else cell.ljust(width)
            for cell, width, column in zip(row, widths, table.columns, strict=True)
        ]
        lines.append((" " * table.indent + _GAP.join(cells)).rstrip())
    return lines


def _width(rows: Sequence[tuple[str, ...]], k: int) -> int:
    """Of column k. Sentences push no other cell away: a long cell does not count, nor one with none behind it."""
    last = all(len(row) == k + 1 for row in rows)
    return max((len(row[k]) for row in rows if last or (any(row[k + 1 :]) and len(row[k]) <= WIDEST)), default=0)


def terminal(report: Report, width: int) -> str:
    """Text for a terminal of `width` columns: colours (unless NO_COLOR), long cells folded, never cut off."""
    from rich.console import Console
    from rich.padding import Padding

    target = io.StringIO()
    console = Console(file=target, force_terminal=True, width=width, legacy_windows=False, highlight=False)
    for block in report:
        if isinstance(block, Table):
            shown: RenderableType = Padding(_rich_table(block), (0, 0, 0, block.indent))
        else:
            shown = Padding(_rich_line(block), (0, 0, 0, block.indent if isinstance(block, Line) else 0))
        console.print(shown)
    return re.sub(r"[ ]+(?=\n)", "", target.getvalue())


def _rich_line(block: Heading | Line) -> RenderableType:
    from rich.text import Text

    return Text(_shown(block.text), style="bold" if isinstance(block, Heading) else "")


def _rich_table(table: Table) -> RenderableType:
    from rich.table import Table as RichTable
    from rich.text import Text

    result = RichTable(box=None, show_header=not table.bare, header_style="dim", padding=(0, 2, 0, 0))
    for column in table.columns:
        result.add_column(
            column.title,
            justify="right" if column.right else "left",
            no_wrap=column.right,
            overflow="fold",
        )
    for row in table.rows:
        result.add_row(*(Text(_shown(cell)) for cell in row))
    return result


def markdown(report: Report) -> str:
    """GitHub-flavoured Markdown."""
    parts: list[str] = []
    for block in report:
        if isinstance(block, Heading):
            parts.append(f"## {_escaped(block.text)}")
        elif isinstance(block, Line):
            parts.append(_escaped(block.text))
        elif block.rows:
            parts.append(_markdown_table(block))
    return "\n\n".join(parts) + "\n"


def _markdown_table(table: Table) -> str:
    titles = " | ".join(_escaped(column.title) or " " for column in table.columns)
    rules = " | ".join("---:" if column.right else "---" for column in table.columns)
    lines = [f"| {titles} |", f"| {rules} |"]
    for row in table.rows:
        cells = [
            _code(cell) if column.code and cell else _escaped(cell)
            for cell, column in zip(row, table.columns, strict=True)
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _escaped(text: str) -> str:
    return _MARKDOWN.sub(r"\\\1", _shown(text))


def _code(text: str) -> str:
    """A code span; a name with a backtick in it cannot be one, and is escaped."""
    shown = _shown(text)
    return _escaped(text) if "`" in shown or shown != shown.strip() else "`" + shown.replace("|", "\\|") + "`"
