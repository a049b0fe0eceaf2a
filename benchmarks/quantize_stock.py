"""ONNX Runtime's own quantiser, on one model; in a process of its own, since it may take much memory.

usage: python benchmarks/quantize_stock.py MODEL SAMPLES.npz WAY OUT

Prints a line of JSON: {"samples": how many were used} or {"error": the last line of what it said}. LABELS says what
ways there are. Each is run as its manual says: opset, `quant_pre_process`, then the quantiser. Calibrators that draw
histograms keep every activation of every sample until the last: they get as many samples as fit into BUDGET.
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from downstream_tools import pre_process, session
from onnx import version_converter

Feed = dict[str, np.ndarray]
BUDGET = 4 * 10**9
"""Bytes of activations that a calibrator may keep."""
COPIES = 3
"""Of the activations of one value, all samples: joined, flattened, their absolute values."""
LEAST_OPSET, OPSET = 13, 17
"""Below the first, scales per channel give a file that no runtime takes; the converter then goes to the second."""


PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
DYNAMIC = "dynamic"


@dataclass(frozen=True)
class Static:
    """Which calibrator, with which options, and which operators become integers; () for all that the quantiser knows.

    The third calibrator, Entropy, is not among them: it gives what MinMax gives. Its defaults (128 bins, 128 levels),
    which `quantize_static` has no option for, leave it one range to choose from: all that was seen.
    """

    label: str
    calibration: str
    options: Mapping[str, float]
    operators: tuple[str, ...]


def _ways(slug: str, label: str, calibration: str, **options: float) -> dict[str, Static]:
    return {
        f"{slug}-all": Static(f"{label}, all operators", calibration, options, ()),
        f"{slug}-products": Static(f"{label}, products only", calibration, options, PRODUCTS),
    }


STATIC = {
    **_ways("minmax", "MinMax", "MinMax"),
    **_ways("percentile", "Percentile 99.999", "Percentile"),
    **_ways("percentile9999", "Percentile 99.99", "Percentile", CalibPercentile=99.99),
}
LABELS = {**{way: how.label for way, how in STATIC.items()}, DYNAMIC: "dynamic"}


class Reader:
    """Samples one by one, as the calibrators ask for them."""

    def __init__(self, feeds: Sequence[Feed]) -> None:
        self.left = iter(feeds)

    def get_next(self) -> Feed | None:
        return next(self.left, None)


def affordable(sizes: Sequence[int], count: int, budget: int = BUDGET) -> int:
    """How many of `count` samples a calibrator can have whose values take `sizes` bytes each, of one sample."""
    one = sum(sizes) + COPIES * max(sizes, default=0)
    return max(1, min(count, budget // one)) if one else count


def feeds_of(model: Path, data: Path) -> list[Feed]:
    """The samples, in batches of one, or of what the model wants."""
    arrays = dict(np.load(data))
    batch = session(model).get_inputs()[0].shape[0]
    step = batch if isinstance(batch, int) else 1
    count = len(next(iter(arrays.values())))
    return [
        {name: array[start : start + step] for name, array in arrays.items()}
        for start in range(0, count - step + 1, step)
    ]


def prepared(model: Path, folder: Path) -> Path:
    """The model as the quantiser wants it: of an opset that knows scales per channel, with constants folded."""
    source, out = model, folder / "prepared.onnx"
    proto = onnx.load(model)
    if next(one.version for one in proto.opset_import if one.domain in ("", "ai.onnx")) < LEAST_OPSET:
        source = folder / "converted.onnx"
        onnx.save(version_converter.convert_version(proto, OPSET), source)
    pre_process(source, out)
    return out


def sizes_of(model: Path, how: Static, feed: Feed, folder: Path) -> list[int]:
    """Bytes of each value that a calibrator with histograms keeps, for one sample."""
    from onnxruntime.quantization.calibrate import CalibrationMethod, create_calibrator

    method = getattr(CalibrationMethod, how.calibration)
    out = str(folder / "augmented.onnx")
    calibrator = create_calibrator(model, how.operators, augmented_model_path=out, calibrate_method=method)
    return [array.nbytes for array in calibrator.infer_session.run(None, feed)]


def static(model: Path, data: Path, how: Static, out: Path, folder: Path) -> int:
    """Bytes for activations, signed bytes for weights, a scale for every channel: the most that x86 has kernels for."""
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    feeds = feeds_of(model, data)
    if how.calibration != "MinMax":  # that one keeps least and greatest values only
        feeds = feeds[: affordable(sizes_of(model, how, feeds[0], folder), len(feeds))]
    quantize_static(
        str(model),
        str(out),
        Reader(feeds),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=list(how.operators) or None,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=getattr(CalibrationMethod, how.calibration),
        extra_options=dict(how.options),
    )
    return len(feeds)


def made(model: Path, data: Path, way: str, out: Path) -> dict[str, Any]:
    """Write `out`; what main prints. Raises whatever the quantiser raises."""
    from onnxruntime.quantization import quantize_dynamic

    with tempfile.TemporaryDirectory(prefix="onnxprune-stock-") as text:
        folder = Path(text)
        ready = prepared(model, folder)
        if way == DYNAMIC:
            quantize_dynamic(str(ready), str(out))
            count = 0
        else:
            count = static(ready, data, STATIC[way], out, folder)
    session(out)
    return {"samples": count}


def main() -> None:
    logging.disable()
    model, data, way, out = sys.argv[1:]
    try:
        found = made(Path(model), Path(data), way, Path(out))
    except Exception as reason:  # of all kinds
        lines = [line.strip() for line in str(reason).splitlines() if line.strip()]
        found = {"error": lines[-1][:200] if lines else type(reason).__name__}
    sys.stdout.write("\n" + json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
