"""What packing does to a model: everything is decoded again, and what comes out is compared with the original."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxprune.capture.feeding import runnable
from onnxprune.data import open_data
from onnxprune.errors import GateError, UsageError
from onnxprune.measure.fidelity import fidelity
from onnxprune.measure.gate import Gate
from onnxprune.model.load import Model
from onnxprune.model.save import StagedFiles
from onnxprune.model.strangers import require_known
from onnxprune.options.others import PackOptions
from onnxprune.packing.names import data_names
from onnxprune.packing.reader import Packed
from onnxprune.results import Fidelity
from onnxprune.results.clock import Clock

BATCH = 32


@dataclass(frozen=True)
class Comparison:
    """How what was packed is compared with the original."""

    options: PackOptions

    def __post_init__(self) -> None:
        asked = self.options
        if asked.data is None and (asked.preprocess is not None or asked.samples is not None):
            raise UsageError("--preprocess and --samples have no effect without --data.")

    def of(self, packed: Packed, original: Model, gate: Gate | None, clock: Clock) -> Fidelity | None:
        """Decode everything; compare what comes out, if there is something to compare by."""
        asked = self.options
        if asked.data is None and gate is None:
            packed.check()
            return None
        with _unpacked(packed) as candidate:
            clock.start("measure")
            if gate is not None:
                _check(gate, candidate)
            if asked.data is None:
                return None
            require_known(original)
            how: dict[str, Any] = {"preprocess": asked.preprocess, "samples": asked.samples, "seed": asked.seed}
            found = open_data(asked.data, original, **how)
            batches = runnable(original, found).batches(BATCH)
            return fidelity(original, candidate, batches, threads=asked.threads, progress=clock.steps())


def _check(gate: Gate, candidate: Path) -> None:
    drop = gate.drop(candidate)
    if gate.max_drop is not None and not drop <= gate.max_drop:
        raise GateError(
            f"{gate.metric.label} falls by {drop:.4g}, from {gate.before:.4g} to {gate.after:.4g}; "
            f"--max-drop allows {gate.max_drop:.4g}",
            hint="Nothing was written. Allow more --bits, or a smaller --max-error, or --exclude layers.",
        )


@contextlib.contextmanager
def _unpacked(packed: Packed) -> Iterator[Path]:
    """The model of a packed file in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="onnxprune-") as name:
        folder = Path(name)
        names = ["model.onnx", *data_names(packed, folder / "model.onnx")]
        with StagedFiles(folder / names[0], names, force=False, protected=()) as staged:
            for file, chunks in zip(names, packed.files(), strict=True):
                staged.write(file, chunks)
            yield staged.commit()[0]
