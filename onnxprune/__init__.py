"""onnxprune: make trained networks smaller and faster, from the ONNX file alone.

The functions of onnxprune.api are here, loaded when they are first used: `shrink`, `sparsify`, `inspect`, `why`,
`verify`, `pack`, `unpack`, `diff`, `bench`, `check`, `sweep`, `environment`; `load`, `write`, `Model`, `Plan` for work
with single stages; `register` for sparse operators.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from onnxprune._version import __version__

# ONNX Runtime reports home from its import on, and keeps a file in ~/.cache, unless this is set before.
# Promise: no network, no telemetry, whatever the environment says.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

_WHERE = {
    "shrink": "onnxprune.api.shrink",
    "sparsify": "onnxprune.api.sparsify",
    "pack": "onnxprune.packing",
    "unpack": "onnxprune.packing",
    "inspect": "onnxprune.api.inspect",
    "why": "onnxprune.api.inspect",
    "verify": "onnxprune.api.verify",
    "diff": "onnxprune.api.inspect",
    "bench": "onnxprune.api.measure",
    "check": "onnxprune.api.measure",
    "environment": "onnxprune.api.measure",
    "sweep": "onnxprune.api.sweep",
    "load": "onnxprune.model.load",
    "register": "onnxprune.native",
    "write": "onnxprune.model.save",
    "Model": "onnxprune.model.load",
    "Plan": "onnxprune.cut.plan",
    "OnnxPruneError": "onnxprune.errors",
}

__all__ = [
    "Model",
    "OnnxPruneError",
    "Plan",
    "__version__",
    "bench",
    "check",
    "diff",
    "environment",
    "inspect",
    "load",
    "pack",
    "register",
    "shrink",
    "sparsify",
    "sweep",
    "unpack",
    "verify",
    "why",
    "write",
]

if TYPE_CHECKING:
    from onnxprune.api.inspect import diff, inspect, why
    from onnxprune.api.measure import bench, check, environment
    from onnxprune.api.shrink import shrink
    from onnxprune.api.sparsify import sparsify
    from onnxprune.api.sweep import sweep
    from onnxprune.api.verify import verify
    from onnxprune.cut.plan import Plan
    from onnxprune.errors import OnnxPruneError
    from onnxprune.model.load import Model, load
    from onnxprune.model.save import write
    from onnxprune.native import register
    from onnxprune.packing import pack, unpack


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'onnxprune' has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)
