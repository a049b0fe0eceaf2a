"""The source archive and the wheels that a package index takes, in dist/, each tried: `make wheels`.

The wheels are built from the source archive. Zig's C++ compiler links the library against glibc 2.28, whatever this
machine has; auditwheel says whether that is so. twine looks at the metadata. Then the wheel of this machine and the
source archive's own tests are tried in fresh environments, away from this checkout.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

import tools

DIST = tools.ROOT / "dist"
TOOLS = ("build==1.6.1", "twine==7.0.0", "auditwheel==6.8.2", tools.ZIG)
GLIBC = (2, 28)
MACHINES = ("x86_64", "aarch64")
LIBRARY = "onnxprune/native/libonnxprune.so"
TESTS = ("tests/test_packaging.py", "tests/native", "tests/cli/test_cli_commands.py")
"""What is run inside the source archive: that it has the tests, and all that they need."""


class WheelError(Exception):
    """A step failed; the message says which, and what it printed."""


def main() -> int:
    python = tools.environment("wheels", TOOLS)
    if python is None:
        return 1
    shutil.rmtree(DIST, ignore_errors=True)
    try:
        with tempfile.TemporaryDirectory() as folder:
            source = unpacked(build_source(python), Path(folder))
            wheels = {machine: build_wheel(python, source, machine) for machine in MACHINES}
            run("twine", [python, "-m", "twine", "check", "--strict", *sorted(DIST.iterdir())])
            print("twine: the metadata is as an index wants it", flush=True)
            if platform.machine() in wheels:
                try_wheel(wheels[platform.machine()], source, Path(folder))
    except WheelError as error:
        print(f"FAILED: {error}", file=sys.stderr)
        return 1
    return 0


def run(title: str, command: list[str | Path], folder: Path = tools.ROOT, **variables: str) -> str:
    """What the command prints to stdout. Raises WheelError."""
    environment = {**os.environ, **variables}
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise WheelError(f"{title}: {shlex.join(words)}\n{done.stdout}{done.stderr}")
    return done.stdout


def build_source(python: Path) -> Path:
    run("source archive", [python, "-m", "build", "--sdist", "--outdir", DIST, tools.ROOT])
    (path,) = DIST.glob("*.tar.gz")
    print(f"{path.name}  {path.stat().st_size / 1e6:.1f} MB", flush=True)
    return path


def unpacked(archive: Path, folder: Path) -> Path:
    with tarfile.open(archive) as file:
        file.extractall(folder, filter="data")
    return folder / archive.name.removesuffix(".tar.gz")


def build_wheel(python: Path, source: Path, machine: str) -> Path:
    """The wheel for a processor, from the unpacked source archive. Raises WheelError."""
    major, minor = GLIBC
    tag = f"manylinux_{major}_{minor}_{machine}"
    run(
        f"wheel for {machine}",
        [python, "-m", "build", "--wheel", "--outdir", DIST, f"-C--build-option=--plat-name={tag}", source],
        CXX=shlex.join(tools.zig(python, f"{machine}-linux-gnu.{major}.{minor}")),
    )
    (path,) = DIST.glob(f"*-py3-none-{tag}.whl")
    if LIBRARY not in zipfile.ZipFile(path).namelist():
        raise WheelError(f"{path.name} has no {LIBRARY}: the compiler failed")
    found = json.loads(run("auditwheel", [python, "-m", "auditwheel", "show", "--json", path]))
    needed = glibc(found["overall_tag"])
    if needed is None or needed > GLIBC or found["external_libs"]:
        raise WheelError(f"{path.name}: auditwheel allows only {found['overall_tag']}, needs {found['external_libs']}")
    said = ".".join(map(str, needed))
    print(f"{path.name}  {path.stat().st_size / 1e6:.1f} MB  runs from glibc {said} on", flush=True)
    return path


def glibc(tag: str) -> tuple[int, int] | None:
    """(2, 28) of manylinux_2_28_x86_64; None of a tag that promises none."""
    found = re.match(r"manylinux_(\d+)_(\d+)_", tag)
    return (int(found[1]), int(found[2])) if found else None


def try_wheel(wheel: Path, source: Path, folder: Path) -> None:
    """Install the wheel, use it; then the source archive in its place, and run tests of it. Raises WheelError."""
    print(f"trying {wheel.name} in a fresh environment", flush=True)
    venv.create(folder / "tried", with_pip=True)
    python = folder / "tried" / "bin" / "python"
    done = tools.install(python, f"{wheel}[test]")
    if done.returncode:
        raise WheelError(f"{wheel.name} does not install\n{done.stderr}")
    work = folder / "elsewhere"
    shutil.copytree(source / "models", work)
    program = python.with_name("onnxprune")
    said = run("onnxprune env", [program, "env"], work)
    print(said, end="")
    run("shrink", [program, "shrink", "digits.onnx", "--ratio", "0.2", "-o", "small.onnx"], work)
    run("sparsify", [program, "sparsify", "digits.onnx", "--sparsity", "0.8", "-o", "sparse.onnx"], work)
    for result in ("small.onnx", "sparse.onnx"):
        run("verify", [program, "verify", "digits.onnx", result], work)
    print("env, shrink, sparsify, verify: as they should", flush=True)
    done = tools.install(python, "--editable", f"{source}[test]")
    if done.returncode:
        raise WheelError(f"{source.name}.tar.gz does not install\n{done.stderr}")
    run("tests of the source archive", [python, "-m", "pytest", "-q", "-x", *TESTS], source)
    print(f"tests of the source archive ({', '.join(TESTS)}): passed", flush=True)


if __name__ == "__main__":
    sys.exit(main())
