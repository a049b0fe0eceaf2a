"""What this processor's kernels want of integers."""

from __future__ import annotations

import platform
from pathlib import Path

VNNI, X86, ARM = "vnni", "x86", "arm"
DOT_PRODUCTS = ("vnni", "amx_int8", "avxvnni")
"""Flags of processors whose sums of products of bytes do not saturate."""


def this_processor() -> str:
    """VNNI, X86 or ARM. An x86 processor that does not say counts as one without VNNI."""
    machine = platform.machine().lower()
    if machine.startswith(("arm", "aarch64")):
        return ARM
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8", "replace")
    except OSError:
        return X86
    flags = next((line for line in text.splitlines() if line.startswith("flags")), "")
    return VNNI if any(name in flags for name in DOT_PRODUCTS) else X86
