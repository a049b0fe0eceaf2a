"""To and from onnx-graphsurgeon."""

from __future__ import annotations

import onnx_graphsurgeon as gs

from onnxprune.model.load import Model, load


def to_graph(model: Model) -> gs.Graph:
    return gs.import_onnx(model.complete_proto())


def from_graph(graph: gs.Graph) -> Model:
    return load(gs.export_onnx(graph, do_type_check=False))
