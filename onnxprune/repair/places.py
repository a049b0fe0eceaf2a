"""Which values of a cut network are compared with which values of the original.

Mostly those of the same name. Where a residual block left, its sum is gone: its shortcut takes its place, and is to
become what the sum was. In a quantised network an activation may have become a part of rounding: what is rounded has
the name of what came behind it, and what others read of it is compared.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from onnxprune.capture.sensitivity import is_steady, judged
from onnxprune.model.graph import Graph
from onnxprune.model.rounded import rounded
from onnxprune.trace.groups import Trace

Bools = NDArray[np.bool_]
Places = dict[str, str]
"""value of the cut network -> value of the original"""


def judged_places(trace: Trace, keep: Bools) -> Places:
    """Where outputs are judged (`sensitivity.judged`); the graph's outputs themselves if a block took such a value."""
    lost = trace.lost_values(keep)
    where = {total: key for key, total in trace.stand_ins(keep).items()}
    found = {where.get(key, key): key for key in judged(trace) if key not in lost or key in where}
    if any(key in lost and key not in where for key in judged(trace)):
        found |= {value.name: value.name for value in trace.graph.model.proto.graph.output}
    floats = {key: goal for key, goal in found.items() if trace.facts.dtypes.get(goal) == TensorProto.FLOAT}
    return {key: goal for key, goal in floats.items() if is_steady(trace, goal)}


def aligned(trace: Trace, graph: Graph, places: Places) -> Places:
    """`places` as the cut network `graph` has them, those that it does not have left out."""
    found = {}
    for key, goal in places.items():
        index, teacher = graph.producer.get(key), trace.graph.producer.get(goal)
        if index is None or teacher is None:
            continue
        alike = graph.nodes[index].op_type == trace.graph.nodes[teacher].op_type
        found[key if alike else rounded(graph, key)] = goal
    return found


def target_places(trace: Trace, keep: Bools, keys: list[str]) -> Places:
    """What the values `keys` of the cut network are to become, and where its outputs are judged."""
    instead = trace.stand_ins(keep)
    return {key: instead.get(key, key) for key in keys} | judged_places(trace, keep)
