"""What a call asks of quantisation, once defaults are filled in and contradictions refused."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from onnx import TensorProto

from onnxprune.choose.request import AUTO as AUTO
from onnxprune.choose.request import GIVE_DATA, effort_of, usual
from onnxprune.errors import UsageError
from onnxprune.options.declare import plain, recorded, values
from onnxprune.options.quantizing import Quantizing
from onnxprune.quantizing.limits import Limits
from onnxprune.quantizing.processor import ARM, VNNI, X86, this_processor
from onnxprune.quantizing.static import Types
from onnxprune.quantizing.weights import WeightRequest
from onnxprune.results.units import listed

STATIC, DYNAMIC, WEIGHTS = "static", "dynamic", "weights"
RANGED = (AUTO, STATIC)
"""Schemes that need the ranges of activations."""
INT8 = "int8"
QDQ, QOPERATOR = "qdq", "qoperator"
RECONSTRUCT, NONE = "reconstruct", "none"
TYPES = {
    VNNI: Types(),
    X86: Types(reduced=True),
    ARM: Types(activations=TensorProto.INT8),
}


@dataclass(frozen=True)
class QuantizeRequest:
    """`scheme`, `weights` and `device` are never None; `repair` is one of the methods."""

    scheme: str
    weights: str
    block: int
    ranges: str
    device: str
    repair: str
    limits: Limits = field(default_factory=Limits)
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    form: str = QDQ
    seed: int = 0
    effort: float = 1.0
    asked: Quantizing = field(default_factory=Quantizing)  # as given

    @property
    def types(self) -> Types:
        return TYPES[self.device]

    @property
    def suffix(self) -> str:
        """Of the file that is written beside the model."""
        return f".{self.weights}.onnx"

    def weights_only(self, kept: dict[str, str]) -> WeightRequest:
        """`kept`: label -> why its weight stays."""
        return WeightRequest(self.weights, self.block, kept=kept)

    def recorded(self, samples: int | None) -> dict[str, Any]:
        """What a plan says of its making: no paths, no names of files."""
        found = values(self.asked) | vars(self) | {"samples": samples}
        left_out = {*(["effort"] if self.effort == 1 else []), *usual(self.asked)}
        return {name: plain(found[name]) for name in recorded(Quantizing) if name not in left_out}


def resolve_quantization(options: Quantizing, *, with_data: bool) -> QuantizeRequest:
    """Raises UsageError for options that contradict each other or need data that is not there."""
    scheme = options.scheme or (AUTO if with_data and options.weights in (None, INT8) else WEIGHTS)
    if scheme in RANGED and not with_data:
        raise UsageError(
            f"--scheme {scheme} needs the ranges of activations, and there is no data to show them.",
            hint=f"{GIVE_DATA}, or store weights alone: --scheme weights.",
        )
    weights = options.weights or INT8
    if scheme != WEIGHTS and weights != INT8:
        raise UsageError(
            f"--scheme {scheme} computes with int8; --weights {weights} has no kernels for it.",
            hint=f"Leave out --weights, or store weights alone: --scheme weights --weights {weights}.",
        )
    if options.form != QDQ and scheme not in RANGED:
        raise UsageError(
            f"--form {options.form} has operators on integers of fixed ranges; --scheme {scheme} has none.",
            hint="Leave out --form, or take --scheme static with --data.",
        )
    repair = _repair(options.repair, scheme, with_data)
    return QuantizeRequest(
        scheme,
        weights,
        options.block,
        options.ranges,
        options.device or this_processor(),
        repair,
        Limits.checked(options.max_drop, options.min_agreement, options.max_error, with_data=with_data),
        listed(options.include),
        listed(options.exclude),
        options.form,
        options.seed,
        effort_of(options, repair),
        options,
    )


def _repair(asked: str, scheme: str, with_data: bool) -> str:
    if asked == AUTO:
        return RECONSTRUCT if with_data and scheme in RANGED else NONE
    if asked != NONE and not with_data:
        raise UsageError(f"--repair {asked} needs calibration data.", hint=f"{GIVE_DATA}, or take --repair none.")
    if asked != NONE and scheme not in RANGED:
        raise UsageError(
            f"--repair {asked} has no effect with --scheme {scheme}: weights are rounded one layer after the other.",
            hint="Leave out --repair.",
        )
    return asked
