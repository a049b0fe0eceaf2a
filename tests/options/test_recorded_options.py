"""What a plan says of its options is of the types that they have, whichever option it is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from onnxprune.cut.plan import Plan, parse
from onnxprune.errors import PlanError
from onnxprune.options.declare import plain, recorded, values
from onnxprune.options.recorded import misfits
from onnxprune.options.shrinking import ShrinkOptions, SparsifyOptions

BOTH = [(options, name) for options in (ShrinkOptions, SparsifyOptions) for name in recorded(options)]


def defaults(options: Any) -> dict[str, Any]:
    found = values(options())
    return {name: plain(found[name]) for name in recorded(options)}


@pytest.mark.parametrize("options", [ShrinkOptions, SparsifyOptions])
def test_defaults_fit(options: Any) -> None:
    assert list(misfits(defaults(options))) == []
    assert list(misfits({"sparsity": defaults(options)})) == [], "of a network that lost channels besides"


@pytest.mark.parametrize(("options", "name"), BOTH, ids=lambda one: getattr(one, "NAME", one))
def test_a_wrong_type_is_found_in_every_option(options: Any, name: str) -> None:
    """None takes a list in a list."""
    where = "options.sparsity" if name == "sparsity" else "options"
    found = list(misfits({name: [[]]} if name != "sparsity" else {"sparsity": {"sparsity": [[]]}}))
    assert len(found) == 1 and found[0].startswith(f"{where}.{name}") and found[0].endswith(("found a list",))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"steps": "two"}, "options.steps must be a whole number or null, found a text"),
        ({"steps": 1.5}, "options.steps must be a whole number or null, found a number"),
        ({"ratio": True}, "options.ratio must be a number or null, found true or false"),
        ({"multiple_of": []}, "options.multiple_of must be a text or a whole number or null, found a list"),
        ({"exclude": "conv"}, "options.exclude must be a list of texts, found a text"),
        ({"exclude": ["a", 3]}, "options.exclude[1] must be a text, found a number"),
        ({"lock": None}, "options.lock must be true or false, found null"),
        ({"sparsity": {"lock": 1}}, "options.sparsity.lock must be true or false, found a number"),
        ({"sparsity": "half"}, "options.sparsity must be a number or null, found a text"),
        ({"criterion": {}}, "options.criterion must be a text or null, found an object"),
    ],
)
def test_a_plan_that_says_it_is_refused_with_the_place(given: dict[str, Any], words: str) -> None:
    text = json.dumps({**Plan("a" * 64, ()).to_json(), "options": {**defaults(ShrinkOptions), **given}})
    with pytest.raises(PlanError) as caught:
        parse(text, "plan p.json")
    assert str(caught.value) == f"plan p.json is not a valid plan: {words}"


def test_other_versions_have_other_names() -> None:
    given = {"criterion": "of-tomorrow", "normalise": "new", "device": "riscv", "unheard": [{}], "ratio": 1}
    assert list(misfits(given)) == []
    assert parse(Plan("a" * 64, (), options=given).dumps()).options == given
