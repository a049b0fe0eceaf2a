"""What `make demo` shows: the example model before and after, and what ratio and repair do to its accuracy.

usage: python scripts/demo.py ORIGINAL PRUNED TEST_DATA SAMPLES
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

import onnxprune

RATIOS = (0.1, 0.2, 0.3)
REPAIRS = (("least-squares", True), ("bias", False), ("none", False))
"""Kinds of repair, and whether samples are used."""


def accuracy(model: Path, images: NDArray[Any], labels: NDArray[Any]) -> float:
    """Share of the images that the model classifies correctly, in percent."""
    session = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    logits = np.asarray(session.run(None, {"image": images})[0])
    return float(np.mean(logits.argmax(axis=1) == labels)) * 100


def before_and_after(original: Path, pruned: Path, images: NDArray[Any], labels: NDArray[Any]) -> None:
    """Two columns: the file as it was and as `onnxprune shrink` left it."""
    a, b = (onnxprune.inspect(path).model for path in (original, pruned))
    rows = [
        ("file", f"{a.size_bytes / 1e3:.0f} kB", f"{b.size_bytes / 1e3:.0f} kB"),
        ("parameters", f"{a.parameters:,}", f"{b.parameters:,}"),
        ("MACs per image", f"{a.macs:,}", f"{b.macs:,}"),
        ("accuracy", *(f"{accuracy(path, images, labels):.1f} %" for path in (original, pruned))),
    ]
    print(f"{'':16}{'before':>12}{'after':>12}")
    for name, first, second in rows:
        print(f"{name:16}{first:>12}{second:>12}")


def table(original: Path, samples: Path, images: NDArray[Any], labels: NDArray[Any]) -> None:
    """Accuracy by ratio: refitted on samples, and without data with and without the repair of biases."""
    print(f"{'--ratio':8}{'MACs left':>10}{'with --data':>16}{'without':>16}{'--repair none':>16}")
    with tempfile.TemporaryDirectory(prefix="onnxprune-demo-") as folder:
        for ratio in RATIOS:
            line = []
            for repair, data in REPAIRS:
                out = Path(folder) / f"{ratio}-{repair}.onnx"
                result = onnxprune.shrink(original, out, ratio=ratio, repair=repair, data=samples if data else None)
                line.append(f"{accuracy(out, images, labels):.1f} %")
            assert result.after is not None
            left = result.after.macs / result.before.macs
            print(f"{ratio:<8}{f'{left:.0%}':>10}" + "".join(f"{cell:>16}" for cell in line))


def main() -> None:
    original, pruned, data, samples = (Path(argument) for argument in sys.argv[1:5])
    with np.load(data) as file:
        images, labels = file["image"], file["label"]
    print(f"Before and after, accuracy on {len(labels)} test images that training never saw:\n")
    before_and_after(original, pruned, images, labels)
    print(
        "\nNothing was trained again, so accuracy goes down; how much depends on the ratio and on the repair. With\n"
        "--data (unlabelled samples) weights that read removed channels are refitted; without, the average of what\n"
        "was removed moves into the biases after it. With samples, other channels are chosen, too.\n"
    )
    table(original, samples, images, labels)
    print(f"\nThe original has {accuracy(original, images, labels):.1f} %. Next: .venv/bin/onnxprune --help, README.md")


if __name__ == "__main__":
    main()
