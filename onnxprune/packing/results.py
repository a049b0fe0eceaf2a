"""What packing and unpacking give back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from onnxprune.results import Fidelity, MetricSummary
from onnxprune.results.shown import OneLine, Shown
from onnxprune.results.units import format_bytes, format_percent

PARTS = ("indices", "gaps", "codebooks", "graph", "exact", "container")


@dataclass(frozen=True, repr=False)
class PackedTensor(OneLine):
    """One tensor of a packed file.

    Attributes:
        name: Of the initializer.
        kind: Of the layer that has it as its weight; None of what is no weight.
        shape: Its sizes.
        how: "shared", "int8" or "exact".
        entries: Of its codebook, or the number of its scales; 0 of what is exact.
        zeros: The share of zeros, 0 to 1.
        before_bytes: In the model.
        after_bytes: In the packed file; None if it is stored together with others.
        error: ||w - w'|| / ||w||.
        reason: Why it is exact; None if it is not.
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


@dataclass(frozen=True, repr=False)
class PackResult(Shown):
    """Outcome of `pack`. Digests are over the model file, then its data files.

    Attributes:
        name: Of the model.
        size_bytes: Of the model and its data files.
        sha256: Of the model that was packed.
        unpacked_sha256: Of what `unpack` gives; the same if `lossless`.
        packed_bytes: Of the packed file.
        parts: Bytes by what they are for (PARTS).
        tensors: How each was stored.
        weights: "shared", "int8" or "exact".
        fidelity: How far the outputs are those of the original; None without `data`: then it is not known.
        metric: The user's metric; None without one.
        written: The packed file.
        notes: Remarks.
        seconds: Stage -> how long it took.
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
        """Whether `unpack` gives the very model that was packed."""
        return self.sha256 == self.unpacked_sha256

    def _words(self) -> str:
        share = format_percent(self.packed_bytes / max(self.size_bytes, 1))
        parts = [f"{format_bytes(self.size_bytes)} -> {format_bytes(self.packed_bytes)} ({share})"]
        parts += ["nothing is lost"] if self.lossless else []
        parts += [] if self.metric is None else [self.metric.words]
        quality = None if self.fidelity is None else self.fidelity.words
        parts += [] if quality is None else [quality]
        return f"{self.name}: {', '.join(parts)}; {_where(self.written)}"


@dataclass(frozen=True, repr=False)
class UnpackResult(Shown):
    """Outcome of `unpack`. Digests are over the model file, then its data files.

    Attributes:
        name: Of the packed file.
        packed_bytes: Of the packed file.
        size_bytes: Of the files written.
        sha256: Of the files written.
        original_sha256: Of the model that was packed.
        written: The model first, then its data files.
        seconds: Stage -> how long it took.
    """

    name: str
    packed_bytes: int
    size_bytes: int
    sha256: str
    original_sha256: str
    written: tuple[Path, ...]
    seconds: dict[str, float]

    @property
    def lossless(self) -> bool:
        """Whether it is the very model that was packed."""
        return self.sha256 == self.original_sha256

    def _words(self) -> str:
        what = "identical to the model that was packed" if self.lossless else "the model with its shared weights"
        sizes = f"{format_bytes(self.packed_bytes)} -> {format_bytes(self.size_bytes)}"
        return f"{self.name}: {sizes}, {what}; {_where(self.written)}"


def _where(written: Sequence[Path]) -> str:
    return f"written {', '.join(path.name for path in written)}"
