"""Regenerate what documents show: outputs in README.md and docs/, and pages made from the program. `make docs`.

usage: python scripts/docs.py [--operators] [--commands] [--schema] [--stub] [PAGE ...]

With --operators only docs/operators.md (`make operators`), with --commands only docs/commands.md (`make commands`),
with --schema and --stub only what is made of the declarations of options (`make options`): the schema of a
configuration, docs/onnxprune.schema.json, and what type checkers read, onnxprune/__init__.pyi; with pages only those.
Tests compare.

In README.md and the pages of PAGES a ```console block is a command after "$ " and what it
prints; a ```python block is run, and the ```text block after it is what it prints; a block that begins with
"# NAME.toml" (.py, .yml, .yaml) is that file. They run one after the other in a folder with copies of models/ and
scripts/ and examples/.
"""

from __future__ import annotations

import json
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
DOCS = ROOT / "docs"
BENCH, CI, PACK, SHRINK, SPARSE, SWEEP = (
    DOCS / f"{name}.md" for name in ("bench", "ci", "pack", "shrink", "sparse", "sweep")
)
TUTORIALS = tuple(DOCS / "tutorials" / f"{name}.md" for name in ("classifier", "detector", "text", "speech", "data"))
PAGES = (README, BENCH, CI, PACK, SHRINK, SPARSE, SWEEP, *TUTORIALS)
OPERATORS = DOCS / "operators.md"
COMMANDS = DOCS / "commands.md"
SCHEMA = DOCS / "onnxprune.schema.json"
STUB = ROOT / "onnxprune" / "__init__.pyi"
CONSOLE = re.compile(r"```console\n\$ (?P<command>[^\n]+)\n(?P<output>.*?)```", re.S)
PYTHON = re.compile(r"```python\n(?P<command>(?:(?!```).)*)```\n\n```text\n(?P<output>.*?)```", re.S)
FILE = re.compile(r"```\w+\n(?P<content># (?P<name>[\w./-]+\.(toml|py|ya?ml))\n.*?)```", re.S)
FAMILIES = {
    "contraction": "Contraction",
    "elementwise": "Element-wise",
    "normalization": "Normalisation",
    "movement": "Data movement",
    "repetition": "Repetition",
    "reshape": "Reshaping",
    "reduction": "Reduction, pooling, resizing",
    "attention": "Attention",
    "recurrent": "Recurrent",
    "integers": "Integers",
    "packed": "Packed weights",
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
    for part in ("examples", "models", "scripts"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
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


def commands() -> str:
    """docs/commands.md: what --help says, of the program and of every command."""
    from click import Context
    from click.testing import CliRunner

    from onnxprune.cli.main import application

    parts = [
        "# Commands",
        "",
        "Made by `make commands` from what `--help` prints; do not edit. What the options mean at length: the pages of",
        "the single commands, listed in [README](../README.md#commands).",
        "",
        "## onnxprune",
    ]
    for name in ("", *application.list_commands(Context(application))):
        arguments = [name, "--help"] if name else ["--help"]
        done = CliRunner(env={"COLUMNS": "80"}).invoke(application, arguments, prog_name="onnxprune")
        if done.exit_code:
            raise RuntimeError(f"--help of {name or 'onnxprune'} failed: {done.output}")
        parts += [*(["", f"## {name}"] if name else []), "", "```text", done.output.rstrip(), "```"]
    return "\n".join(parts) + "\n"


def schema() -> str:
    """docs/onnxprune.schema.json, from the declarations of options."""
    from onnxprune.options.schema import schema as made

    return json.dumps(made(), indent=2) + "\n"


def main() -> None:
    from stub import stub

    made = {
        "--operators": (OPERATORS, operators),
        "--commands": (COMMANDS, commands),
        "--schema": (SCHEMA, schema),
        "--stub": (STUB, stub),
    }
    asked = sys.argv[1:]
    for page, make in (made[option] for option in made if option in asked or not asked):
        page.write_text(make(), encoding="utf-8")
    for page in [Path(name) for name in asked if name not in made] or ([] if asked else PAGES):
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
