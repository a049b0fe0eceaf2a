"""Operators that ONNX Runtime cannot know: of a custom domain, and defined by no function in the model.

A model that has some can be read, changed and packed as it is, but nobody here can run it: nothing can be proven of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from onnx import ModelProto, NodeProto

from onnxprune.errors import ModelError
from onnxprune.model.load import Model
from onnxprune.model.structure import graphs_of

KNOWN = frozenset(
    {"", "ai.onnx", "ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc", "com.ms.internal.nhwc", "onnxprune"}
)
"""Domains of ONNX Runtime, and ours. Whether it has an operator of these is for it to say."""
SHOWN = 3


def strangers(model: ModelProto) -> dict[str, str]:
    """Such operators ("domain:Operator"), each with the first node that is one: its name, or its first output."""
    defined = {(function.domain, function.name) for function in model.functions}
    found: dict[str, str] = {}
    for body in (model.graph.node, *(function.node for function in model.functions)):
        for node in _all(body):
            if node.domain not in KNOWN and (node.domain, node.op_type) not in defined:
                label = node.name or next(iter(node.output), "")
                found.setdefault(f"{node.domain}:{node.op_type}", label)
    return found


def unknown(model: Model) -> str | None:
    """What is to be said of a model that has some; None of any other."""
    found = strangers(model.proto)
    if not found:
        return None
    listed = [f"{name} (node {label!r})" if label else name for name, label in found.items()]
    more = [f"and {len(listed) - SHOWN} more"] if len(listed) > SHOWN else []
    return f"{model.name} cannot be run: ONNX Runtime does not know {', '.join([*listed[:SHOWN], *more])}"


def way_on(model: Model) -> str:
    """What to do about it."""
    return (
        "What cannot be run cannot be proven, and nothing is written without a proof. Export the model with operators "
        f"of ONNX, define {next(iter(strangers(model.proto)))} as a function in the model "
        "(onnx.helper.make_function), or take the part of the model without it (onnx.utils.extract_model)."
    )


def require_known(model: Model) -> None:
    """Raises ModelError for a model that has some."""
    words = unknown(model)
    if words is not None:
        raise ModelError(words, hint=way_on(model))


def _all(nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
    """With those of subgraphs. Bodies are nested as deep as they are: no recursion."""
    waiting = [iter(nodes)]
    while waiting:
        node = next(waiting[-1], None)
        if node is None:
            waiting.pop()
            continue
        yield node
        waiting.extend(iter(graph.node) for graph in graphs_of(node))
