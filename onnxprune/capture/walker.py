"""Running a graph piece by piece, with only the live values kept between the pieces.

Sequential repair changes a layer and then needs the inputs of the next one. Running the network from its start for
every layer costs a pass per layer; walking costs one pass in all: each piece is a model of its own, from the values
that are alive to the next ones that are wanted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from onnxprune.capture.session import open_session
from onnxprune.errors import DataError
from onnxprune.model.graph import Graph, Node, build
from onnxprune.model.load import Model
from onnxprune.model.plain import hoisted
from onnxprune.model.tensors import LazyTensor
from onnxprune.results.providers import Threads

Array = NDArray[Any]


class Walker:
    """Walks one model over batches of inputs. `dtypes` gives element types of inner values (from inference).

    Weights can be replaced wherever they are in the model; if it is `hoisted` already, only those that are initializers
    in it, so that names stay what they are.
    """

    def __init__(
        self,
        model: Model,
        batches: list[dict[str, Array]],
        dtypes: Mapping[str, int],
        threads: Threads = 0,
        *,
        as_it_is: bool = False,
    ) -> None:
        self.model = model = model if as_it_is else hoisted(model)
        self.graph: Graph = build(model)
        self.tensors: dict[str, LazyTensor] = dict(model.tensors)
        self._dtypes = dtypes
        self._threads = threads
        self._done: set[int] = set()
        self._top = [node for node in self.graph.nodes if node.scope == 0]
        self._reads = _reads(self.graph)
        self._outputs = {value.name for value in model.proto.graph.output}
        self._state = [dict(batch) for batch in batches]

    def reach(self, keys: Iterable[str]) -> None:
        """Compute `keys` (and what lies before them) for all batches, and keep them until `forget`."""
        asked = set(keys)
        wanted = [k for k in sorted(asked) if k not in self._state[0] and k not in self.graph.constants]
        nodes = self._needed(wanted)
        if not nodes:
            return
        self._done |= {node.index for node in nodes}
        alive = self._alive()
        produced = [k for node in nodes for k in node.outputs if k and (k in alive or k in wanted)]
        piece, feeds = self._piece(nodes, produced)
        session = open_session(piece, self._threads)
        for state in self._state:
            try:
                values = session.run(produced, {k: state[k] for k in feeds})
            except Exception as error:  # onnxruntime raises many types
                raise DataError(f"ONNX Runtime cannot run the model on the calibration data: {error}") from error
            state.update(zip(produced, values, strict=True))
        self.forget(set(self._state[0]) - alive - asked)

    def values(self, key: str) -> list[Array]:
        """The value of `key` in each batch; it must have been reached."""
        if key in self.graph.constants:
            return [self.graph.constants[key].array()] * len(self._state)
        return [state[key] for state in self._state]

    def drop_dead(self) -> None:
        """Forget what no node that is still to run reads."""
        self.forget(set(self._state[0]) - self._alive())

    def forget(self, keys: Iterable[str]) -> None:
        for key in list(keys):
            for state in self._state:
                state.pop(key, None)

    def replace(self, name: str, array: Array) -> None:
        """Give an initializer new values, for the nodes that are still to run."""
        self.tensors[name] = self.tensors[name].with_array(array)

    def assign(self, key: str, values: Iterable[Array]) -> None:
        """Let a value that has been reached be another one in each batch, for the nodes that are still to run."""
        for state, value in zip(self._state, values, strict=True):
            if key in state:
                state[key] = value

    # ---- inner -------------------------------------------------------------------------------------------------
    def _needed(self, keys: list[str]) -> list[Node]:
        todo, found = list(keys), set()
        while todo:
            key = todo.pop()
            index = self.graph.producer.get(key)
            if index is None or index in self._done or index in found or key in self._state[0]:
                continue
            found.add(index)
            todo.extend(self._reads[index])
        return [node for node in self._top if node.index in found]

    def _alive(self) -> set[str]:
        """Keys that nodes not yet run will read, and outputs."""
        return {
            k for node in self._top if node.index not in self._done for k in self._reads[node.index]
        } | self._outputs

    def _piece(self, nodes: list[Node], outputs: list[str]) -> tuple[onnx.ModelProto, list[str]]:
        made = {k for node in nodes for k in node.outputs}
        read = dict.fromkeys(k for node in nodes for k in self._reads[node.index] if k not in made)
        feeds = [k for k in read if k in self._state[0]]
        initializers = [self.tensors[k].to_proto() for k in read if k in self.tensors and k not in feeds]
        proto = onnx.ModelProto()
        proto.CopyFrom(self.model.proto)
        proto.graph.Clear()
        proto.graph.name = "piece"
        proto.graph.node.extend(node.proto for node in nodes)
        proto.graph.initializer.extend(initializers)
        stored = self.model.proto.graph.sparse_initializer
        proto.graph.sparse_initializer.extend(one for one in stored if one.values.name in read)
        proto.graph.input.extend(
            helper.make_tensor_value_info(k, helper.np_dtype_to_tensor_dtype(self._state[0][k].dtype), None)
            for k in feeds
        )
        if proto.ir_version < 4:
            proto.ir_version = 4
        proto.graph.output.extend(
            helper.make_tensor_value_info(k, self._dtypes.get(k, TensorProto.FLOAT), None) for k in outputs
        )
        return proto, feeds


def _reads(graph: Graph) -> dict[int, list[str]]:
    """Keys that each top-level node reads, the captures of its bodies included."""
    result: dict[int, list[str]] = {}
    pending: list[str] = []
    for node in graph.nodes:  # bodies come right before their owner
        keys = [k for k in node.inputs if k]
        if node.scope != 0:
            pending.extend(k for k in keys if "@" not in k)
        else:
            result[node.index] = [*keys, *pending]
            pending = []
    return result
