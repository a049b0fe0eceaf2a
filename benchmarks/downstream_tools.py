"""Tools that take ONNX files, tried on one file; in a process of its own, since a tool may crash.

usage: python benchmarks/downstream_tools.py MODEL TOOL [TOOL ...]

Prints a line of JSON for every tool: {"tool": ..., "error": null or the last line of what it said}. Where a tool writes
a model, ONNX Runtime must load that.
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

SEED, SAMPLES = 0, 2
SIZES = (1, 8, 32, 64, 224, 320)
"""What is tried for sizes that a model leaves open, besides the batch."""
Feed = dict[str, np.ndarray]


def full_check(model: Path, out: Path) -> None:
    onnx.checker.check_model(str(model), full_check=True)


def strict_inference(model: Path, out: Path) -> None:
    onnx.shape_inference.infer_shapes_path(str(model), str(out), check_type=True, strict_mode=True, data_prop=True)


def all_read(model: Path, out: Path) -> None:
    """No initializer that nobody reads."""
    graph = onnx.load(model, load_external_data=False).graph
    read = {value.name for value in graph.output}
    waiting = [graph]
    while waiting:
        for node in waiting.pop().node:
            read.update(node.input)
            for attribute in node.attribute:
                waiting += [attribute.g] if attribute.HasField("g") else list(attribute.graphs)
    unread = [tensor.name for tensor in graph.initializer if tensor.name not in read]
    if unread:
        raise ValueError(f"nobody reads {len(unread)} initializers: {unread[0]}")


def pre_process(model: Path, out: Path) -> None:
    from onnxruntime.quantization.shape_inference import quant_pre_process

    try:
        quant_pre_process(str(model), str(out))
    except Exception:  # symbolic inference knows fewer operators than the rest, and may be left out
        quant_pre_process(str(model), str(out), skip_symbolic_shape=True)


def dynamic(model: Path, out: Path) -> None:
    from onnxruntime.quantization import quantize_dynamic

    quantize_dynamic(str(model), str(out))
    session(out)


def static(model: Path, out: Path) -> None:
    """On what `quant_pre_process` gives, as its manual says; on the model itself where that fails."""
    from onnxruntime.quantization import CalibrationDataReader, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.feeds = iter(feeds(model))

        def get_next(self) -> Feed | None:
            return next(self.feeds, None)

    ready = out.with_name("ready.onnx")
    try:
        pre_process(model, ready)
    except Exception:  # whatever it is, the column of that tool has it
        ready = model
    quantize_static(str(ready), str(out), Reader())
    session(out)


def onnxsim(model: Path, out: Path) -> None:
    import onnxsim as tool

    simple, same = tool.simplify(onnx.load(model))
    if not same:
        raise ValueError("what onnxsim made gives other outputs")
    onnx.save(simple, out)
    session(out)


def onnxslim(model: Path, out: Path) -> None:
    import onnxslim as tool

    tool.slim(str(model), str(out))
    session(out)


def openvino(model: Path, out: Path) -> None:
    import openvino as tool

    core = tool.Core()
    core.compile_model(core.read_model(str(model)), "CPU")


TOOLS: dict[str, Callable[[Path, Path], None]] = {
    "full check": full_check,
    "strict inference": strict_inference,
    "no unread weights": all_read,
    "quant_pre_process": pre_process,
    "quantize_static": static,
    "quantize_dynamic": dynamic,
    "onnxsim": onnxsim,
    "onnxslim": onnxslim,
    "OpenVINO": openvino,
}


def session(model: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def feeds(model: Path) -> list[Feed]:
    """Seeded random inputs of sizes that the model runs with."""
    runs = session(model)
    for size in SIZES:
        found = [dict(_feed(runs, size, SEED + number)) for number in range(SAMPLES)]
        try:
            runs.run(None, found[0])
        except Exception:  # it takes other sizes
            continue
        return found
    raise ValueError("no sizes were found that the model runs with")


def _feed(runs: onnxruntime.InferenceSession, size: int, seed: int) -> Iterator[tuple[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    for value in runs.get_inputs():
        shape = [n if isinstance(n, int) else 1 if axis == 0 else size for axis, n in enumerate(value.shape)]
        if "int" in value.type:
            yield value.name, rng.integers(0, 2, shape).astype(value.type[len("tensor(") : -1])
        elif value.type == "tensor(bool)":
            yield value.name, np.ones(shape, bool)
        else:
            kind = {"tensor(float16)": np.float16, "tensor(double)": np.float64}.get(value.type, np.float32)
            yield value.name, rng.standard_normal(shape).astype(kind)


def main() -> None:
    warnings.simplefilter("ignore")
    logging.disable()
    model = Path(sys.argv[1]).absolute()
    for name in sys.argv[2:]:
        error = None
        with tempfile.TemporaryDirectory() as folder:
            try:
                TOOLS[name](model, Path(folder) / "out.onnx")
            except Exception as reason:  # of all kinds
                lines = [line.strip() for line in str(reason).splitlines() if line.strip()]
                error = lines[-1][:300] if lines else type(reason).__name__
        sys.stdout.write("\n" + json.dumps({"tool": name, "error": error}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
