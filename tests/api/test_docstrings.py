"""Functions say in Google style what they take, give back and raise, which the API reference shows."""

from __future__ import annotations

import inspect
import re

import pytest

import onnxprune
from onnxprune import errors

FUNCTIONS = sorted(name for name in onnxprune.__all__ if inspect.isfunction(getattr(onnxprune, name)))
NEVER_RAISE = {"environment", "register"}


def _section(doc: str, title: str) -> list[str]:
    """The first lines of its entries, which have four spaces before them."""
    found = re.search(rf"^{title}:\n((?:    .*\n|\n)+)", doc + "\n", re.M)
    return [] if found is None else [line.strip() for line in found[1].splitlines() if re.match(r" {4}\S", line)]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_say_what_they_take_give_back_and_raise(name: str) -> None:
    function = getattr(onnxprune, name)
    doc = inspect.getdoc(function) or ""
    named = [line.partition(":")[0] for line in _section(doc, "Args")]
    parameters = inspect.signature(function).parameters.values()
    assert named == [f"*{p.name}" if p.kind is p.VAR_POSITIONAL else p.name for p in parameters]
    assert _section(doc, "Returns")
    raised = [line.partition(":")[0] for line in _section(doc, "Raises")]
    assert all(issubclass(getattr(errors, one), errors.OnnxPruneError) for one in raised)
    assert bool(raised) != (name in NEVER_RAISE)
