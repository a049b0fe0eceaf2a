"""What a written file says of its making, in metadata_props. No paths, user names or times."""

from __future__ import annotations

import json
from dataclasses import replace

import onnx

from onnxprune import __version__
from onnxprune.cut.plan import Plan, parse
from onnxprune.errors import PlanError
from onnxprune.model.load import Model
from onnxprune.model.metadata import metadata, set_metadata

VERSION, SOURCE, PLAN, HISTORY = (f"onnxprune.{k}" for k in ("version", "source_sha256", "plan", "history"))


def record(model: Model, source: Model, plan: Plan) -> Model:
    """`model`, made from `source` by `plan`, with its provenance. The history of the source goes on, and it is still
    known which calls were written out.
    """
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    history = _history(source)
    history.append({"version": __version__, "source_sha256": source.sha256, "plan": plan.digest})
    set_metadata(proto, VERSION, __version__)
    set_metadata(proto, SOURCE, source.sha256)
    set_metadata(proto, PLAN, plan.dumps())
    set_metadata(proto, HISTORY, json.dumps(history))
    return replace(model.replace(proto, model.tensors), calls=model.calls or source.calls)


def plan_of(model: Model) -> Plan:
    """The plan stored in a file that `shrink` wrote. Raises PlanError."""
    text = metadata(model.proto).get(PLAN)
    if text is None:
        raise PlanError(
            f"{model.path.name if model.path else 'the model'} carries no plan",
            hint="Only files written by onnxprune shrink or sparsify can be verified; give that file second.",
        )
    return parse(text, "the plan stored in the file")


def _history(source: Model) -> list[object]:
    try:
        found = json.loads(metadata(source.proto).get(HISTORY, "[]"))
    except json.JSONDecodeError:
        return []
    return found if isinstance(found, list) else []
