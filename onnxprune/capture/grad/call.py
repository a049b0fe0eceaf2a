"""What a rule sees of one operator call, and how it answers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto

from onnxprune.capture.grad.builder import Builder, Shape, Value
from onnxprune.model.tensors import FLOATS


class NoRule(Exception):
    """This call cannot be differentiated; the message completes "Operator 'node': ..."."""


@dataclass(frozen=True)
class Known:
    """What is known of the values of the graph before it runs."""

    shapes: Mapping[str, Shape]
    types: Mapping[str, int]
    constants: Mapping[str, NDArray[Any]]
    opset: int

    def type(self, name: str) -> int:
        """The element type of a value."""
        return self.types.get(name, TensorProto.FLOAT)


@dataclass
class Call:
    """One node with the gradients of its outputs. Rules read `x`, `y`, `dy` and answer with `give`.

    Integers that carry gradients, and others of their type, are read as float32.
    """

    node: NodeProto
    at: Builder
    known: Known
    incoming: Sequence[Value | None]
    wanted: Collection[int]
    given: dict[int, Value] = field(default_factory=dict)
    read: set[int] = field(default_factory=set)

    @property
    def opset(self) -> int:
        return self.known.opset

    def has(self, slot: int) -> bool:
        return slot < len(self.node.input) and self.node.input[slot] != ""

    def wants(self, *slots: int) -> bool:
        """Whether the gradient for one of these inputs is asked for."""
        return any(slot in self.wanted for slot in slots)

    def give(self, slot: int, value: Value) -> None:
        """The gradient for an input, which is summed over the axes along which the input was broadcast."""
        self.given[slot] = value.summed_to(self.shape(slot))

    def _value(self, name: str) -> Value:
        if name not in self.known.shapes:
            raise NoRule(f"the shape of '{name}' is not known")
        value = Value(self.at, name, tuple(self.known.shapes[name]), self.known.type(name))
        return value.cast(TensorProto.FLOAT) if value.dtype in self._rounded else value

    @cached_property
    def _rounded(self) -> set[int]:
        """The integer types whose values carry gradients here."""
        inputs = [self.node.input[slot] for slot in self.wanted]
        outputs = [name for name, found in zip(self.node.output, self.incoming, strict=True) if found is not None]
        return {self.known.type(name) for name in (*inputs, *outputs)} - FLOATS

    def input(self, slot: int) -> Value:
        if not self.has(slot):
            raise NoRule(f"its input {slot} is missing")
        return self._value(self.node.input[slot])

    def shape(self, slot: int) -> Shape:
        return self.input(slot).shape

    @property
    def x(self) -> Value:
        return self.input(0)

    @property
    def y(self) -> Value:
        return self._value(self.node.output[0])

    @property
    def dy(self) -> Value:
        """The gradient of the first output."""
        self.read.add(0)
        found = self.incoming[0]
        if found is None:
            raise NoRule("another output than its first one takes part in the loss")
        return found

    def gradients(self) -> list[Value]:
        """The gradients of all outputs, zeros for those that do not take part."""
        self.read.update(range(len(self.incoming)))
        values = [self._value(name) for name in self.node.output]
        return [
            self.at.zeros(value.shape, value.dtype) if found is None else found
            for value, found in zip(values, self.incoming, strict=True)
        ]

    @cached_property
    def _attributes(self) -> dict[str, Any]:
        return {a.name: onnx.helper.get_attribute_value(a) for a in self.node.attribute}

    def options(self) -> dict[str, Any]:
        """All attributes, to write a node like this one."""
        return dict(self._attributes)

    def attribute(self, name: str, default: Any = None) -> Any:
        """The attribute's Python value; strings are decoded, lists are lists."""
        value = self._attributes.get(name, default)
        if isinstance(value, bytes):
            return value.decode("utf-8", "replace")
        return value if isinstance(value, (int, float, str)) or value is None else list(value)

    def constant(self, slot: int) -> NDArray[Any] | None:
        """The known value of an optional input; None if it is absent. Raises NoRule if it is not known."""
        if not self.has(slot):
            return None
        name = self.node.input[slot]
        if name not in self.known.constants:
            raise NoRule(f"its input {slot} ('{name}') is not known before it runs")
        return np.asarray(self.known.constants[name])

    def integers(self, attribute: str, slot: int) -> list[int] | None:
        """Integers that moved from an attribute to an input in a later opset; None if neither is there."""
        found = self.attribute(attribute)
        if found is not None:
            return [int(i) for i in found]
        array = self.constant(slot)
        return None if array is None else [int(i) for i in array.ravel()]

    def axis(self, axis: int, rank: int | None = None) -> int:
        """An axis of the first input counted from the front."""
        return axis % (self.x.rank if rank is None else rank)
