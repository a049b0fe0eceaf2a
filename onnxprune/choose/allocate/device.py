"""How many channels the kernels of a processor work on at once.

ONNX Runtime runs convolutions in a layout of blocks of channels: a started block takes as long as a full one, and a
width that is no multiple of `least` leaves the layout altogether (docs/channels.md has the measurements). So widths are
multiples of a block, by the processor's instruction set, not by a clock: the same options give the same bytes on every
processor of a kind.
"""

from __future__ import annotations

import contextlib
import functools
import platform
from dataclasses import dataclass
from pathlib import Path

from onnxprune.errors import UsageError, did_you_mean

HERE = "auto"


@dataclass(frozen=True)
class Device:
    """`block`: channels that take as long together as one of them. `least`: what every width has to be a multiple of
    for the fast way.
    """

    name: str
    block: int
    least: int


DEVICES = {
    device.name: device
    for device in (
        Device("avx512", 16, 4),
        Device("avx2", 8, 4),
        Device("neon", 16, 4),
        Device("any", 16, 4),
    )
}
"""By name. `any` serves all of them."""


def find_device(name: str = HERE) -> Device:
    """The device `name`, or what this machine is. Raises UsageError."""
    if name == HERE:
        return DEVICES[_here()]
    if name not in DEVICES:
        known = (HERE, *DEVICES)
        raise UsageError(f"unknown device {name!r}.", hint=f"{did_you_mean(name, known)}Known: {', '.join(known)}.")
    return DEVICES[name]


@functools.cache
def _here() -> str:
    """The instruction set that ONNX Runtime's kernels take on this machine; `any` where the system does not say."""
    if platform.machine().lower() in ("aarch64", "arm64"):
        return "neon"
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "flags":
                flags = set(value.split())
                return "avx512" if "avx512f" in flags else "avx2"
    return "any"
