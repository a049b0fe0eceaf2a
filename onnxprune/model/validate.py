"""What a ModelProto must be before anything else looks at it. `onnx.checker` is the business of verification."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, StringStringEntryProto, TensorProto, defs

from onnxprune.errors import ModelError
from onnxprune.model import wire
from onnxprune.model.encode import INLINE_LIMIT
from onnxprune.model.external import ExternalData
from onnxprune.model.structure import describe, graphs_of, require_text
from onnxprune.model.tensors import check_header, check_raw_size, check_typed, payload_bytes

OLDEST_IR = 3  # opset_import came with it
OLDEST_OPSET = 1  # before 7, broadcasting was an attribute: such nodes are pinned by the tracer


def check_model(proto: ModelProto) -> None:
    """Versions, imports, functions and text. Raises ModelError."""
    _check_versions(proto)
    _check_text(proto)
    _check_opsets(proto)
    keys = [(function.domain, function.name, function.overload) for function in proto.functions]
    if len(set(keys)) != len(keys):
        raise ModelError("the model defines a function twice")
    for key in keys:
        if not key[1]:
            raise ModelError("the model has a function without a name")


def _check_versions(proto: ModelProto) -> None:
    if not OLDEST_IR <= proto.ir_version <= onnx.IR_VERSION:
        raise ModelError(
            f"the model has ir_version {proto.ir_version}; {OLDEST_IR} to {onnx.IR_VERSION} are supported",
            hint="Update the onnx package." if proto.ir_version > onnx.IR_VERSION else None,
        )


def _check_opsets(proto: ModelProto) -> None:
    if not proto.opset_import:
        raise ModelError("the model does not say which opset it uses (no opset_import)")
    versions: dict[str, int] = {}
    for entry in proto.opset_import:
        domain = "" if entry.domain == "ai.onnx" else entry.domain
        if versions.setdefault(domain, entry.version) != entry.version:
            raise ModelError(f"the model imports two versions of operator domain {domain or 'ai.onnx'!r}")
        if entry.version < 1:
            raise ModelError(f"the model imports version {entry.version} of operator domain {domain or 'ai.onnx'!r}")
    newest = defs.onnx_opset_version()
    version = versions.get("")
    if version is not None and not OLDEST_OPSET <= version <= newest:
        raise ModelError(
            f"the model uses opset {version}; {OLDEST_OPSET} to {newest} are supported",
            hint="Update the onnx package." if version > newest else "Convert it with onnx.version_converter.",
        )
    if version is None:
        for node in proto.graph.node:
            if node.domain in ("", "ai.onnx"):
                raise ModelError(f"the model uses {describe(node)} but does not import the ONNX opset it belongs to")


def _check_text(proto: ModelProto) -> None:
    """Raise ModelError for text that is not UTF-8. What nodes read and write is left to `check_structure`."""
    require_text([proto.producer_name, proto.producer_version, proto.domain, proto.doc_string])
    require_text([entry.domain for entry in proto.opset_import])
    _check_metadata(proto.metadata_props)
    for function in proto.functions:
        require_text([function.name, function.domain, *function.input, *function.output, *function.attribute])
        _check_nodes(function.node)
    for graph in all_graphs(proto):
        require_text([graph.name, graph.doc_string])
        _check_metadata(graph.metadata_props)
        for values in (graph.input, graph.output, graph.value_info):
            for value in values:
                dims = value.type.tensor_type.shape.dim
                require_text([value.name, value.doc_string, *[dim.dim_param for dim in dims]])
        for tensor in graph.initializer:
            require_text([tensor.name, tensor.doc_string])
            _check_metadata(tensor.metadata_props)
        require_text([sparse.values.name for sparse in graph.sparse_initializer])
        _check_nodes(graph.node)


def _check_nodes(nodes: Iterable[NodeProto]) -> None:
    texts: list[str] = []
    for node in nodes:
        if not node.op_type:
            raise ModelError(f"{describe(node)} has no operator")
        texts += (node.name, node.op_type, node.domain, node.overload, node.doc_string)
        for attribute in node.attribute:
            texts += (attribute.name, attribute.ref_attr_name)
        if node.metadata_props:
            _check_metadata(node.metadata_props)
    require_text(texts)


def _check_metadata(entries: Iterable[StringStringEntryProto]) -> None:
    require_text([text for entry in entries for text in (entry.key, entry.value)])


def all_graphs(proto: ModelProto) -> Iterator[GraphProto]:
    """Every graph: the main one, subgraphs at any depth, those in functions and training_info."""
    stack = [proto.graph]
    for training in proto.training_info:
        stack += [training.initialization, training.algorithm]
    for function in proto.functions:
        for node in function.node:
            stack.extend(graphs_of(node))
    while stack:
        graph = stack.pop()
        yield graph
        for node in graph.node:
            if node.attribute:
                stack.extend(graphs_of(node))


def all_nodes(proto: ModelProto) -> Iterator[NodeProto]:
    """Every node of `all_graphs` and of the functions."""
    for graph in all_graphs(proto):
        yield from graph.node
    for function in proto.functions:
        yield from function.node


def _embedded_tensors(proto: ModelProto) -> Iterator[TensorProto]:
    """All tensors but the top-level initializers: attributes, subgraphs, sparse tensors, training_info."""
    for graph in all_graphs(proto):
        if graph is not proto.graph:
            yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield sparse.values
            yield sparse.indices
    for node in all_nodes(proto):
        for attribute in node.attribute:
            yield from _attribute_tensors(attribute)
    for function in proto.functions:
        for attribute in function.attribute_proto:
            yield from _attribute_tensors(attribute)


def _attribute_tensors(attribute: AttributeProto) -> Iterator[TensorProto]:
    if attribute.ref_attr_name:
        return
    if attribute.HasField("t"):
        yield attribute.t
    yield from attribute.tensors
    sparse = list(attribute.sparse_tensors)
    if attribute.HasField("sparse_tensor"):
        sparse.append(attribute.sparse_tensor)
    for item in sparse:
        yield item.values
        yield item.indices


def embed_external_tensors(proto: ModelProto, external: ExternalData) -> None:
    """Check every tensor that is not a top-level initializer, and pull its external data into the proto."""
    embedded = 0
    for tensor in _embedded_tensors(proto):
        check_header(tensor)
        if tensor.data_location == TensorProto.EXTERNAL:
            embedded += payload_bytes(tensor.data_type, tuple(tensor.dims))
            if embedded > INLINE_LIMIT:
                raise ModelError("the model's nodes and subgraphs have more than 2 GB of external data")
            tensor.raw_data = bytes(external.tensor(tensor).payload())
            tensor.ClearField("external_data")
            tensor.ClearField("data_location")
        elif tensor.HasField("raw_data"):
            for name in wire.TYPED_DATA.values():
                if getattr(tensor, name):
                    raise ModelError(f"tensor {tensor.name!r} has both raw_data and {name}")
            check_raw_size(tensor, len(tensor.raw_data))
        else:
            _check_embedded_typed(tensor)


def _check_embedded_typed(tensor: TensorProto) -> None:
    values = TensorProto()
    for name in wire.TYPED_DATA.values():
        getattr(values, name).extend(getattr(tensor, name))
    buffer = memoryview(values.SerializeToString())
    check_typed(tensor, list(wire.fields(buffer, 0, len(buffer), "a tensor")), buffer)
