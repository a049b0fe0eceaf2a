"""What `make demo` shows: the accuracy of the example model, and what is left of it when 30 % of its MACs are.

usage: python scripts/demo.py      (in a folder that holds models/)
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

import onnxprune

MODEL, SAMPLES, TEST = (Path("models") / name for name in ("digits.onnx", "digits_calib.npz", "digits_test.npz"))
TARGET = "macs=30%"
CUTS: tuple[tuple[str, dict[str, Any], bool], ...] = (
    ("--criterion l1 --repair none", {"criterion": "l1", "repair": "none"}, False),
    ("--criterion l1", {"criterion": "l1"}, False),
    ("--data ... --repair least-squares", {"repair": "least-squares"}, True),
    ("--data ...", {}, True),
)
"""Options of the command, as options of the function, and whether samples are used."""
NOTES = ("naive: cut, nothing else", "similar filters take over", "readers refitted", "all weights adjusted")


def accuracy(model: Path, images: NDArray[Any], labels: NDArray[Any]) -> float:
    """Share of the images that the model classifies correctly, in percent."""
    session = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    logits = np.asarray(session.run(None, {"image": images})[0])
    return float(np.mean(logits.argmax(axis=1) == labels)) * 100


def shared_images(a: NDArray[Any], b: NDArray[Any]) -> int:
    """How many images of `a` are also in `b`."""
    known = {image.tobytes() for image in b}
    return sum(image.tobytes() in known for image in a)


def row(options: str, note: str, left: float, right: float) -> None:
    """One line of the table."""
    print(f"{options:36}{note:26}{left:>9.0%}{right:>9.1f} %", flush=True)


def main() -> None:
    with np.load(TEST) as file:
        images, labels = file["image"], file["label"]
    with np.load(SAMPLES) as file:
        samples = file["image"]
    print(f"onnxprune shrink {MODEL} --target {TARGET}, with")
    print(f"--data {SAMPLES}: {len(samples)} images without labels,")
    print(f"{shared_images(samples, images)} of them among the {len(labels)} test images. Nothing is trained.\n")
    print(f"{'options':36}{'what happens':26}{'MACs':>9}{'accuracy':>11}")
    row("(the original)", "", 1, accuracy(MODEL, images, labels))
    with tempfile.TemporaryDirectory(prefix="onnxprune-demo-") as folder:
        for number, ((options, given, data), note) in enumerate(zip(CUTS, NOTES, strict=True)):
            out = Path(folder) / f"{number}.onnx"
            result = onnxprune.shrink(MODEL, out, target=TARGET, data=SAMPLES if data else None, **given)
            assert result.after is not None
            row(options, note, result.after.macs / result.before.macs, accuracy(out, images, labels))


if __name__ == "__main__":
    main()
