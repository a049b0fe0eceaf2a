"""Plans: made from masks, read from JSON, and held against the model that they were made for.

Everything that follows the choice (dry run, review, cut, proof, provenance) reads the plan and nothing else of it. A
plan belongs to one model (by SHA-256) and to one way of tracing (`units`); groups are found again by name and size.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.cut.plan_parts import (
    group_of,
    list_of,
    names_of,
    object_of,
    options_of,
    quantization_of,
    sparsity_of,
    text_of,
)
from onnxprune.errors import PlanError, UsageError
from onnxprune.options.recorded import kind
from onnxprune.results.plan import VERSION as VERSION
from onnxprune.results.plan import GroupPlan as GroupPlan
from onnxprune.results.plan import Plan as Plan
from onnxprune.results.plan import SparsePlan as SparsePlan
from onnxprune.results.plan import SparseWeight as SparseWeight
from onnxprune.trace.groups import Group, Trace
from onnxprune.trace.whole import may_leave_whole

MAX_BYTES = 256 << 20


def of_masks(trace: Trace, groups: Sequence[Group], keep: Sequence[NDArray[np.bool_]], **rest: Any) -> Plan:
    """The plan that keeps what the masks keep (one per group, over its units). Untouched groups are left out."""
    entries = [
        GroupPlan(group.name, group.size, tuple(np.flatnonzero(~mask).tolist()))
        for group, mask in zip(groups, keep, strict=True)
        if not mask.all()
    ]
    return Plan(trace.graph.model.sha256, tuple(entries), **rest)


def keep_of(plan: Plan, trace: Trace) -> NDArray[np.bool_]:
    """Which units stay, (unit_count,), unit 0 included. Raises PlanError where the plan does not fit the trace."""
    keep = np.ones(trace.unit_count, bool)
    known = {group.name: group for group in trace.prunable}
    whole = any(len(entry.removed) >= entry.size for entry in plan.groups)
    free = may_leave_whole(trace) if whole else frozenset()
    for entry in plan.groups:
        group = known.get(entry.name)
        if group is None or group.size != entry.size:
            found = "is not prunable here" if group is None else f"has {group.size} indices here"
            raise PlanError(f"the plan removes from group {entry.name!r} of {entry.size} indices, which {found}")
        if len(entry.removed) >= group.size and entry.name not in free:
            raise PlanError(f"the plan removes all {group.size} indices of group {entry.name!r}")
        keep[group.units[list(entry.removed)]] = False
    keep[[_unit_of(trace, name) for name in plan.blocks]] = False
    return keep


def _unit_of(trace: Trace, name: str) -> int:
    """The unit of a residual block. Raises PlanError for one that cannot leave."""
    for unit, branch in trace.removable_branches:
        if branch.name == name:
            return unit
    pin = next((branch.pin for branch in trace.branches if branch.name == name), None)
    raise PlanError(f"the plan removes block {name!r}, which {f'stays: {pin}' if pin else 'is not one of this model'}")


def check_source(plan: Plan, trace: Trace) -> None:
    """A plan applies only to the model it was made for."""
    if plan.source_sha256 != trace.graph.model.sha256:
        raise PlanError(
            f"the plan was made for another model: it names SHA-256 {plan.source_sha256[:12]}..., "
            f"this model has {trace.graph.model.sha256[:12]}...",
            hint="Make a new plan with --dry-run --save-plan, or give the model that the plan was made for.",
        )


def read(path: Path) -> Plan:
    """Read a plan file. Raises UsageError if there is none, PlanError for everything else that is wrong with it."""
    try:
        if not path.is_file():
            raise UsageError(f"plan {path} is not a file" if path.exists() else f"plan {path} does not exist")
        if path.stat().st_size > MAX_BYTES:
            raise PlanError(f"plan {path} has {path.stat().st_size} bytes; plans are far smaller")
        return replace(parse(path.read_text("utf-8"), str(path)), path=path)
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError(f"plan {path} cannot be read: {error}") from error


def parse(text: str, where: str = "plan") -> Plan:
    """Read a plan from JSON text; see `read`."""
    try:
        data = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise PlanError(f"{where} is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise PlanError(f"{where} is not a plan: an object is expected, found {kind(data)}")
    if data.get("version") != VERSION:
        raise PlanError(f"{where} is not a plan of version {VERSION}: found {data.get('version')!r}")
    try:
        groups = tuple(group_of(object_of(entry, "a group")) for entry in list_of(data["groups"], "groups"))
        blocks = names_of(data.get("blocks", []))
        options = options_of(data.get("options", {}))
        sparsity = sparsity_of(object_of(data["sparsity"], "sparsity")) if "sparsity" in data else None
        grids = quantization_of(object_of(data["quantization"], "quantization")) if "quantization" in data else None
        source, units = (text_of(data[key], key) for key in ("source_sha256", "units"))
        plan = Plan(source, groups, units, options, blocks=blocks, sparsity=sparsity, quantization=grids)
    except KeyError as error:
        raise PlanError(f"{where} is not a valid plan: {error} is missing") from error
    except (TypeError, ValueError) as error:
        raise PlanError(f"{where} is not a valid plan: {error}") from error
    if len({g.name for g in groups}) != len(groups):
        raise PlanError(f"{where} names a group twice")
    if len(set(plan.blocks)) != len(plan.blocks):
        raise PlanError(f"{where} names a block twice")
    return plan
