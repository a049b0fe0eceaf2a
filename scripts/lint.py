"""`make lint`: ruff and mypy, one after the other; what fails is shown. Exit code 1 if anything does."""

from __future__ import annotations

import subprocess
import sys

STEPS = (
    ["-m", "ruff", "check", "."],
    ["-m", "ruff", "format", "--check", "."],
    ["-m", "mypy"],
    ["-m", "mypy", "--strict", "scripts", "benchmarks"],
)


def main() -> int:
    failed = False
    for step in STEPS:
        done = subprocess.run([sys.executable, *step], capture_output=True, text=True, check=False)
        if done.returncode:
            failed = True
            print(f"{' '.join(step[1:])} failed:\n{done.stdout}{done.stderr}", flush=True)
    print(f"lint {'failed' if failed else 'passed'}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
