"""metadata_props: the model's own key-value notes."""

from __future__ import annotations

from onnx import ModelProto

from onnxprune.model.load import Model


def metadata(model: Model | ModelProto) -> dict[str, str]:
    """The model's metadata_props, in file order; of duplicate keys the last one counts."""
    proto = model.proto if isinstance(model, Model) else model
    return {entry.key: entry.value for entry in proto.metadata_props}


def set_metadata(proto: ModelProto, key: str, value: str) -> None:
    """Set one entry in place. An existing key keeps its position, a new one comes last."""
    found = [entry for entry in proto.metadata_props if entry.key == key]
    entry = found[-1] if found else proto.metadata_props.add(key=key)
    entry.value = value


def with_metadata(proto: ModelProto, key: str, value: str) -> ModelProto:
    """A copy of the model (skeleton) with one entry set."""
    copy = ModelProto()
    copy.CopyFrom(proto)
    set_metadata(copy, key, value)
    return copy
