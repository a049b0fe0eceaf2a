"""Environments in out/ for tools from PyPI that only one script needs, and the cross compiler of two of them."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ZIG = "ziglang==0.17.1"


def environment(name: str, requirements: Sequence[str]) -> Path | None:
    """The Python of the environment out/NAME/tools, made where it is missing; None, said why, if that fails."""
    folder = ROOT / "out" / name / "tools"
    python, ready = folder / "bin" / "python", folder / "ready"
    if ready.exists() and ready.read_text("utf-8").split() == list(requirements):
        return python
    print(f"installing {', '.join(requirements)} into {folder.relative_to(ROOT)}", flush=True)
    venv.create(folder, with_pip=True, clear=True)
    done = install(python, *requirements)
    if done.returncode:
        print(f"the tools cannot be installed here: nothing was done\n{done.stderr.strip()}", file=sys.stderr)
        return None
    ready.write_text("\n".join(requirements), "utf-8")
    return python


def install(python: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """pip install, into the environment of this Python."""
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
    return subprocess.run([*command, *words], capture_output=True, text=True, check=False)


def zig(python: Path, target: str) -> list[str]:
    """Zig's C++ compiler for a target such as "aarch64-linux-gnu.2.28". `python`: has ziglang.

    It builds a C++ library for each target once, which takes a minute or two, and keeps it in out/zig.
    """
    os.environ.setdefault("ZIG_GLOBAL_CACHE_DIR", str(ROOT / "out" / "zig"))
    return [str(python), "-m", "ziglang", "c++", "-target", target]
