"""What MkDocs does to pages that GitHub shows as they are: links out of docs/, and the places of the API reference.

A link to a file of the repository outside of docs/ leads to that file on GitHub. A comment `<!-- api: NAME -->` becomes
the directive of mkdocstrings; on GitHub it is invisible. `<!-- api: * -->` stands for all public names of the package
that have no place of their own on the page, and are no errors (those are one module).
"""

from __future__ import annotations

import ast
import os
import re
from pathlib import Path, PurePosixPath
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"(\]\()(\.\./[^)#\s]+)([^)]*\))")
PACKAGE = "onnxprune"
PLACE = re.compile(r"^<!-- api: ([\w.]+|\*) -->$", re.M)


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Any) -> str:
    """Called by MkDocs with the text of every page."""
    return outward(referenced(markdown), page.file.src_uri, f"{config.repo_url.rstrip('/')}/blob/main/")


def referenced(markdown: str) -> str:
    """The page with directives of mkdocstrings in place of comments."""
    rest = [name for name in public() if f"{PACKAGE}.{name}" not in PLACE.findall(markdown)]
    others = "\n\n".join(f"::: {PACKAGE}.{name}" for name in rest)
    return PLACE.sub(lambda found: others if found[1] == "*" else f"::: {found[1]}", markdown)


def public() -> list[str]:
    """Names in `__all__` of the package, but for its version and errors. Nothing is imported."""
    package = ROOT / PACKAGE
    tree = ast.parse((package / "__init__.py").read_text(encoding="utf-8"))
    (names,) = (
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets)
    )
    errors = ast.parse((package / "errors.py").read_text(encoding="utf-8"))
    left = {"__version__", *(node.name for node in errors.body if isinstance(node, ast.ClassDef))}
    return [name for name in names if name not in left]


def outward(markdown: str, source: str, repository: str) -> str:
    """Links of the page `source` (its path in docs/) that lead out of docs/, as links into `repository`.

    Raises ValueError for files that are not there.
    """

    def changed(found: re.Match[str]) -> str:
        path = os.path.normpath(PurePosixPath("docs") / PurePosixPath(source).parent / found[2])
        if PurePosixPath(path).parts[0] == "docs":
            return found[0]
        if not (ROOT / path).exists():
            raise ValueError(f"docs/{source} links to {found[2]}, which is not there")
        return f"{found[1]}{repository}{PurePosixPath(path)}{found[3]}"

    return LINK.sub(changed, markdown)
