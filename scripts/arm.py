"""The kernels of the sparse operators on ARM, without ARM: `make test-arm`, ARM_PYTHON=python for tools of your own.

Zig's C++ compiler builds the check of tests/native/kernels for aarch64 Linux; an emulator of the processor (Unicorn,
with the system calls of Qiling) runs it, and a second one with mistakes in it, which it must find. Then the whole
library is compiled and linked for systems that are not here; that is all that is done with those.

Both tools come from PyPI into an environment of their own in out/arm; a Python given as argument has them already.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from onnxprune.native import build  # noqa: E402
from tests.native.kernel_check import MISTAKES, compile_check, with_mistakes  # noqa: E402

FOLDER = ROOT / "out" / "arm"
TOOLS = ("ziglang==0.17.1", "qiling==1.4.6", "unicorn==2.1.4")
EXPORTS = f"-Wl,--version-script={build.SOURCES / 'exports.map'}"

FOUND = re.compile("DIFFERENT|STOPPED")  # by the check itself, or by the emulator at memory out of bounds

LIBRARIES = {  # target of Zig, processor, file, flags of the linker
    "Linux, ARM": ("aarch64-linux-gnu.2.17", "aarch64", "libonnxprune.so", (EXPORTS,)),
    "macOS, ARM": ("aarch64-macos", "arm64", "libonnxprune.dylib", ()),
    "Windows, x86-64": ("x86_64-windows-gnu", "AMD64", "onnxprune.dll", ()),
}

# Runs in the environment of the tools: a static program for Linux, its arguments; ends as the program does.
EMULATE = """
import sys
from qiling import Qiling
from qiling.const import QL_VERBOSE
from unicorn import UcError

def one_processor(machine, process, size, mask, *unused):  # the allocator of Zig's C library asks
    machine.mem.write(mask, (1).to_bytes(8, "little"))
    return 8

# Unicorn lets a load reach from one page into the next if that is protected, but not if it is not there: protected
# pages are taken away, and their place is not given to others.
free = 0x700000000000

def mmap(machine, address, size, *unused):
    global free
    size = machine.mem.align_up(size)
    address, free = free, free + size
    machine.mem.map(address, size)
    return address

def mprotect(machine, address, size, protection, *unused):
    if protection:
        return -38  # not implemented: no one asks for it
    machine.mem.unmap(address, size)
    return 0

machine = Qiling(sys.argv[2:], sys.argv[1], verbose=QL_VERBOSE.DISABLED)
machine.os.set_syscall("sched_getaffinity", one_processor)
machine.os.set_syscall("mmap", mmap)
machine.os.set_syscall("mprotect", mprotect)
try:
    machine.run()
except UcError as error:
    print(f"STOPPED\\n  {error}", flush=True)
    sys.exit(139)
sys.exit(machine.os.exit_code)
"""


def main(arguments: list[str]) -> int:
    python = Path(arguments[0]) if arguments else environment()
    if python is None:
        return 1
    FOLDER.mkdir(parents=True, exist_ok=True)
    # Zig builds a C++ library for each target once, which takes a minute or two.
    os.environ.setdefault("ZIG_GLOBAL_CACHE_DIR", str(FOLDER / "zig"))
    try:
        good = check_kernels(python)
    except build.BuildError as error:
        print(f"FAILED: the check does not compile for aarch64 Linux\n{error}")
        return 1
    for title in LIBRARIES:
        good &= reported(python, title)
    return 0 if good else 1


def compiler(python: Path, target: str) -> list[str]:
    return [str(python), "-m", "ziglang", "c++", "-target", target]


def check_kernels(python: Path) -> bool:
    """Compile the check for aarch64 and run it, then with mistakes. Raises BuildError."""
    command = compiler(python, "aarch64-linux-musl")
    right, wrong = FOLDER / "check", FOLDER / "check-wrong"
    print("compiling the check of the kernels for aarch64 Linux", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        objects = compile_check(command, Path(folder), "aarch64")
        build.run([*command, "-static", *objects, "-o", str(right)])
        planted = with_mistakes(command, objects, Path(folder))
        build.run([*command, "-static", *planted, "-o", str(wrong)])
    print("in the emulator:", flush=True)
    done = emulate(python, right)
    print(done.stdout, end="")
    if done.returncode:
        print(f"FAILED with {done.returncode}\n{done.stderr}")
        return False
    runs = {kernel: emulate(python, wrong, kernel) for kernel in MISTAKES}
    missed = [kernel for kernel, run in runs.items() if not run.returncode or not FOUND.search(run.stdout)]
    print(
        f"planted mistakes: {'MISSED in ' + ', '.join(missed) if missed else f'all {len(MISTAKES)} found'}", flush=True
    )
    return not missed


def emulate(python: Path, program: Path, *words: str) -> subprocess.CompletedProcess[str]:
    root = FOLDER / "root"  # what the program would see as /
    root.mkdir(exist_ok=True)
    command = [str(python), "-c", EMULATE, str(root), str(program), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def compile_library(python: Path, title: str) -> str:
    """Compile and link all sources; what was made. Raises BuildError."""
    target, machine, name, flags = LIBRARIES[title]
    command = compiler(python, target)
    output = FOLDER / target / name
    output.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        objects = build.compile_sources(command, build.sources(machine), Path(folder))
        build.run([*command, "-shared", "-s", *flags, *objects, "-o", str(output)])
    return f"compiled and linked, not run ({output.stat().st_size / 1e6:.1f} MB)"


def reported(python: Path, title: str) -> bool:
    try:
        found = compile_library(python, title)
    except build.BuildError as error:
        print(f"library for {title}: FAILED\n{error}", flush=True)
        return False
    print(f"library for {title}: {found}", flush=True)
    return True


def environment() -> Path | None:
    """The Python of an environment with the tools, made where it is missing; None, said why, if that fails."""
    folder = FOLDER / "tools"
    python, ready = folder / "bin" / "python", folder / "ready"
    if ready.exists() and ready.read_text("utf-8").split() == list(TOOLS):
        return python
    print(f"installing {', '.join(TOOLS)} into {folder.relative_to(ROOT)}", flush=True)
    venv.create(folder, with_pip=True, clear=True)
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run([*command, *TOOLS], capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"the tools cannot be installed here: nothing was checked\n{done.stderr.strip()}")
        return None
    ready.write_text("\n".join(TOOLS), "utf-8")
    return python


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
