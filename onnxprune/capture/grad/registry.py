"""Which rule differentiates which operator."""

from __future__ import annotations

from collections.abc import Callable

from onnxprune.capture.grad.call import Call

Rule = Callable[[Call], None]

_RULES: dict[tuple[str, str], Rule | None] = {}
_ROUNDING: set[tuple[str, str]] = set()


def _register(domain: str, name: str, function: Rule | None) -> None:
    if (domain, name) in _RULES:
        raise ValueError(f"operator {domain or 'ai.onnx'}:{name} has a gradient rule already: {_RULES[domain, name]}")
    _RULES[domain, name] = function


def gradient(*names: str, domain: str = "", rounds: bool = False) -> Callable[[Rule], Rule]:
    """Register a rule for operators of `domain` ("" is ai.onnx). A second rule for one operator is an error.

    `rounds`: they round real numbers, and the integers that they give carry gradients on.
    """

    def register(function: Rule) -> Rule:
        for name in names:
            _register(domain, name, function)
            if rounds:
                _ROUNDING.add((domain, name))
        return function

    return register


def constant_almost_everywhere(*names: str) -> None:
    """Operators whose derivative is zero wherever it exists: sizes, comparisons, positions, rounding."""
    for name in names:
        _register("", name, None)


def known(domain: str, name: str) -> bool:
    """True if the operator has a rule or a derivative of zero."""
    return (domain, name) in _RULES


def rounds(domain: str, name: str) -> bool:
    """True if the operator's integers stand for real numbers that were rounded."""
    return (domain, name) in _ROUNDING


def find(domain: str, name: str) -> Rule | None:
    """The rule of an operator; None if it has none or needs none."""
    return _RULES.get((domain, name))


def operators() -> list[tuple[str, str]]:
    """(domain, operator) of everything that is known, sorted."""
    return sorted(_RULES)
