"""From the JSON of a plan to its parts. Raises ValueError, KeyError or TypeError for what is not as it must be."""

from __future__ import annotations

import math
from typing import Any

from onnxprune.options.recorded import kind as kind_of
from onnxprune.options.recorded import misfits
from onnxprune.results.plan import GroupPlan, QuantizationPlan, SparsePlan, SparseWeight, ValueGrid, WeightGrid


def object_of(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{name} must be an object, found {kind_of(value)}")
    return value


def list_of(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{name} must be a list, found {kind_of(value)}")
    return value


def text_of(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{name} must be a text, found {kind_of(value)}")
    return value


def options_of(value: Any) -> dict[str, Any]:
    """Of the types that options have: whoever reads a plan relies on it."""
    found = object_of(value, "options")
    wrong = next(misfits(found), None)
    if wrong is not None:
        raise ValueError(wrong)
    return found


def names_of(entry: Any) -> tuple[str, ...]:
    if not isinstance(entry, list) or not all(isinstance(name, str) for name in entry):
        raise ValueError("expected a list of names")
    return tuple(entry)


def sparsity_of(entry: dict[str, Any]) -> SparsePlan:
    weights = []
    for one in (object_of(weight, "a sparse weight") for weight in list_of(entry["weights"], "weights")):
        size, kept, blocks = (one[key] for key in ("size", "kept", "blocks"))
        if not all(type(n) is int for n in (size, kept, blocks)) or not 0 <= kept <= size or not 0 <= blocks <= size:
            raise ValueError(f"size, kept and blocks of {one['weight']!r} must be numbers of weights")
        weight, pattern = text_of(one["weight"], "weight"), text_of(one["pattern"], "pattern")
        weights.append(SparseWeight(weight, pattern, size, kept, blocks))
    if len({one.weight for one in weights}) != len(weights):
        raise ValueError("a weight is named twice")
    return SparsePlan(text_of(entry["emit"], "emit"), tuple(weights), names_of(entry.get("depthwise", [])))


def group_of(entry: dict[str, Any]) -> GroupPlan:
    size, removed = entry["size"], list_of(entry["removed"], "removed")
    if not isinstance(size, int) or isinstance(size, bool) or not all(type(i) is int for i in removed):
        raise ValueError("size and removed must be integers")
    if sorted(set(removed)) != list(removed) or (removed and not 0 <= removed[0] <= removed[-1] < size):
        raise ValueError(f"removed indices of {entry['name']!r} are not increasing positions below {size}")
    return GroupPlan(text_of(entry["name"], "name"), size, tuple(removed))


TYPES = frozenset({"uint8", "int8", "uint16", "int16", "uint4", "int4", "float16"})


def quantization_of(entry: dict[str, Any]) -> QuantizationPlan:
    values = [_value(object_of(one, "a quantised value")) for one in list_of(entry.get("values", []), "values")]
    weights = [_weight(object_of(one, "a quantised weight")) for one in list_of(entry.get("weights", []), "weights")]
    if len({one.value for one in values}) != len(values) or len({one.weight for one in weights}) != len(weights):
        raise ValueError("a quantised value or weight is named twice")
    if entry["scheme"] not in ("static", "dynamic", "weights"):
        raise ValueError(f"scheme must be static, dynamic or weights, found {entry['scheme']!r}")
    return QuantizationPlan(entry["scheme"], names_of(entry["nodes"]), tuple(values), tuple(weights))


def _value(one: dict[str, Any]) -> ValueGrid:
    scale, zero = one["scale"], one["zero_point"]
    if type(scale) not in (int, float) or not math.isfinite(scale) or scale <= 0 or type(zero) is not int:
        raise ValueError(f"scale and zero_point of {one['value']!r} must be a number above 0 and an integer")
    return ValueGrid(str(one["value"]), _type(one["type"]), float(scale), zero)


def _weight(one: dict[str, Any]) -> WeightGrid:
    axis, block = one["axis"], one["block"]
    if not (axis is None or type(axis) is int) or type(block) is not int:
        raise ValueError(f"axis and block of {one['weight']!r} must be integers")
    return WeightGrid(str(one["weight"]), _type(one["type"]), axis, block, str(one["digest"]))


def _type(name: Any) -> str:
    if name not in TYPES:
        raise ValueError(f"{name!r} is no type of quantised numbers")
    return str(name)
