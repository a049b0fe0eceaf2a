"""One way to open ONNX Runtime in this process."""

from __future__ import annotations

from typing import Any

import onnx


def open_session(proto: onnx.ModelProto, threads: int = 0) -> Any:
    """An InferenceSession on the CPU, silent. `threads` 0 leaves their number to the runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
