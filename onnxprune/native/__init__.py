"""The sparse operators for ONNX Runtime: where their library is, and how a session gets them.

A file with sparse operators runs without the library too, at dense speed: each operator is also a function in the file.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import TYPE_CHECKING

from onnxprune.native.build import library_name

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["instruction_set", "library_path", "problem", "register"]

_LIBRARY = Path(__file__).resolve().parent / library_name()


def library_path() -> Path | None:
    """The shared library that ONNX Runtime loads, from any language; None if it was not built."""
    return _LIBRARY if _LIBRARY.is_file() else None


def register(options: onnxruntime.SessionOptions) -> bool:
    """Give the sessions made with `options` the sparse operators. False where the library was not built, or does
    not load.

    False is no error: the session then runs the dense fallback that is in the file.
    """
    path = library_path()
    if path is None or instruction_set() is None:
        return False
    options.register_custom_ops_library(str(path))
    return True


def instruction_set() -> str | None:
    """What the library uses on this processor, such as "avx512"; None if there is no library that loads."""
    path = library_path()
    if path is None:
        return None
    try:
        ask = ctypes.CDLL(str(path)).onnxprune_isa
    except (OSError, AttributeError):
        return None
    ask.restype = ctypes.c_char_p
    return str(ask().decode())


def problem() -> str | None:
    """Why the sparse operators are missing and how to get them; None if they are there."""
    if instruction_set() is not None:
        return None
    if library_path() is not None:
        return "their library does not load on this system: install onnxprune again, from source"
    return "not built: install a C++ compiler (g++ or clang++), then onnxprune again, from source"
