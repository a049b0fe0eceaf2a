"""A request, checked against itself, the samples and the model."""

from __future__ import annotations

from collections.abc import Sequence

from onnxprune.capture.samples import Samples
from onnxprune.choose.schedule import ONE_SHOT, SCHEDULES
from onnxprune.errors import UsageError, nearest
from onnxprune.sparsifying.masks.layers import Candidate
from onnxprune.sparsifying.masks.registry import Method, get
from onnxprune.sparsifying.masks.types import REPAIRS, SCOPES, MaskRequest

GIVE_DATA = "Give samples with --data (a .npz, a folder, ..., or random)"


def checked(request: MaskRequest, samples: Samples | None) -> Method:
    """The method of the request. Raises UsageError for what contradicts itself or needs samples that are not there."""
    method = get(request.method)
    for what, found, known in (("scope", request.scope, SCOPES), ("repair", request.repair, REPAIRS)):
        if found not in known:
            raise UsageError(f"--{what} is {', '.join(known[:-1])} or {known[-1]}, found {found!r}")
    if not 0.0 <= request.sparsity < 1.0:  # NaN too
        raise UsageError(f"--sparsity is a share from 0 to below 1, found {request.sparsity}")
    said = request.pattern.share
    if said is not None and abs(said - request.sparsity) > 1e-6:
        raise UsageError(
            f"the pattern {request.pattern} removes {said:.1%} of the weights, and --sparsity asks for "
            f"{request.sparsity:.1%}",
            hint=f"Leave out --sparsity, or give --sparsity {said:g}.",
        )
    if request.schedule not in SCHEDULES or request.steps < 1 or (request.schedule == ONE_SHOT and request.steps > 1):
        raise UsageError(f"there is no schedule {request.schedule!r} of {request.steps} steps")
    if samples is None and method.needs_data:
        raise UsageError(
            f"method {request.method!r} judges weights by calibration data, and there is none.",
            hint=f"{GIVE_DATA}, or choose by the weights alone: --method magnitude.",
        )
    if samples is None and request.repair != "none":
        raise UsageError(
            f"--repair {request.repair} needs calibration data.", hint=f"{GIVE_DATA}, or take --repair none."
        )
    return method


def fitting(request: MaskRequest, layers: Sequence[Candidate]) -> None:
    """Raises UsageError if the request names a weight that no layer has."""
    known = [layer.weight for layer in layers]
    for name in [*request.patterns, *request.dense]:
        if name not in known:
            near = nearest(name, known)
            raise UsageError(f"no layer has the weight {name!r}", hint=f"Did you mean {near[0]!r}?" if near else None)
