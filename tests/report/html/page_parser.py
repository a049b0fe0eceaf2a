"""A page as a browser takes it apart: elements closed in order, identifiers, links, texts."""

from __future__ import annotations

import re
from html.parser import HTMLParser

VOID = {"meta", "br", "hr", "img", "link", "input"}
LOADING = {"src", "srcset", "data", "action", "poster", "background", "formaction"}


class Page(HTMLParser):
    """Raises AssertionError where tags do not nest. `text` of a section by its anchor."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.source = source
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.loads: list[str] = []
        self.handlers: list[str] = []
        self.sections: dict[str, str] = {}
        self._section = ""
        self.feed(source)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name == "href":
                self.links.append(value or "")
            if name in LOADING or (name == "style" and re.search(r"url\((?!#)", value or "")):
                self.loads.append(f"{name}={value}")
            if name.startswith("on"):
                self.handlers.append(name)
        if tag == "section":
            self._section = dict(attrs).get("id") or ""
            self.sections[self._section] = ""
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if self._section and "style" not in self.open:
            self.sections[self._section] += data

    def check(self) -> None:
        """Self-contained, inert, and without dangling or ambiguous references."""
        assert "script" not in self.tags and not self.handlers
        assert not {"link", "iframe", "img", "object", "embed", "base", "form"} & set(self.tags)
        assert not self.loads and "@import" not in self.source
        assert "mathdefault" not in self.source, "a number in TeX"
        assert len(self.ids) == len(set(self.ids)), "identifiers are not unique"
        assert all(link.startswith("#") and link[1:] in self.ids for link in self.links), self.links
        assert set(re.findall(r"url\(#([^)]*)\)", self.source)) <= set(self.ids)
