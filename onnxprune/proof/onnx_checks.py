"""What other tools ask of a file before they take it: onnx's checker, its full check, and strict shape inference.

Not all files pass; but what the original passes, the result must pass. The full check is not asked about files with
sparse initializers: it takes none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import onnx
from onnx import ModelProto, TensorProto

from onnxprune.errors import VerificationError
from onnxprune.model.load import Model, load
from onnxprune.model.save import write_scratch

CHECKER, FULL, STRICT = "onnx.checker", "onnx.checker's full check", "onnx's strict shape inference"
INLINE_BYTES = 1 << 16
INTEGERS = frozenset({TensorProto.INT64, TensorProto.INT32})


def refusals(path: str) -> dict[str, str]:
    """By check that refuses the file: why."""
    found = {}
    model = load(path)
    if model.proto.graph.sparse_initializer:
        found[CHECKER] = _refusal(lambda: onnx.checker.check_model(path))
    else:
        found[FULL] = _refusal(lambda: onnx.checker.check_model(path, full_check=True))
        found[CHECKER] = found[FULL] and _refusal(lambda: onnx.checker.check_model(path))
    found[STRICT] = _refusal(lambda: _infer(model))
    return {name: found[name] for name in (CHECKER, FULL, STRICT) if found.get(name)}


def _refusal(check: Callable[[], object]) -> str:
    try:
        check()
    except Exception as error:  # the types differ between versions of onnx
        return str(error)[:2000] or type(error).__name__
    return ""


def require(what: str, found: Mapping[str, str], original: Mapping[str, str]) -> None:
    """Raise VerificationError for a check that refuses `what`, but not the original."""
    for name, reason in found.items():
        if name not in original:
            raise VerificationError(f"{name} refuses {what}: {reason}")


def file_of(model: Model, spare: Path) -> Path:
    """The file of a model; if it has none, or is another model by now, `spare`, written."""
    if model.path is not None and model.source is not None:
        return model.path
    write_scratch(model, spare)
    return spare


def _infer(model: Model) -> None:
    """On the model without its weights: only what may be a size is read. To inference, sparse initializers are of a
    type of their own, which no operator takes; to runtimes they are tensors, and so they are here.
    """
    proto = ModelProto()
    proto.CopyFrom(model.proto)
    for tensor in proto.graph.initializer:
        stored = model.tensors[tensor.name]
        if stored.dtype in INTEGERS or stored.nbytes <= INLINE_BYTES:
            tensor.CopyFrom(stored.to_proto())
    for sparse in proto.graph.sparse_initializer:
        values = sparse.values
        proto.graph.initializer.append(TensorProto(name=values.name, data_type=values.data_type, dims=sparse.dims))
    del proto.graph.sparse_initializer[:]
    onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True, data_prop=True)
