"""With samples, on random networks: whatever is asked, the written file is proven and what repair may make of it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

import onnxprune
from onnxprune.choose.score import activations, consumers, criteria, network
from onnxprune.errors import DataError, ModelError, UsageError
from onnxprune.model.load import load
from tests.properties.generator import networks
from tests.properties.test_properties import Network, repeatable

NAMES = [c.name for c in (*criteria(), *activations.criteria(), *network.criteria(), *consumers.criteria())]
amounts = st.one_of(
    st.fixed_dictionaries({"ratio": st.sampled_from([0.25, 0.5, 0.8])}),
    st.fixed_dictionaries({"target": st.sampled_from(["macs=70%", "params=50%", "macs=95%"])}),
)
options = st.fixed_dictionaries(
    {
        "criterion": st.one_of(st.just("obs"), st.sampled_from(NAMES)),
        "scope": st.sampled_from([None, "local", "global"]),
        "multiple_of": st.sampled_from([1, 1, 2]),
        "units": st.sampled_from(["channels", "heads"]),
        "repair": st.sampled_from(["auto", "auto", "bias"]),
    }
)


@repeatable
@given(networks(), amounts, options)
def test_every_choice_with_samples_is_written_and_proven(
    network: Network, amount: dict[str, Any], wanted: dict[str, Any]
) -> None:
    proto, _ = network
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.onnx"
        try:
            result = onnxprune.shrink(load(proto), out, data="random", samples=6, **amount, **wanted)
        except (UsageError, ModelError) as error:
            no_heads = wanted["units"] == "heads" and "no axis of this model is split into heads" in error.message
            assert "out of reach" in error.message or no_heads
            assert list(Path(folder).iterdir()) == []
            return
        except DataError as error:
            assert "inputs" in error.message
            return
        assert out.exists() == (result.plan.removed_count > 0)
        can_leave = any(change.reason is None or change.removed for change in result.groups)
        if result.target is not None and can_leave:  # else nothing can, and that is said
            assert result.target.planned <= result.target.limit
        if out.exists():
            assert onnxprune.verify(load(proto), out).plan_digest == result.plan.digest
