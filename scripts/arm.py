"""The kernels of the sparse operators on ARM, without ARM: `make test-arm`, ARM_PYTHON=python for tools of your own.

Zig's C++ compiler builds the check of tests/native/kernels for aarch64 Linux; an emulator of the processor (Unicorn,
with the system calls of Qiling) runs it, and a second one with mistakes in it, which it must find. Then the whole
library is compiled and linked for systems that are not here; that is all that is done with those.

Both tools come from PyPI into an environment of their own in out/arm; a Python given as argument has them already.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import tools

sys.path.insert(0, str(tools.ROOT))

from onnxprune.native import build
from tests.native.kernel_check import MISTAKES, compile_check, with_mistakes

FOLDER = tools.ROOT / "out" / "arm"
TOOLS = (tools.ZIG, "qiling==1.4.6", "unicorn==2.1.4")
EXPORTS = f"-Wl,--version-script={build.SOURCES / 'exports.map'}"

FOUND = re.compile("DIFFERENT|STOPPED")  # by the check itself, or by the emulator at memory out of bounds

LIBRARIES = {  # target of Zig, file, flags of the linker
    "Linux, ARM": ("aarch64-linux-gnu.2.17", "libonnxprune.so", (EXPORTS,)),
    "macOS, ARM": ("aarch64-macos", "libonnxprune.dylib", ()),
    "Windows, x86-64": ("x86_64-windows-gnu", "onnxprune.dll", ()),
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
    python = Path(arguments[0]) if arguments else tools.environment("arm", TOOLS)
    if python is None:
        return 1
    FOLDER.mkdir(parents=True, exist_ok=True)
    try:
        good = check_kernels(python)
    except build.BuildError as error:
        print(f"FAILED: the check does not compile for aarch64 Linux\n{error}")
        return 1
    for title in LIBRARIES:
        good &= reported(python, title)
    return 0 if good else 1


def check_kernels(python: Path) -> bool:
    """Compile the check for aarch64 and run it, then with mistakes. Raises BuildError."""
    command = tools.zig(python, "aarch64-linux-musl")
    right, wrong = FOLDER / "check", FOLDER / "check-wrong"
    print("compiling the check of the kernels for aarch64 Linux", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        objects = compile_check(command, Path(folder))
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
    target, name, flags = LIBRARIES[title]
    command = tools.zig(python, target)
    output = FOLDER / target / name
    output.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        objects = build.compile_sources(command, build.sources(command), Path(folder))
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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
