"""The page around everything: styles for light and dark, navigation, sections, tables. All text is escaped here."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

from onnxprune.report.blocks import Heading, Line, Report, Table
from onnxprune.report.html.style import STYLE
from onnxprune.results.units import printable


def escaped(text: str) -> str:
    """Text out of anywhere, such that nothing in it can act."""
    return html.escape(printable(text))


@dataclass(frozen=True)
class Section:
    """A part of the page, `anchor` its identifier; `body` is HTML."""

    anchor: str
    title: str
    body: str


def page(title: str, lead: str, sections: Sequence[Section | None]) -> str:
    """The whole document. Sections that are None have no data, and are not there."""
    there = [section for section in sections if section is not None]
    links = "".join(f'<a href="#{section.anchor}">{escaped(section.title)}</a>' for section in there)
    bodies = "".join(
        f'<section id="{section.anchor}"><h2>{escaped(section.title)}</h2>{section.body}</section>\n'
        for section in there
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escaped(title)}</title><style>{STYLE}</style></head>\n<body>"
        f"<header><h1>{escaped(title)}</h1>{lead}<nav>{links}</nav></header>\n<main>{bodies}</main></body></html>\n"
    )


def paragraph(text: str, kind: str = "") -> str:
    """Text as a paragraph, perhaps of a class: "note" or "lead"."""
    return f"<p{_class(kind)}>{escaped(text)}</p>"


def listed(texts: Sequence[str]) -> str:
    """Several remarks."""
    return "<ul>" + "".join(f"<li>{escaped(text)}</li>" for text in texts) + "</ul>" if texts else ""


def folded(summary: str, body: str) -> str:
    """What few readers need: open it to see it."""
    return f"<details><summary>{escaped(summary)}</summary>{body}</details>"


def figure(svg: str, caption: str) -> str:
    """A plot; the caption says units and uncertainty."""
    return f"<figure>{svg}<figcaption>{escaped(caption)}</figcaption></figure>"


def figures(*found: str) -> str:
    """Plots beside each other, where there is room."""
    return f'<div class="figures">{"".join(found)}</div>'


def legend(entries: Sequence[tuple[str, str]]) -> str:
    """(CSS variable, meaning) of each colour."""
    return (
        '<p class="legend">'
        + "".join(f'<span><i style="background:var(--{ink})"></i>{escaped(text)}</span>' for ink, text in entries)
        + "</p>"
    )


def table(found: Table) -> str:
    """A table that scrolls sideways on its own where it is too wide."""
    head = "".join(f"<th{_class('right' if c.right else '')}>{escaped(c.title)}</th>" for c in found.columns)
    rows = "".join(
        "<tr>"
        + "".join(
            f"<td{_class('right' if column.right else 'name' if column.code else '')}>{escaped(cell)}</td>"
            for cell, column in zip(row, found.columns, strict=True)
        )
        + "</tr>"
        for row in found.rows
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def blocks(report: Report) -> str:
    """A report as the commands print it."""
    parts = []
    for block in report:
        if isinstance(block, Table):
            parts.append(table(block))
        elif isinstance(block, Heading):
            parts.append(f"<h3>{escaped(block.text)}</h3>")
        else:
            assert isinstance(block, Line)
            parts.append(paragraph(block.text))
    return "".join(parts)


def _class(name: str) -> str:
    return f' class="{name}"' if name else ""
