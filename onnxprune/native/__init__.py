"""The sparse operators for ONNX Runtime: where their library is, and how a session gets them.

A file with sparse operators runs without the library too, at dense speed: each operator is also a function in the file.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import TYPE_CHECKING

from onnxprune.native.build import LOG, NO_COMPILER, library_name

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["build_log", "instruction_set", "library_path", "operators", "problem", "register"]

_AGAIN = "Then build them: python -m onnxprune.native"
_LIBRARY = Path(__file__).resolve().parent / library_name()


def library_path() -> Path | None:
    """The shared library that ONNX Runtime loads, from any language; None if it was not built."""
    return _LIBRARY if _LIBRARY.is_file() else None


def register(options: onnxruntime.SessionOptions) -> bool:
    """Give the sessions made with `options` the sparse operators.

    Args:
        options: Of the session that will be made.

    Returns:
        Whether they are there. False, where the library was not built or does not load, is no error: the session then
        runs the dense fallback that is in the file.
    """
    path = library_path()
    if path is None or instruction_set() is None:
        return False
    options.register_custom_ops_library(str(path))
    return True


def instruction_set() -> str | None:
    """What the library uses on this processor, such as "avx512"; None if there is no library that loads."""
    path = library_path()
    found = None if path is None else _asked(path)
    return found if isinstance(found, str) else None


def operators() -> frozenset[str]:
    """Names of the operators in the library; none if there is none that loads, or if it is of an older version."""
    path = library_path()
    found = None if path is None else _asked(path, "onnxprune_operators")
    return frozenset(found.split()) if isinstance(found, str) else frozenset()


def _asked(path: Path, question: str = "onnxprune_isa") -> str | Exception:
    """The instruction set, or what else it is asked for; or why the library does not load."""
    try:
        ask = getattr(ctypes.CDLL(str(path)), question)
    except (OSError, AttributeError) as error:
        return error
    ask.restype = ctypes.c_char_p
    return str(ask().decode())


def build_log() -> Path | None:
    """What the compiler said when the library could not be built; None if it was built, or nobody tried."""
    path = _LIBRARY.with_name(LOG)
    return path if library_path() is None and path.is_file() else None


def problem() -> str | None:
    """Why the sparse operators are missing and how to get them; None if they are there."""
    path = library_path()
    if path is not None:
        found = _asked(path)
        return None if isinstance(found, str) else f"their library does not load here ({found}). {_AGAIN}"
    log = build_log()
    if log is None:
        return f"not built: install a C++ compiler (g++ or clang++). {_AGAIN}"
    said = log.read_text("utf-8", "replace").strip()
    if said.startswith(NO_COMPILER):
        return f"not built: {said.splitlines()[0]}. {_AGAIN}"
    return f"not built: the compiler failed, its words are in {log}. {_AGAIN}"
