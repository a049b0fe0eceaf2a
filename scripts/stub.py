"""What type checkers and editors see of the package: onnxprune/__init__.pyi, from the declarations of options.

`make docs` writes it; a test compares.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

import onnxprune
from onnxprune.options.declare import of_function

HEAD = '"""Public names and signatures. Made by `make docs` from __init__.py, api/ and options/; do not edit."""\n'
_NAME = re.compile(r"(?<!['\"\w.-])[A-Za-z_]\w*(?!['\"\w-])")


def stub() -> str:
    """The text of the file."""
    public: dict[str, str] = vars(onnxprune)["_WHERE"]
    functions = {name: getattr(onnxprune, name) for name in public if hasattr(getattr(onnxprune, name), "options")}
    imports = {(module, name, True) for name, module in public.items() if name not in functions}
    parts = []
    for name in sorted(functions):
        parts.append(_function(name, functions[name]))
        for text, module in _annotations(functions[name]):
            known = _imported(module)
            used = [word for word in _NAME.findall(text) if word in known and word not in public]
            imports |= {(known[word], word, False) for word in used}
    names = ",\n".join(f'    "{name}"' for name in onnxprune.__all__)
    version = "__version__: str\n"
    return "\n".join([HEAD, _imports(imports), f"__all__ = [\n{names},\n]\n", version, "\n".join(parts)])


def _function(name: str, function: Any) -> str:
    lines: list[str] = []
    for one in inspect.signature(function).parameters.values():
        star = "*" if one.kind is one.VAR_POSITIONAL else ""
        if one.kind is one.KEYWORD_ONLY and not any("*" in line for line in lines):
            lines.append("    *,")
        default = "" if one.default is one.empty else f" = {_default(one.default)}"
        lines.append(f"    {star}{one.name}: {_quoted(one.annotation)}{default},")
    returned = inspect.signature(function).return_annotation
    body = textwrap.indent(inspect.getdoc(function) or "", "    ").strip()
    return "\n".join([f"def {name}(", *lines, f") -> {returned}:", f'    """{body}', '    """', ""])


def _default(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)


def _quoted(text: str) -> str:
    return text.replace("'", '"')


def _annotations(function: Any) -> Iterator[tuple[str, str]]:
    """The types of a function as they are written, with the module that imports what is in them."""
    own = inspect.signature(function.__wrapped__)
    texts = [one.annotation for one in own.parameters.values() if one.name != "options"]
    for text in (*texts, own.return_annotation):
        yield text, function.__module__
    for entry in of_function(function.options):
        yield entry.text, entry.module


def _imported(module: str) -> dict[str, str]:
    """Name -> where a module has it from, also for types alone."""
    source = inspect.getsource(sys.modules[module])
    found = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom))
    return {alias.asname or alias.name: node.module or "" for node in found for alias in node.names}


def _imports(wanted: set[tuple[str, str, bool]]) -> str:
    """Lines as ruff sorts them: the standard library first. Public names are exported."""
    modules: dict[str, set[str]] = {}
    for module, name, exported in wanted:
        modules.setdefault(module, set()).add(f"{name} as {name}" if exported else name)
    blocks: tuple[list[str], list[str]] = [], []
    for module in sorted(modules):
        names = sorted(modules[module], key=_order)
        ours = module.startswith("onnxprune")
        if ours:
            blocks[1].extend(f"from {module} import {name}" for name in names)
        else:
            blocks[0].append(f"from {module} import {', '.join(names)}")
    return "\n".join(blocks[0]) + "\n\n" + "\n".join(blocks[1]) + "\n"


def _order(name: str) -> tuple[int, str]:
    """Constants, then classes, then the rest."""
    plain = name.split(" ")[0]
    return (0 if plain.isupper() else 1 if plain[0].isupper() else 2), plain.casefold()
