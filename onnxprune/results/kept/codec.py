"""Values as text and arrays, and back: what stages give, without pickle.

Numbers, texts, None, tuples, lists, dicts, arrays of numbers, and frozen dataclasses of these, as far as whoever reads
them names their classes. What comes back is what went in, bit for bit.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]
Types = Sequence[type]


class Unreadable(Exception):
    """What is there is not what was written, or not of this version."""


def encoded(value: Any) -> tuple[str, list[Array]]:
    """A text, and the arrays that it names by their numbers. Raises TypeError for a value that has no such form."""
    arrays: list[Array] = []
    return json.dumps(_plain(value, arrays)), arrays


def decoded(text: str, arrays: Sequence[Array], types: Types = ()) -> Any:
    """The value. Raises Unreadable."""
    known = {one.__name__: one for one in types}
    try:
        return _value(json.loads(text), arrays, known)
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise Unreadable(str(error)) from error


def digest(value: Any) -> str:
    """Of a value that can be encoded."""
    import numpy as np  # here, so that --help need not wait for it

    text, arrays = encoded(value)
    found = hashlib.sha256(text.encode())
    for array in arrays:
        found.update(f"{array.dtype.str}{array.shape}".encode())
        found.update(np.ascontiguousarray(array).data if array.size else b"")
    return found.hexdigest()


def _plain(value: Any, arrays: list[Array]) -> Any:
    import numpy as np

    if value is None or (isinstance(value, (bool, int, float, str)) and not isinstance(value, np.generic)):
        return value
    if isinstance(value, (np.ndarray, np.generic)):
        array = np.asarray(value)
        if array.dtype.kind == "V" and array.dtype.names is None:  # small numbers that NumPy's files do not know
            bare = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
            return {"small": [array.dtype.name, list(array.shape), _plain(bare, arrays)]}
        if array.dtype.kind not in "biuf":
            raise TypeError(f"an array of {array.dtype}")
        arrays.append(array)
        return {"scalar" if isinstance(value, np.generic) else "array": len(arrays) - 1}
    if isinstance(value, (tuple, list)):
        return {type(value).__name__: [_plain(one, arrays) for one in value]}
    if isinstance(value, Mapping):
        return {"dict": [[_plain(key, arrays), _plain(one, arrays)] for key, one in value.items()]}
    if is_dataclass(value) and not isinstance(value, type):
        parts = {one.name: _plain(getattr(value, one.name), arrays) for one in fields(value)}
        return {"class": type(value).__name__, "fields": parts}
    raise TypeError(f"a {type(value).__name__}")


def _value(plain: Any, arrays: Sequence[Array], known: Mapping[str, type]) -> Any:
    import numpy as np

    if not isinstance(plain, dict):
        return plain
    if "class" in plain:
        parts = {name: _value(one, arrays, known) for name, one in plain["fields"].items()}
        return known[plain["class"]](**parts)
    ((kind, found),) = plain.items()
    if kind == "array":
        return arrays[found]
    if kind == "scalar":
        return arrays[found][()]
    if kind == "small":
        name, shape, bare = found
        small: Array = _value(bare, arrays, known).view(np.dtype(name)).reshape(shape)
        return small
    if kind == "dict":
        return {_value(key, arrays, known): _value(one, arrays, known) for key, one in found}
    return {"tuple": tuple, "list": list}[kind](_value(one, arrays, known) for one in found)
