"""Operators that draw numbers, and how two models come to draw the same ones.

ONNX Runtime seeds them differently in every process and at every place, unless a node has a seed of its own. And its
generators go on from run to run: two sessions draw alike as long as both are run on the same inputs in the same order
from the start.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, helper

RANDOM = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)
_SEEDS = 1 << 24
"""Exact as a float, which these seeds are."""
_TRAINING = 2  # slot of Dropout's training_mode, without which it draws nothing (from opset 12 on)


def draws(node: NodeProto) -> bool:
    """Whether a node may give other numbers in every run."""
    if node.domain not in ("", "ai.onnx"):
        return False
    trains = node.op_type == "Dropout" and len(node.input) > _TRAINING and bool(node.input[_TRAINING])
    return trains or node.op_type in RANDOM


def is_random(proto: ModelProto) -> bool:
    """Whether a model has such nodes, be it in bodies or functions."""
    return any(draws(node) for node in _nodes(proto))


def seeded(proto: ModelProto) -> ModelProto:
    """The model with a seed for every such node that has none: it follows from the name of its first output, which a
    cut does not change. The model itself if there is nothing to seed.
    """
    if not any(draws(node) and not _has_seed(node) for node in _nodes(proto)):
        return proto
    copy = ModelProto()
    copy.CopyFrom(proto)
    for node in _nodes(copy):
        if draws(node) and not _has_seed(node):
            seed = zlib.crc32("".join(node.output[:1]).encode()) % _SEEDS
            node.attribute.append(helper.make_attribute("seed", seed if node.op_type == "Dropout" else float(seed)))
    return copy


def _has_seed(node: NodeProto) -> bool:
    return any(attribute.name == "seed" for attribute in node.attribute)


def _nodes(proto: ModelProto) -> Iterator[NodeProto]:
    for function in proto.functions:
        for node in function.node:
            yield node
            yield from _inside(node)
    yield from _of(proto.graph)


def _of(graph: GraphProto) -> Iterator[NodeProto]:
    for node in graph.node:
        yield node
        yield from _inside(node)


def _inside(node: NodeProto) -> Iterator[NodeProto]:
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield from _of(attribute.g)
        elif attribute.type == AttributeProto.GRAPHS:
            for graph in attribute.graphs:
                yield from _of(graph)
