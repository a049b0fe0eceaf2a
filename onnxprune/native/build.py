"""Compiles the shared library. Used by setup.py, before anything is installed: the standard library only."""

from __future__ import annotations

import contextlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SOURCES = Path(__file__).resolve().parent / "src"
FLAGS = (
    "-std=c++17",
    "-O3",
    "-fPIC",
    "-fvisibility=hidden",
    "-fvisibility-inlines-hidden",
    "-ffp-contract=fast",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-Wall",
    "-Wextra",
    "-Wno-psabi",  # vectors wider than the baseline never cross a call
)
_AVX512 = ("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma", "-mprefer-vector-width=512")
INSTRUCTION_SETS = {
    "kernels_avx2.cpp": ("-mavx2", "-mfma"),
    "kernels_avx512.cpp": _AVX512,
    "kernels_avx512vnni.cpp": (*_AVX512, "-mavx512vnni"),
}
"""Files for one instruction set of x86, which only run where the processor has it, and their flags."""

SANITIZE = ("-O1", "-g", "-fno-omit-frame-pointer", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined")


NO_COMPILER = "no C++ compiler"
LOG = "build.log"
"""What a build that failed leaves where the library would be."""


class BuildError(Exception):
    """There is no compiler, or it failed; the message says which and what it said."""


def library_name() -> str:
    """File name of the shared library on this system."""
    return {"win32": "onnxprune.dll", "darwin": "libonnxprune.dylib"}.get(sys.platform, "libonnxprune.so")


def build_or_log(target: Path, extra: Sequence[str] = ()) -> None:
    """`build`; if it fails, the reason is left in a file beside `target`, for `onnxprune env`. Raises BuildError."""
    log = target.with_name(LOG)
    try:
        build(target, extra)
    except BuildError as error:
        with contextlib.suppress(OSError):
            target.unlink(missing_ok=True)  # of another version
            log.parent.mkdir(parents=True, exist_ok=True)
            log.write_text(f"{error}\n", "utf-8")
        raise
    with contextlib.suppress(OSError):
        log.unlink(missing_ok=True)


def find_compiler() -> list[str]:
    """The words of $CXX, or the first C++ compiler of the usual names. GCC, Clang and Zig are understood.

    CXX may be a command with words of its own: "ccache g++", "zig c++ -target aarch64-linux-gnu.2.28". Raises
    BuildError.
    """
    asked = os.environ.get("CXX", "")
    whole = shutil.which(asked)
    if whole:  # also a path with spaces
        return [whole]
    wanted = shlex.split(asked, posix=os.name != "nt")
    names = wanted[:1] or ["c++", "g++", "clang++"]
    for name in names:
        found = shutil.which(name)
        if found:
            return [found, *wanted[1:]]
    raise BuildError(f"{NO_COMPILER}: {', '.join(names)} not found (install g++ or clang++, or set CXX to one)")


def sources(compiler: Sequence[str]) -> list[Path]:
    """The files to compile with this command; those of INSTRUCTION_SETS only if it compiles for x86-64."""
    x86 = _compiles_for_x86(compiler)
    return [path for path in sorted(SOURCES.glob("*.cpp")) if x86 or path.name not in INSTRUCTION_SETS]


def _compiles_for_x86(compiler: Sequence[str]) -> bool:
    """Asked of the compiler: the target of a cross compiler is not the machine that it runs on."""
    command = [*compiler, "-dM", "-E", "-x", "c++", os.devnull]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or "__cplusplus" not in done.stdout:  # it does not understand the question
        return platform.machine().lower() in ("x86_64", "amd64")
    return "__x86_64__" in done.stdout


def build(target: Path, extra: Sequence[str] = ()) -> None:
    """Compile all sources into the shared library `target`, replacing it at once. Raises BuildError.

    `extra` goes to compiler and linker, after all other flags: `SANITIZE` for instance.
    """
    compiler = find_compiler()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        objects = compile_sources(compiler, sources(compiler), Path(folder), extra)
        linked = target.with_name(f"{target.name}.new")
        run([*compiler, "-shared", "-o", str(linked), *objects, *_link_flags(bool(extra)), *extra])
        os.replace(linked, target)


def compile_sources(
    compiler: Sequence[str], paths: Sequence[Path], folder: Path, extra: Sequence[str] = ()
) -> list[str]:
    """Compile `paths` side by side; their object files in `folder`. Raises BuildError.

    `compiler` is a command: a cross compiler has words of its own.
    """

    def compile_one(path: Path) -> str:
        output = str(folder / f"{path.stem}.o")
        flags = (*FLAGS, *INSTRUCTION_SETS.get(path.name, ()), *extra)
        run([*compiler, *flags, "-c", str(path), "-o", output])
        return output

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(compile_one, paths))


def _link_flags(debug: bool) -> list[str]:
    """The library brings its own C++ runtime and shows none of it, so that it fits any process."""
    if not sys.platform.startswith("linux") or debug:
        return []
    return ["-static-libstdc++", "-static-libgcc", f"-Wl,--version-script={SOURCES / 'exports.map'}", "-Wl,-s"]


def run(command: list[str]) -> None:
    """Run a compiler or linker; its warnings go to stderr. Raises BuildError with its words."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(f"{' '.join(command)}\n{done.stderr.strip()}")
    if done.stderr.strip():  # warnings
        sys.stderr.write(done.stderr)


def main(arguments: Sequence[str]) -> int:
    """python -m onnxprune.native [--sanitize] [TARGET]: build in place, or to TARGET."""
    paths = [Path(word) for word in arguments if not word.startswith("-")]
    target = paths[0] if paths else Path(__file__).resolve().parent / library_name()
    try:
        build_or_log(target, SANITIZE if "--sanitize" in arguments else ())
    except BuildError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
