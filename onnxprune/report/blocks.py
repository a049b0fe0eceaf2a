"""What a report consists of, whatever it is rendered to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True)
class Heading:
    """The first line of a report or of a part of it."""

    text: str


@dataclass(frozen=True)
class Line:
    """A paragraph."""

    text: str
    indent: int = 0


@dataclass(frozen=True)
class Column:
    """`right` for numbers. `code` for names out of a model: shown as they are."""

    title: str
    right: bool = False
    code: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of cells. `bare` leaves out the titles in text (Markdown always has them)."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    bare: bool = False
    indent: int = 2


Block: TypeAlias = Heading | Line | Table
Report: TypeAlias = tuple[Block, ...]
