"""The names of repairs are the same everywhere, and none is taken for another."""

from __future__ import annotations

import click
import numpy as np
import pytest

from onnxprune.capture.samples import open_samples
from onnxprune.choose.request import REPAIRS, WITH_SAMPLES
from onnxprune.cli import shrink, sparsify
from onnxprune.model.load import load
from onnxprune.shrinking.repairs import FROM_MEANS, FROM_SAMPLES, mend
from onnxprune.sparsifying import masks as masking
from onnxprune.trace import trace_model
from tests.builders import Net


def choices(command: click.Command) -> tuple[str, ...]:
    option = next(p for p in command.params if p.name == "repair")
    assert isinstance(option.type, click.Choice)
    return tuple(option.type.choices)


def test_the_lists_of_names_agree() -> None:
    assert {"auto", "none", *FROM_MEANS, *FROM_SAMPLES} == set(REPAIRS)
    assert set(FROM_SAMPLES) == set(WITH_SAMPLES)
    assert choices(shrink.command) == REPAIRS
    assert choices(sparsify.command) == ("auto", *masking.REPAIRS)


def test_an_unknown_name_is_an_error() -> None:
    net = Net()
    net.output(net.conv(net.relu(net.conv(net.input(3, 4, 4), 8, name="a")), 4, name="z"))
    model = load(net.model())
    trace = trace_model(model)
    samples = open_samples("random", trace, samples=8)
    keep = np.ones(trace.unit_count, bool)
    with pytest.raises(KeyError, match="damp"):
        mend(trace, keep, model, "damp", samples)
    with pytest.raises(ValueError, match="takes samples"):
        mend(trace, keep, model, "least-squares", None)
