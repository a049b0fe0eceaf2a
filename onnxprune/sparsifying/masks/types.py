"""What is asked of masking, and what comes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from onnxprune.choose.schedule import ONE_SHOT
from onnxprune.model.load import Model
from onnxprune.results import ReconstructionSummary
from onnxprune.sparse.masks import Mask
from onnxprune.sparse.patterns import UNSTRUCTURED, Pattern

SCOPES = ("local", "global")
REPAIRS = ("none", "least-squares", "reconstruct")


@dataclass(frozen=True)
class MaskRequest:
    """sparsity: the share of the weights of the chosen layers that becomes zero; layers with an N:M pattern lose what
    the pattern says. scope: local, the same share of each layer; global, by error (or magnitude) over all of them.

    patterns: by weight, where a layer has another pattern; dense: weight -> why it stays dense. Weights are named as in
    `candidates`. integers: which of them DequantizeLinear makes of integers, with the initializer of these; other
    layers of integers stay as they are. locked: zeros that the model has stay zero. schedule, steps: as in
    `onnxprune.choose.schedule`. effort: times the usual steps of reconstruction.
    """

    sparsity: float
    pattern: Pattern = UNSTRUCTURED
    method: str = "magnitude"
    scope: str = "local"
    repair: str = "none"
    patterns: Mapping[str, Pattern] = field(default_factory=dict)
    dense: Mapping[str, str] = field(default_factory=dict)
    integers: Mapping[str, str] = field(default_factory=dict)
    locked: bool = False
    schedule: str = ONE_SHOT
    steps: int = 1
    seed: int = 0
    effort: float = 1.0


@dataclass(frozen=True)
class MaskedLayer:
    """One layer: `size` weights, of which `kept` stay. Errors are those of its output on held-out samples, squared and
    relative to the variance in the original: right after masking, and of the result. None without data.

    reason: why it stays dense, else None.
    """

    node: str
    weight: str
    pattern: Pattern
    size: int
    kept: int
    error_masked: float | None = None
    error: float | None = None
    reason: str | None = None

    @property
    def sparsity(self) -> float:
        """The share of its weights that is zero by the mask."""
        return 1.0 - self.kept / self.size if self.size else 0.0


@dataclass(frozen=True)
class Masked:
    """model: with zeros, and the other weights refitted; weights that were values of nodes are initializers in it.

    masks: by initializer of `model`, in its shape.
    """

    model: Model
    masks: Mapping[str, Mask]
    layers: tuple[MaskedLayer, ...]
    reconstruction: ReconstructionSummary | None = None

    @property
    def sparsity(self) -> float:
        """The share of the weights of the masked layers that is zero by the masks."""
        size = sum(layer.size for layer in self.layers if layer.reason is None)
        return 1.0 - sum(layer.kept for layer in self.layers if layer.reason is None) / size if size else 0.0
