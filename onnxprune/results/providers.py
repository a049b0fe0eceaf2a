"""Execution providers of ONNX Runtime: their names, which are installed, and what is carried to where sessions open."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from onnxprune.errors import UsageError, did_you_mean

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
REMOTE = "AzureExecutionProvider"
DISTRIBUTIONS = {
    "cuda": "onnxruntime-gpu",
    "tensorrt": "onnxruntime-gpu",
    "dml": "onnxruntime-directml",
    "openvino": "onnxruntime-openvino",
}
"""Provider -> the distribution with it, which takes the place of onnxruntime."""
_SUFFIX = re.compile("ExecutionProvider$")


@dataclass(frozen=True)
class Provider:
    """Another execution provider than the CPU, by its full name. `threads`: of what stays on the CPU."""

    name: str
    threads: int = 0


Threads = int | Provider
"""What computes: so many threads of the CPU, 0 for as many as the runtime takes; or another provider."""


def count(threads: Threads) -> int:
    """How many, on the CPU."""
    return threads if isinstance(threads, int) else threads.threads


def counted(threads: Threads, number: int) -> Threads:
    """So many, on what it was."""
    return number if isinstance(threads, int) else replace(threads, threads=number)


def name_of(threads: Threads) -> str:
    """The full name of the provider."""
    return CPU if isinstance(threads, int) else threads.name


def short_provider(name: str) -> str:
    """`CPUExecutionProvider` is `cpu`."""
    return _SUFFIX.sub("", name).lower()


def installed() -> tuple[str, ...]:
    """Full names of those that the installed ONNX Runtime has; none if it cannot be imported."""
    try:
        import onnxruntime
    except Exception:  # a broken installation is exactly what a bug report is about
        return ()
    return tuple(onnxruntime.get_available_providers())


def providers(asked: Sequence[str], installed: Sequence[str]) -> tuple[str, ...]:
    """Full names of execution providers: `cpu` and `CPUExecutionProvider` are the same; `all` is what is installed.

    The remote one is never used: it would send the inputs over the network.
    """
    found: list[str] = []
    for item in asked or ("cpu",):
        whole = short_provider(item) == "all"
        found += [one for one in installed if one != REMOTE] if whole else [provider(item, installed)]
    return tuple(dict.fromkeys(found))


def provider(asked: str, installed: Sequence[str]) -> str:
    """The full name of one. Raises UsageError for one that is not installed, and for the remote one."""
    known = {short_provider(name): name for name in installed if name != REMOTE}
    key = short_provider(asked)
    if key == short_provider(REMOTE):
        raise UsageError(f"--provider {asked!r}: it sends the inputs to a remote service, which onnxprune never does")
    if key in known:
        return known[key]
    here = f"Installed: {', '.join(known)}"
    package = DISTRIBUTIONS.get(key)
    if package is None:
        raise UsageError(f"--provider {asked!r} is not installed.", hint=f"{did_you_mean(key, known)}{here}.")
    raise UsageError(
        f"--provider {asked!r} is not installed: this ONNX Runtime was built without it.",
        hint=f"It comes with the package {package}, which takes the place of onnxruntime: pip uninstall onnxruntime, "
        f"then pip install {package}. {here}.",
    )
