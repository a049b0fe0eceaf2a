"""Every kernel against plain loops, for each instruction set of this machine; ARM: `make test-arm`."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from onnxprune.native import build
from tests.native.kernel_check import MISTAKES, kept_check, with_mistakes

KERNELS = (
    *("spmm", "spmv", "depthwise", "transpose_in", "transpose_out", "copy_rows", "every_second", "interleave"),
    *("qspmm_bytes", "qspmm_floats"),
    *("depthwise_gradient", "clip_gradient", "sigmoid_gradient", "squared_distance", "scaled_difference"),
)


@pytest.fixture(scope="module")
def compiler() -> list[str]:
    try:
        return build.find_compiler()
    except build.BuildError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def objects(compiler: list[str], pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Kept from run to run: to compile them takes longer than all tests of this room."""
    cache = pytestconfig.cache
    return kept_check(compiler, tmp_path_factory.mktemp("kernels") if cache is None else cache.mkdir("kernels"))


@pytest.fixture(scope="module")
def program(compiler: list[str], objects: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("program") / "check"
    build.run([*compiler, *objects, "-o", str(target)])
    return target


def run(program: Path, instruction_set: str, *kernels: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "ONNXPRUNE_ISA": instruction_set}
    return subprocess.run([str(program), *kernels], env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("wanted", ["base", "avx2", "avx512", "avx512-vnni"])
def test_every_kernel_computes_what_plain_loops_do(program: Path, wanted: str) -> None:
    done = run(program, wanted)
    used, *lines = done.stdout.splitlines()
    if used.split(",")[0] != wanted and wanted != "base":  # which has another name on ARM
        pytest.skip(f"this processor has no {wanted}")
    assert done.returncode == 0, done.stdout
    counts = {name: int(count) for name, count, _ in map(str.split, lines)}
    assert tuple(counts) == KERNELS and min(counts.values()) >= 80


def test_it_finds_wrong_lanes_rounding_and_bounds(compiler: list[str], objects: list[str], tmp_path: Path) -> None:
    wrong = tmp_path / "check"
    build.run([*compiler, *with_mistakes(compiler, objects, tmp_path), "-o", str(wrong)])
    for kernel in MISTAKES:
        done = run(wrong, "base", kernel)
        assert done.returncode != 0, f"{kernel}: {done.stdout}"
    done = run(wrong, "base", "copy_rows", "interleave")  # they have none
    assert done.returncode == 0 and done.stdout.count("cases") == 2
    assert run(wrong, "base", "nothing").returncode == 2
