"""The JSON documents of `pack` and `unpack`; see docs/json-schema.md."""

from __future__ import annotations

from onnxprune.packing.results import PackedTensor, PackResult, UnpackResult
from onnxprune.report.document_parts import Document, fidelity_document, metric_document


def pack(result: PackResult) -> Document:
    """See `PackResult`."""
    return {
        "schema": "onnxprune.pack/1",
        "model": {"name": result.name, "size_bytes": result.size_bytes, "sha256": result.sha256},
        "packed": {"size_bytes": result.packed_bytes, "share_ratio": _share(result.packed_bytes, result)},
        "unpacked": {"sha256": result.unpacked_sha256, "identical": result.lossless},
        "weights": result.weights,
        "parts": [
            {"name": name, "size_bytes": size, "share_ratio": _share(size, result)}
            for name, size in result.parts.items()
        ],
        "tensors": [_tensor(tensor) for tensor in result.tensors],
        "fidelity": None if result.fidelity is None else fidelity_document(result.fidelity),
        "metric": None if result.metric is None else metric_document(result.metric),
        "written": [str(path) for path in result.written],
        "stages": [{"name": name, "duration_s": seconds} for name, seconds in result.seconds.items()],
        "notes": list(result.notes),
    }


def unpack(result: UnpackResult) -> Document:
    """See `UnpackResult`."""
    return {
        "schema": "onnxprune.unpack/1",
        "packed": {"name": result.name, "size_bytes": result.packed_bytes},
        "unpacked": {"size_bytes": result.size_bytes, "sha256": result.sha256, "identical": result.lossless},
        "original": {"sha256": result.original_sha256},
        "written": [str(path) for path in result.written],
        "stages": [{"name": name, "duration_s": seconds} for name, seconds in result.seconds.items()],
    }


def _share(size: int, result: PackResult) -> float:
    return size / max(result.size_bytes, 1)


def _tensor(tensor: PackedTensor) -> Document:
    return {
        "name": tensor.name,
        "kind": tensor.kind,
        "weight_shape": list(tensor.shape),
        "stored_as": tensor.how,
        "reason": tensor.reason,
        "entries_count": tensor.entries,
        "zeros_ratio": tensor.zeros,
        "before_bytes": tensor.before_bytes,
        "after_bytes": tensor.after_bytes,
        "error_ratio": tensor.error,
    }
