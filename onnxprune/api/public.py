"""How functions of the API get their options: by name, checked, as one value; and a bar for `progress=True`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Concatenate, ParamSpec, TypeVar

from onnxprune.options.declare import O, of_function
from onnxprune.options.positionals import check_positionals
from onnxprune.options.running import Told
from onnxprune.options.signature import bound, documented, signature_of
from onnxprune.report.progress import bar

P = ParamSpec("P")
R = TypeVar("R")


def public(options: type[O]) -> Callable[[Callable[Concatenate[O, P], R]], Callable[..., R]]:
    """A function whose first argument is a value of `options` becomes one with a keyword for each of them.

    What type checkers see of it is in __init__.pyi, made from the same declarations.
    """

    def decorate(function: Callable[Concatenate[O, P], R]) -> Callable[..., R]:
        signature = signature_of(function, options)

        @functools.wraps(function)
        def call(*args: Any, **given: Any) -> R:
            asked, others = bound(function.__name__, signature, options, args, given)
            check_positionals(others)
            if isinstance(asked, Told) and asked.progress is True:
                with bar() as callback:
                    return function(replace(asked, progress=callback), *others.args, **others.kwargs)
            return function(asked, *others.args, **others.kwargs)

        made: Any = call
        own = {name: hint for name, hint in function.__annotations__.items() if name != "options"}
        made.__annotations__ = own | {one.name: one.type for one in of_function(options)}
        made.__doc__ = documented(function.__doc__ or "", options)
        made.__signature__, made.options = signature, options
        made.__kwdefaults__ = {n: p.default for n, p in signature.parameters.items() if p.kind is p.KEYWORD_ONLY}
        return call

    return decorate
