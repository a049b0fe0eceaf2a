"""Versions and hardware, for bug reports. Reads a few files of the system; no network."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from onnxprune import __version__, native
from onnxprune.results.providers import DISTRIBUTIONS, installed
from onnxprune.results.shown import Shown

PACKAGES = (
    "numpy",
    "onnx",
    "onnxruntime",
    "onnx-graphsurgeon",
    "scipy",
    "protobuf",
    "ml_dtypes",
    "pillow",
    "threadpoolctl",
    "click",
    "rich",
)
_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


@dataclass(frozen=True, repr=False)
class Environment(Shown):
    """Versions and hardware, for bug reports.

    Attributes:
        onnxprune: Version.
        python: Implementation and version.
        platform: Operating system.
        cpu: What the processor calls itself.
        cores: That this process may use.
        memory_bytes: Physical memory, or the limit of the container; None if the system does not say.
        packages: Name -> version; None for one that is not installed.
        providers: Of ONNX Runtime; empty if it cannot be imported.
        sparse_operators: The instruction set that they use; None if they are not there.
        sparse_problem: Why they are not there, and how to get them; None if they are.
        sparse_library: Their library, for sessions in other languages; None if it was not built.
        sparse_log: Of a build that failed; None of one that did not.
    """

    onnxprune: str
    python: str
    platform: str
    cpu: str
    cores: int
    memory_bytes: int | None
    packages: dict[str, str | None]
    providers: tuple[str, ...]
    sparse_operators: str | None
    sparse_problem: str | None
    sparse_library: Path | None = None
    sparse_log: Path | None = None

    def _words(self) -> str:
        known = [f"{name} {self.packages[name]}" for name in ("onnx", "onnxruntime") if self.packages.get(name)]
        return f"{', '.join([f'onnxprune {self.onnxprune}', self.python, *known])}; {self.cpu}, {self.cores} cores"


def version(package: str) -> str | None:
    """The installed version of a distribution, None if it is not installed. Does not import it.

    ONNX Runtime is in one of several, by what it was built for.
    """
    for name in (package, *(sorted(set(DISTRIBUTIONS.values())) if package == "onnxruntime" else ())):
        with contextlib.suppress(metadata.PackageNotFoundError):
            return metadata.version(name)
    return None


def environment() -> Environment:
    """What onnxprune runs on. Only ONNX Runtime is imported, to ask it for its execution providers."""
    return Environment(
        onnxprune=__version__,
        python=f"{platform.python_implementation()} {platform.python_version()}",
        platform=platform.platform(),
        cpu=cpu(),
        cores=usable_cores(),
        memory_bytes=_memory_bytes(),
        packages={name: version(name) for name in PACKAGES},
        providers=installed(),
        sparse_operators=native.instruction_set(),
        sparse_problem=native.problem(),
        sparse_library=native.library_path(),
        sparse_log=native.build_log(),
    )


def usable_cores() -> int:
    """Cores that this process may use, which is what counts in a container."""
    if sys.platform != "win32" and hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu() -> str:
    """What the processor calls itself."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("model name", "Model") and value.strip():
                return value.strip()
    if sys.platform == "darwin":
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
            return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()
    return platform.processor() or platform.machine()


def _memory_bytes() -> int | None:
    """Physical memory, or the limit of the container where that is less; None if the system does not say."""
    found: list[int] = []
    if sys.platform != "win32":
        with contextlib.suppress(OSError, ValueError):
            found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for path in _CGROUP_LIMITS:
        with contextlib.suppress(OSError, ValueError):
            found.append(int(Path(path).read_text("ascii")))
    return min((size for size in found if size > 0), default=None)


def peak_memory_bytes() -> int | None:
    """The largest resident memory of this process so far; None if the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
