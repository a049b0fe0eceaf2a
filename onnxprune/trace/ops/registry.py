"""Which rule speaks for which operator. A rule tells what an operator means for indices; see context.Op."""

from __future__ import annotations

from collections.abc import Callable

from onnxprune.trace.ops.context import Op

Rule = Callable[[Op], None]
MICROSOFT = "com.microsoft"

_RULES: dict[tuple[str, str], Rule] = {}


def rule(*names: str, domain: str = "") -> Callable[[Rule], Rule]:
    """Register a rule for operators of `domain` ("" is ai.onnx). A second rule for one operator is an error."""

    def register(function: Rule) -> Rule:
        for name in names:
            if (domain, name) in _RULES:
                raise ValueError(f"operator {domain or 'ai.onnx'}:{name} has a rule already: {_RULES[domain, name]}")
            _RULES[domain, name] = function
        return function

    return register


def find(domain: str, name: str) -> Rule | None:
    """The rule for an operator, or None: its inputs get pinned."""
    return _RULES.get((domain, name))


def operators() -> list[tuple[str, str, Rule]]:
    """(domain, operator, rule), sorted: the table of what is supported."""
    return [(domain, name, _RULES[domain, name]) for domain, name in sorted(_RULES)]
