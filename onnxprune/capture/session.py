"""One way to open ONNX Runtime in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx


def open_session(model: onnx.ModelProto | Path, threads: int = 0) -> Any:
    """An InferenceSession on the CPU, silent. `threads` 0 leaves their number to the runtime.

    Models above 2 GB go by path.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    source = str(model) if isinstance(model, Path) else model.SerializeToString()
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
