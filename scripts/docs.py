"""Regenerate what documents show: the outputs in README.md and docs/operators.md. `make docs`; tests compare.

usage: python scripts/docs.py [--operators]

With --operators only docs/operators.md (`make operators`).

In README.md and docs/ci.md, pack.md, shrink.md and sweep.md a ```console block is a command after "$ " and what it
prints; a ```python block is run, and the ```text block after it is what it prints; a block that begins with
"# NAME.toml" (.py, .yml, .yaml) is that file. They run one after the other in a folder with copies of models/ and
scripts/.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
CI = ROOT / "docs" / "ci.md"
PACK = ROOT / "docs" / "pack.md"
SHRINK = ROOT / "docs" / "shrink.md"
SWEEP = ROOT / "docs" / "sweep.md"
OPERATORS = ROOT / "docs" / "operators.md"
CONSOLE = re.compile(r"```console\n\$ (?P<command>[^\n]+)\n(?P<output>.*?)```", re.S)
PYTHON = re.compile(r"```python\n(?P<command>.*?)```\n\n```text\n(?P<output>.*?)```", re.S)
FILE = re.compile(r"```\w+\n(?P<content># (?P<name>[\w./-]+\.(toml|py|ya?ml))\n.*?)```", re.S)
FAMILIES = {
    "contraction": "Contraction",
    "elementwise": "Element-wise",
    "normalization": "Normalisation",
    "movement": "Data movement",
    "reshape": "Reshaping",
    "reduction": "Reduction, pooling, resizing",
    "attention": "Attention",
    "recurrent": "Recurrent",
    "indexed": "Indexed access",
    "control": "Control flow, shapes, constants",
}


@dataclass(frozen=True)
class Example:
    """A block that runs: its command, the output it shows, and where that output is in the text."""

    command: str
    output: str
    start: int
    end: int
    python: bool


def examples(text: str) -> list[Example]:
    """All blocks that run, in order."""
    found = [
        Example(m["command"], m["output"], m.start("output"), m.end("output"), pattern is PYTHON)
        for pattern in (CONSOLE, PYTHON)
        for m in pattern.finditer(text)
    ]
    found += [Example(_writing(m["name"], m["content"]), "", m.start(), m.start(), False) for m in FILE.finditer(text)]
    return sorted(found, key=lambda e: e.start)


def _writing(name: str, content: str) -> str:
    """The command that writes a file."""
    return f"mkdir -p \"$(dirname {name})\" && cat > {name} <<'END'\n{content}END\n"


def outputs(found: list[Example], folder: Path) -> Iterator[str]:
    """Run examples one after the other in `folder`. Raises CalledProcessError."""
    for part in ("models", "scripts"):
        shutil.copytree(ROOT / part, folder / part)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environment = {**os.environ, "PATH": path, "COLUMNS": "120", "NO_COLOR": "1"}
    for example in found:
        command = [sys.executable, "-c", example.command] if example.python else ["sh", "-c", example.command]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
        yield done.stdout


def operators() -> str:
    """docs/operators.md, from the registry."""
    import onnxprune.trace.ops  # noqa: F401  (registers the rules)
    from onnxprune.trace.ops.registry import operators as registered

    families: dict[str, list[str]] = {}
    for domain, name, rule in registered():
        families.setdefault(rule.__module__.rsplit(".", 1)[-1], []).append(f"{domain}:{name}" if domain else name)
    count = sum(map(len, families.values()))
    parts = [
        "# Operators with a rule",
        "",
        f"Made by `make operators` from the registry; do not edit. {count} operators. Around any other, "
        "all stays whole.",
    ]
    order = [*FAMILIES, *sorted(set(families) - set(FAMILIES))]
    for family in (f for f in order if f in families):
        title = FAMILIES.get(family, family.capitalize())
        parts += [
            "",
            f"## {title}",
            "",
            f"Rules in `onnxprune/trace/ops/{family}.py`.",
            "",
            ", ".join(families[family]),
        ]
    return "\n".join(parts) + "\n"


def main() -> None:
    OPERATORS.write_text(operators())
    if "--operators" in sys.argv[1:]:
        return
    for page in (README, CI, PACK, SHRINK, SWEEP):
        regenerate(page)


def regenerate(page: Path) -> None:
    """Run the examples of a page, and put what they print into it."""
    text = page.read_text()
    found = examples(text)
    with tempfile.TemporaryDirectory(prefix="onnxprune-docs-") as folder:
        shown = list(outputs(found, Path(folder)))
    for example, output in reversed(list(zip(found, shown, strict=True))):
        text = text[: example.start] + output + text[example.end :]
    page.write_text(text)


if __name__ == "__main__":
    main()
