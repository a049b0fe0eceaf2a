"""From declarations to functions: their signature, the values of a call, and what `help` says of each argument."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable
from typing import Any

from onnxprune.errors import did_you_mean
from onnxprune.options.checked import checked
from onnxprune.options.declare import Entry, O, Options, of_function

_FLAG = re.compile(r"--(?:no-)?([a-z]+(?:-[a-z]+)*)")
_WIDTH = 116
_ELSEWHERE = {" Repeatable.": " One, or several.", "exit code 4": "VerificationError", "MODEL": "the model"}
"""Words of the command line -> of Python."""


def signature_of(function: Callable[..., Any], options: type[Options]) -> inspect.Signature:
    """That of `function` without its first argument, and with every option as a keyword."""
    own = inspect.signature(function)
    named = [
        inspect.Parameter(one.name, inspect.Parameter.KEYWORD_ONLY, default=one.default, annotation=one.text)
        for one in of_function(options)
    ]
    return own.replace(parameters=[*list(own.parameters.values())[1:], *named])


def bound(
    name: str, signature: inspect.Signature, options: type[O], args: tuple[Any, ...], given: dict[str, Any]
) -> tuple[O, inspect.BoundArguments]:
    """The options and the other arguments of a call.

    Raises TypeError as Python does, for names that the function has not, and UsageError for a wrong type or value.
    """
    try:
        call = signature.bind(*args, **given)
    except TypeError as error:
        unknown = next((word for word in given if word not in signature.parameters), None)
        guess = "" if unknown is None else f". {did_you_mean(unknown, signature.parameters)}".rstrip(" .")
        raise TypeError(f"{name}() {error}{guess}") from None
    entries = {one.name: one for one in of_function(options)}
    said = {key: checked(entries[key], call.arguments.pop(key)) for key in list(call.arguments) if key in entries}
    return options(**said), call


def documented(text: str, options: type[Options]) -> str:
    """A docstring with what is said of every option, in the style of Google: before "Returns:", or at the end."""
    body = inspect.cleandoc(text)
    lines = [line for one in of_function(options) for line in _said(one)]
    if not lines:
        return body
    before, found, after = body.partition("\nReturns:\n")
    before, listed, rest = before.partition("\nArgs:\n")
    arguments = [*rest.rstrip().splitlines(), *lines] if listed else lines
    return "\n".join([before.rstrip(), "", "Args:", *arguments, ""]) + (f"\nReturns:\n{after}" if found else "")


def _said(one: Entry) -> list[str]:
    shown = one.spec.shown
    default = f" Default: {in_python(shown)}." if isinstance(shown, str) else ""
    text = f"{one.name}: {in_python(one.spec.help.replace('; see below', ''))}{default}"
    return textwrap.wrap(text, _WIDTH, initial_indent="    ", subsequent_indent="        ", break_on_hyphens=False)


def in_python(text: str) -> str:
    """What the command line calls `--max-drop` is `max_drop` there."""
    for word, other in _ELSEWHERE.items():
        text = text.replace(word, other)
    return _FLAG.sub(lambda found: f"`{found[1].replace('-', '_')}`", text)
