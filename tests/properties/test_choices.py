"""From options to a repaired model, on random networks: whatever is chosen can be cut, replayed and repaired."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from onnxprune.choose.ranking import Options, entries_of, on_groups_of
from onnxprune.choose.score import criteria
from onnxprune.choose.score.registry import Needs
from onnxprune.choose.select import select
from onnxprune.cut import CutError, cut
from onnxprune.cut.plan import keep_of, of_masks
from onnxprune.model.load import load
from onnxprune.proof.compare_files import compare_with_expected
from onnxprune.repair import correct_biases
from onnxprune.trace import Trace, trace_model
from onnxprune.trace.reference import build_reference
from onnxprune.trace.whole import may_leave_whole
from tests.properties.checks import ATTEMPTS, Bools, compare, run
from tests.properties.generator import networks
from tests.properties.net import feed
from tests.properties.test_properties import Network, repeatable

options = st.builds(
    Options,
    ratio=st.floats(0, 0.95),
    criterion=st.sampled_from([c.name for c in criteria() if c.needs is Needs.WEIGHTS]),
    scope=st.sampled_from(["local", "global"]),
    multiple_of=st.sampled_from([None, 1, 1, 2, 4]),
    min_keep=st.sampled_from(["1", "25%", "2"]),
)


def chosen(trace: Trace, wanted: Options) -> tuple[Bools, bool]:
    """What shrink would keep, in the units of a trace without the pins that its refusals make, and whether in finer
    steps than the device's.
    """
    pinned = trace_model(trace.graph.model, units=trace.units_mode)
    for _ in range(ATTEMPTS):
        selection = on_groups_of(trace, pinned, select(pinned, wanted, None, None))
        keep = keep_of(of_masks(trace, selection.groups, selection.keep), trace)
        try:
            cut(trace, keep)
        except CutError as refusal:
            pinned.pin_node(refusal.node, str(refusal))
        else:
            return keep, bool(selection.notes)
    raise AssertionError("the cut is refused for ever")


@repeatable
@given(networks(), options, st.sampled_from(["channels", "heads"]))
def test_every_choice_is_cut_replayed_and_repaired(network: Network, wanted: Options, units: str) -> None:
    """Widths are what was asked; the cut is equivalent; repair changes no shape, and the result runs."""
    proto, _ = network
    trace = trace_model(load(proto), units=units)
    keep, fine = chosen(trace, wanted)
    for group in trace.prunable:
        left = int(keep[group.units].sum())
        step = 1 if fine else entries_of(trace, [(group, np.zeros(group.size))], wanted)[0].multiple_of
        assert left == group.size or left % step == 0
        assert left >= 1 or group.name in may_leave_whole(trace)
    smaller, inputs = cut(trace, keep), feed(proto)
    fresh = trace_model(load(proto), units=units)
    assert cut(fresh, keep).sha256 == smaller.sha256
    compare(trace, build_reference(trace), smaller, keep, inputs)
    repaired = correct_biases(trace, keep, smaller).model
    compare_with_expected(smaller, repaired)
    assert all(np.isfinite(value).all() for value in run(repaired, inputs))
