"""One way to open ONNX Runtime in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx

from onnxprune.capture.operators import equip
from onnxprune.model.random import seeded

ROUNDS_WEIGHTS = "WeightBiasQuantization"
"""An optimisation of the runtime."""


def open_session(model: onnx.ModelProto | Path, threads: int = 0, *, literal: bool = True) -> Any:
    """An InferenceSession on the CPU, silent, with the sparse operators if the model has some. `threads` 0 leaves their
    number to the runtime. Nodes that draw numbers get seeds, so that two sessions draw the same. `literal`: weights in
    float stay what they are; next to quantised inputs the runtime would round them.

    Models above 2 GB go by path.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    # of many sessions for short stretches, threads would spend more time waiting busily than computing
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    equip(options, model)
    source = str(model) if isinstance(model, Path) else seeded(model).SerializeToString()
    without = [ROUNDS_WEIGHTS] if literal else None
    return onnxruntime.InferenceSession(
        source, options, providers=["CPUExecutionProvider"], disabled_optimizers=without
    )
