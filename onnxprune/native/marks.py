"""A mark on the functions that onnxprune writes, by which its sessions know them again.

With the library, a kernel takes the place of the function of its name. So that this never happens to a function that
only shares the name, the mark is a digest of what the function says: one that was changed, or made by others, has none
that fits, and runs as it is.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import FunctionProto

DOMAIN = "onnxprune"
KEY = "onnxprune.digest"


def mark(function: FunctionProto) -> None:
    """Add the mark."""
    function.metadata_props.add(key=KEY, value=_digest(function))


def is_marked(function: FunctionProto) -> bool:
    """Whether this is a function of onnxprune, unchanged."""
    found = {entry.key: entry.value for entry in function.metadata_props}
    return KEY in found and found[KEY] == _digest(function)


def _digest(function: FunctionProto) -> str:
    plain = type(function)()
    plain.CopyFrom(function)
    plain.ClearField("metadata_props")
    plain.ClearField("doc_string")
    return hashlib.sha256(plain.SerializeToString(deterministic=True)).hexdigest()
