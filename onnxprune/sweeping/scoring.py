"""The user's metric of all models of a sweep, here, one after the other; what was scored before is not scored again."""

from __future__ import annotations

import hashlib
from pathlib import Path

from onnxprune.errors import DataError
from onnxprune.measure.metric import Metric
from onnxprune.model.load import Model
from onnxprune.sweeping.folder import SCORES, Folder


class Scores:
    """Values by the digest of the model. `keep`: in the folder, too, by the digest of the metric's file."""

    def __init__(self, metric: Metric, folder: Folder, *, keep: bool) -> None:
        self.metric, self.folder = metric, folder
        self.digest = _code(metric.file) if keep else None
        kept = folder.read(SCORES)
        self.values: dict[str, float] = {}
        if self.digest is not None and (kept.get("metric"), kept.get("sha256")) == (metric.label, self.digest):
            self.values = {key: float(value) for key, value in kept["models"].items()}

    def of(self, sha256: str, model: Model | Path) -> float:
        """The metric of a model, wherever it is. Raises DataError."""
        if sha256 not in self.values:
            self.values[sha256] = self.metric(model)
            if self.digest is not None:
                kept = {"metric": self.metric.label, "sha256": self.digest, "models": self.values}
                self.folder.write(SCORES, kept)
        return self.values[sha256]

    def attempt(self, sha256: str, path: Path) -> tuple[float | None, str | None]:
        """(value, None), or (None, why there is none)."""
        try:
            return self.of(sha256, path), None
        except DataError as error:
            return None, error.message


def _code(file: str | None) -> str | None:
    try:
        return None if file is None else hashlib.sha256(Path(file).read_bytes()).hexdigest()
    except OSError:
        return None
