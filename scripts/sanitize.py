"""The tests of the sparse operators with AddressSanitizer and UndefinedBehaviorSanitizer: `make asan`.

Builds the library apart, starts itself again with the sanitizer's runtime in front of everything else, and runs the
tests once for each instruction set that this processor has.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from onnxprune import native
from onnxprune.native.build import SANITIZE, build, find_compiler, library_name

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = ROOT / "out" / "asan" / library_name()
INSTRUCTION_SETS = ("avx512-vnni", "avx512", "avx2", "base")


def main() -> int:
    if "LD_PRELOAD" in os.environ:
        return run_tests()
    build(LIBRARY, SANITIZE)
    # The C++ runtime too: the sanitizer looks for its __cxa_throw at the start.
    runtime = " ".join(compiler_file(name) for name in ("libasan.so", "libstdc++.so"))
    # Python and ONNX Runtime keep memory until the end: leaks of theirs are not the question.
    settings = {"LD_PRELOAD": runtime, "ASAN_OPTIONS": "detect_leaks=0:halt_on_error=1", "PYTHONMALLOC": "malloc"}
    for name in INSTRUCTION_SETS:
        print(f"sanitizers, {name}", flush=True)
        environment = {**os.environ, **settings, "ONNXPRUNE_ISA": name}
        if subprocess.run([sys.executable, __file__], env=environment, cwd=ROOT, check=False).returncode:
            return 1
    return 0


def compiler_file(name: str) -> str:
    command = [*find_compiler(), f"-print-file-name={name}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def run_tests() -> int:
    import pytest

    sys.path.insert(0, str(ROOT))
    native._LIBRARY = LIBRARY
    wanted, used = os.environ["ONNXPRUNE_ISA"], native.instruction_set()
    if used is None:
        print(native.problem())
        return 1
    if used != wanted:
        print(f"  left out: this processor gets {used}", flush=True)
        return 0
    return int(
        pytest.main(
            ["-q", "--capture=sys", "-p", "no:cacheprovider", "tests/sparse", "-k", "not lesser_instruction_sets"]
        )
    )


if __name__ == "__main__":
    sys.exit(main())
