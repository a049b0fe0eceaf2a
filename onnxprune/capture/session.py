"""One way to open ONNX Runtime in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
from onnx import helper

from onnxprune.capture.operators import equip
from onnxprune.errors import UsageError
from onnxprune.model.random import seeded
from onnxprune.results.providers import CPU, CUDA, Threads, count, name_of, short_provider

ROUNDS_WEIGHTS = "WeightBiasQuantization"
"""An optimisation of the runtime."""


SETTINGS = {
    # numbers have all bits of a float32, and no clock chooses a kernel: the same comes again
    CUDA: {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"},
}
"""Of providers, where they are not the runtime's own."""


def open_session(model: onnx.ModelProto | Path, threads: Threads = 0, *, literal: bool = True) -> Any:
    """An InferenceSession, silent, with the sparse operators if the model has some. `threads`: of the CPU, 0 leaves
    their number to the runtime; or another provider, where nodes that it does not know run on the CPU. Nodes that draw
    numbers get seeds, so that two sessions draw the same. `literal`: weights in float stay what they are; next to
    quantised inputs the runtime would round them.

    Models above 2 GB go by path. Raises UsageError if another provider than the CPU cannot be used.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = count(threads)
    # of many sessions for short stretches, threads would spend more time waiting busily than computing
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    equip(options, model)
    source = str(model) if isinstance(model, Path) else seeded(model).SerializeToString()
    how: dict[str, Any] = {"disabled_optimizers": [ROUNDS_WEIGHTS] if literal else None}
    provider = name_of(threads)
    if provider == CPU:
        return onnxruntime.InferenceSession(source, options, providers=[CPU], **how)
    return _elsewhere(provider, source, options, how)


def _elsewhere(provider: str, source: str | bytes, options: Any, how: dict[str, Any]) -> Any:
    """A session that is on `provider`, or none: the runtime would go on without it, and print that."""
    import onnxruntime

    listed = [(provider, SETTINGS.get(provider, {})), CPU]
    try:
        session = onnxruntime.InferenceSession(source, options, providers=listed, enable_fallback=False, **how)
    except Exception as error:  # onnxruntime raises many types
        raise _unusable(provider, first_line(error)) from error
    used = session.get_providers()[0]
    if used != provider:
        raise _unusable(provider, f"ONNX Runtime fell back to {used}")
    return session


def _unusable(provider: str, why: str) -> UsageError:
    name = short_provider(provider)
    return UsageError(
        f"--provider {name!r} cannot be used here: {why}.",
        hint="Its driver and libraries must be there, in the versions that this ONNX Runtime was built for "
        "(https://onnxruntime.ai/docs/execution-providers), and memory for the model; or leave out --provider.",
    )


def first_line(error: Exception) -> str:
    """Of what it says; of one that says nothing, what it is."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__


def require_provider(threads: Threads) -> None:
    """Raise UsageError if no session can be opened there."""
    value = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "probe", value[:1], value[1:])
    opset = helper.make_opsetid("", 13)
    open_session(helper.make_model(graph, opset_imports=[opset], ir_version=7), threads)
