"""Builds the program in tests/native/kernels, which compares every kernel with plain loops.

For this machine (test_kernels.py) or another (scripts/arm.py): only the command of the compiler differs.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from onnxprune.native import build

CHECK = Path(__file__).resolve().parent / "kernels"
BASE = "kernels_base.cpp"

MISTAKES = {  # the kernel that shows it: file, right, wrong
    "spmm": ("spmm.inc", "at_least(v, low), high), left)", "at_least(v, low), high), LANES)"),  # beyond the row
    "depthwise": ("vector.inc", "low > v ? low : v", "v > low ? v : low"),  # a clip that stops NaN
    "transpose_in": ("transpose.inc", "FourPlaces, 2, 6, 3, 7", "FourPlaces, 2, 6, 7, 3"),  # lanes
    "every_second": ("depthwise.inc", "(; i + LANES < count;", "(; i + LANES <= count;"),  # reads one too many
    "depthwise_gradient": ("gradients.inc", "t.columns - column)", "LANES)"),  # beyond the row
    "clip_gradient": ("gradients.inc", "(y[i] < high)", "(y[i] <= high)"),
    "squared_distance": ("gradients.inc", "sum[k] += Weighted ?", "sum[k] = Weighted ?"),
    "qspmm_bytes": ("qspmm.inc", "(Integers)(v + magic)", "(Integers)(v + 0.001f + magic)"),  # ties
}
"""Mistakes that the check must find."""


def compile_check(compiler: Sequence[str], folder: Path) -> list[str]:
    """Object files of the kernels, compiled as for the library, and of the check. Raises BuildError."""
    kernels = [path for path in build.sources(compiler) if path.name.startswith(("kernels", "isa"))]
    # Less optimised: its loops are to be right, and soon compiled.
    flags = ("-O1", f"-I{build.SOURCES}", "-Wconversion")
    return [
        *build.compile_sources(compiler, kernels, folder),
        *build.compile_sources(compiler, sorted(CHECK.glob("*.cpp")), folder, flags),
    ]


def kept_check(compiler: Sequence[str], kept: Path) -> list[str]:
    """As `compile_check`, in the folder `kept`; compiled only if sources, flags or compiler are not those of the last
    time. Raises BuildError.
    """
    folder = kept / _digest(compiler)
    if not folder.is_dir():
        with tempfile.TemporaryDirectory(dir=kept) as place:
            new = Path(place, "objects")
            new.mkdir()
            compile_check(compiler, new)
            with contextlib.suppress(OSError):  # another process was first
                new.rename(folder)
        for other in kept.iterdir():  # not what another process is at
            if other != folder and len(other.name) == len(folder.name):
                shutil.rmtree(other, ignore_errors=True)
    return [str(path) for path in sorted(folder.glob("*.o"))]


def _digest(compiler: Sequence[str]) -> str:
    """Of all that object files depend on."""
    version = subprocess.run([*compiler, "--version"], capture_output=True, check=False).stdout
    found = hashlib.sha256(repr(list(compiler)).encode() + version)
    for path in (*sorted(build.SOURCES.iterdir()), *sorted(CHECK.iterdir()), Path(build.__file__), Path(__file__)):
        found.update(path.name.encode() + b"\0" + path.read_bytes())
    return found.hexdigest()[:32]


def with_mistakes(compiler: Sequence[str], objects: Sequence[str], folder: Path) -> list[str]:
    """`objects`, but with all of MISTAKES in the kernels of the least instruction set. Raises BuildError."""
    copy = folder / "wrong"
    shutil.copytree(build.SOURCES, copy)
    for name, right, wrong in MISTAKES.values():
        text = (copy / name).read_text("utf-8")
        if right not in text:
            raise ValueError(f"{name} has no {right!r}: plant another mistake in tests/native/kernel_check.py")
        (copy / name).write_text(text.replace(right, wrong), "utf-8")
    right_one = Path(BASE).with_suffix(".o").name
    return [path for path in objects if Path(path).name != right_one] + build.compile_sources(
        compiler, [copy / BASE], copy
    )
