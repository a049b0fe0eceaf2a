"""What was done so that what is left gives the old outputs: layer by layer, and with all weights together."""

from __future__ import annotations

from dataclasses import dataclass

from onnxprune.results.shown import OneLine
from onnxprune.results.units import plural


@dataclass(frozen=True, repr=False)
class LayerRepair(OneLine):
    """A refitted layer. Errors are on held-out samples, relative to the power of its target; of scale and shift: the
    distance of means and deviations.

    Attributes:
        name: Of the layer.
        error_before: As cut.
        error_after: After the fit.
        ridge: The pull towards the old weights that was best, relative to the mean power of the inputs; 0 if the layer
            kept its weights, because no fit was better.
    """

    name: str
    error_before: float
    error_after: float
    ridge: float

    @property
    def kept(self) -> bool:
        """Whether it has its old weights."""
        return self.ridge == 0


@dataclass(frozen=True, repr=False)
class SkippedLayer(OneLine):
    """A layer that lost inputs and could not be repaired.

    Attributes:
        name: Of the layer.
        reason: Why not.
    """

    name: str
    reason: str


@dataclass(frozen=True, repr=False)
class ReconstructionSummary(OneLine):
    """What adjusting all weights together did. Errors are the root mean square of those of the outputs (before the
    final activation) on held-out samples, relative to their standard deviation.

    Attributes:
        steps: How many; 0 if the weights stayed as least squares left them.
        error_before: Before the first step.
        error_after: After the last.
        frozen_weights: How many weights no gradient reaches.
        reason: Why there was no step; None if there was one.
    """

    steps: int
    error_before: float
    error_after: float
    frozen_weights: int
    reason: str | None = None


@dataclass(frozen=True, repr=False)
class RepairSummary(OneLine):
    """What was repaired.

    Attributes:
        method: "least squares", "scale and shift", "bias correction", "merging" or "reconstruction".
        corrected_layers: How many got new weights (least squares), two new numbers per channel (scale and shift) or a
            new bias (bias correction).
        skipped: Layers that could not be repaired.
        layers: The problems of least squares (or scale and shift), in order.
        bias_corrected: How many of the skipped ones got a new bias at least.
        reconstruction: Of all weights together; None with other methods.
    """

    method: str
    corrected_layers: int
    skipped: tuple[SkippedLayer, ...] = ()
    layers: tuple[LayerRepair, ...] = ()
    bias_corrected: int = 0
    reconstruction: ReconstructionSummary | None = None

    @property
    def layerwise(self) -> str:
        """What was done layer by layer: the method without the reconstruction that followed."""
        return self.method if self.reconstruction is None else "least squares"

    @property
    def skipped_layers(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(layer.name for layer in self.skipped)

    @property
    def worst(self) -> LayerRepair | None:
        """The layer with the largest error left; None where none was refitted."""
        return max(self.layers, key=lambda layer: layer.error_after, default=None)

    @property
    def kept(self) -> tuple[str, ...]:
        """Layers that no fit made better."""
        return tuple(layer.name for layer in self.layers if layer.kept)

    def _words(self) -> str:
        return f"{self.method}: {plural(self.corrected_layers, 'layer')} corrected, {len(self.skipped)} skipped"
