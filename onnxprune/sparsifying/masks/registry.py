"""The mask methods by name.

A method is one file with one function, registered by decorator::

    @mask_method("magnitude", source="Han et al., NeurIPS 2015")
    def magnitude(problem, share):
        \"\"\"The smallest absolute weights leave.\"\"\"

It says which weights of a layer stay if `share` of them leave, and may give what stays new values. `needs_data`: it
finds `Problem.evidence`, with `needs_rows` also the rows where an activation follows that clips.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from onnxprune.choose.score import names
from onnxprune.errors import ModelError
from onnxprune.sparsifying.masks.problem import Choice, Problem

MethodFunction: TypeAlias = Callable[[Problem, float], Choice]


@dataclass(frozen=True)
class Method:
    """A registered method. Call it like its function; what comes out is checked."""

    name: str
    needs_data: bool
    needs_rows: bool
    source: str
    doc: str
    function: MethodFunction

    def __call__(self, problem: Problem, share: float) -> Choice:
        choice = self.function(problem, share)
        if choice.keep.shape != problem.allowed.shape or (choice.keep & ~problem.allowed).any():
            raise ValueError(f"mask method {self.name!r} keeps what is not allowed")
        if choice.weight is not None:
            if choice.weight[:, :-1][~choice.keep].any():
                raise ValueError(f"mask method {self.name!r} gave weights that its mask removes")
            if not np.isfinite(choice.weight).all():
                raise ModelError(
                    f"mask method {self.name!r} gave weights that are not finite",
                    hint="the network may overflow on the calibration samples: check them, and how they are normalised",
                )
        return choice


_REGISTRY: dict[str, Method] = {}


def mask_method(
    name: str, *, source: str, needs_data: bool = True, needs_rows: bool = False
) -> Callable[[MethodFunction], MethodFunction]:
    """Register a function as method `name`. The first line of its docstring is what the lists show."""

    def register(function: MethodFunction) -> MethodFunction:
        names.add(
            _REGISTRY,
            "mask method",
            name,
            function,
            lambda doc: Method(name, needs_data, needs_rows, source, doc, function),
        )
        return function

    return register


def methods() -> tuple[Method, ...]:
    """Every method: those that need no data first, then by name."""
    return tuple(sorted(_REGISTRY.values(), key=lambda method: (method.needs_data, method.name)))


def get(name: str) -> Method:
    """The method `name`; UsageError with the nearest name and the list if there is none."""
    return names.find(_REGISTRY, "mask method", name, [method.name for method in methods()])
