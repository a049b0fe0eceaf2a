"""Names of execution providers, what is carried of them, and the versions of the distributions that have them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from onnxprune.errors import UsageError
from onnxprune.results.providers import CPU, CUDA, DISTRIBUTIONS, Provider, count, counted, name_of, provider
from onnxprune.results.system import version


def test_threads_alone_are_those_of_the_cpu() -> None:
    there = Provider(CUDA, 2)
    assert (count(3), name_of(3), counted(3, 1)) == (3, CPU, 1)
    assert (count(there), name_of(there), counted(there, 1)) == (2, CUDA, Provider(CUDA, 1))


def test_one_that_is_missing_is_said_with_its_package() -> None:
    for short, package in DISTRIBUTIONS.items():
        with pytest.raises(
            UsageError, match=f"{short!r} is not installed: this ONNX Runtime was built without it"
        ) as e:
            provider(short, [CPU])
        assert f"pip install {package}. Installed: cpu." in str(e.value)
    assert provider("cuda", [CUDA, CPU]) == provider(CUDA, [CUDA, CPU]) == CUDA


@pytest.mark.parametrize("name", ["onnxruntime", *sorted(set(DISTRIBUTIONS.values()))])
def test_the_version_is_that_of_the_distribution_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert version("onnxruntime") is None
    info = tmp_path / f"{name.replace('-', '_')}-9.8.7.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 9.8.7\n")
    assert version("onnxruntime") == "9.8.7"
    assert version("onnx") is None
