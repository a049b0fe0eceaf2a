"""What packing and unpacking give back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from onnxprune.results import Fidelity, MetricSummary

PARTS = ("indices", "gaps", "codebooks", "graph", "exact", "container")


@dataclass(frozen=True)
class PackedTensor:
    """One weight. `how` is shared, int8 or exact; `entries` those of its codebook or the number of its scales;
    `error` ||w - w'|| / ||w||; `after_bytes` None: stored together with others. `reason`: why it is exact.
    """

    name: str
    kind: str | None
    shape: tuple[int, ...]
    how: str
    entries: int
    zeros: float
    before_bytes: int
    after_bytes: int | None
    error: float
    reason: str | None = None


@dataclass(frozen=True)
class PackResult:
    """sha256: of the model that was packed; unpacked_sha256: of what `unpack` gives (the same if `lossless`).
    Digests are over the model file, then its data files. parts: bytes by what they are for (PARTS). fidelity: None if
    there were no samples: then it is not known.
    """

    name: str
    size_bytes: int
    sha256: str
    unpacked_sha256: str
    packed_bytes: int
    parts: dict[str, int]
    tensors: tuple[PackedTensor, ...]
    weights: str
    fidelity: Fidelity | None
    metric: MetricSummary | None
    written: tuple[Path, ...]
    notes: tuple[str, ...]
    seconds: dict[str, float]

    @property
    def lossless(self) -> bool:
        return self.sha256 == self.unpacked_sha256


@dataclass(frozen=True)
class UnpackResult:
    """sha256: of the files written; original_sha256: of the model that was packed."""

    name: str
    packed_bytes: int
    size_bytes: int
    sha256: str
    original_sha256: str
    written: tuple[Path, ...]
    seconds: dict[str, float]

    @property
    def lossless(self) -> bool:
        return self.sha256 == self.original_sha256
