"""The plan: which indices leave which group, which residual blocks leave, which weights become zero, and which values
are integers on which grids, as plain JSON.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from onnxprune.results.shown import OneLine
from onnxprune.results.units import plural

VERSION = 1


@dataclass(frozen=True, repr=False)
class GroupPlan(OneLine):
    """What leaves one group.

    Attributes:
        name: Of the group.
        size: How many indices it has.
        removed: Positions within the group (0 .. size-1), increasing.
    """

    name: str
    size: int
    removed: tuple[int, ...]

    def _words(self) -> str:
        return f"{self.name}: {len(self.removed)} of {self.size} leave"


@dataclass(frozen=True, repr=False)
class SparseWeight(OneLine):
    """What is left of one weight.

    Attributes:
        weight: Name of the initializer.
        pattern: Its blocks.
        size: How many numbers it has.
        kept: How many of them may be other than zero.
        blocks: In how many blocks of the pattern they are at most (of N:M: at most so many of every M inputs).
    """

    weight: str
    pattern: str
    size: int
    kept: int
    blocks: int


@dataclass(frozen=True, repr=False)
class SparsePlan(OneLine):
    """Which weights of what is left have zeros. Where the zeros are, is in the file: masks are as large as weights.

    Attributes:
        emit: How they are in the file ("operators", "dense-zeros", "sparse-initializers").
        weights: Those that have zeros.
        depthwise: Weights of depthwise convolutions that became operators, dense.
    """

    emit: str
    weights: tuple[SparseWeight, ...]
    depthwise: tuple[str, ...] = ()

    @property
    def reached(self) -> float:
        """The share of these weights that is zero."""
        size = sum(one.size for one in self.weights)
        return 1.0 - sum(one.kept for one in self.weights) / size if size else 0.0


@dataclass(frozen=True, repr=False)
class ValueGrid(OneLine):
    """The integers that an activation is rounded to: x = scale * (q - zero_point).

    Attributes:
        value: Its name.
        type: Of the integers: "uint8", "int8", "uint16" or "int16".
        scale: A float32.
        zero_point: The integer that stands for 0.
    """

    value: str
    type: str
    scale: float
    zero_point: int


@dataclass(frozen=True, repr=False)
class WeightGrid(OneLine):
    """The integers of a weight. Its scales are in the file, of which this is the digest: there is one a channel.

    Attributes:
        weight: Name of the initializer in the original.
        type: Of the integers: "int8", "uint8", "int4", ...
        axis: Along which there is a scale for each index; None if there is one for all.
        block: How many numbers along `axis` share a scale; 0 if there is one for each index.
        digest: 16 hexadecimal digits of the SHA-256 over the scales (float32) and the zero points; with other schemes
            than static, where nothing else fixes them, over the integers first.
    """

    weight: str
    type: str
    axis: int | None
    block: int
    digest: str


@dataclass(frozen=True, repr=False)
class QuantizationPlan(OneLine):
    """Which nodes compute with integers, and on which grids. The integers of weights are in the file.

    Attributes:
        scheme: "static", "dynamic" or "weights".
        nodes: Names of the layers that compute with integers, or whose weights are stored as such.
        values: Activations and their grids; none but with the scheme "static".
        weights: Weights and their grids.
    """

    scheme: str
    nodes: tuple[str, ...]
    values: tuple[ValueGrid, ...] = ()
    weights: tuple[WeightGrid, ...] = ()

    def _words(self) -> str:
        return f"{self.scheme}: {plural(len(self.nodes), 'node')}, {plural(len(self.values), 'value')} on grids"


@dataclass(frozen=True, repr=False)
class Plan(OneLine):
    """What leaves a model. `shrink(..., plan=plan)` removes exactly that.

    Attributes:
        source_sha256: Of the model that it was made for; it applies to no other.
        groups: Those that lose something.
        units: "channels", "heads" or "blocks"; it says what the groups are of.
        options: How it was chosen; of no influence on the cut.
        version: Of its JSON.
        blocks: Names of the residual blocks that leave.
        sparsity: Which weights have zeros; None if none were made zero.
        quantization: Which values are integers; None if none became so.
        path: The file that it was read from; None for any other plan. No part of it: neither compared nor written.
    """

    source_sha256: str
    groups: tuple[GroupPlan, ...]
    units: str = "channels"
    options: dict[str, Any] = field(default_factory=dict)
    version: int = VERSION
    blocks: tuple[str, ...] = ()
    sparsity: SparsePlan | None = None
    quantization: QuantizationPlan | None = None
    path: Path | None = field(default=None, compare=False)

    def to_json(self) -> dict[str, Any]:
        """Plain values, in a fixed order."""
        return {
            "version": self.version,
            "source_sha256": self.source_sha256,
            "units": self.units,
            "options": self.options,
            "groups": [{"name": g.name, "size": g.size, "removed": list(g.removed)} for g in self.groups],
            **({"blocks": list(self.blocks)} if self.blocks else {}),
            **({} if self.sparsity is None else {"sparsity": asdict(self.sparsity)}),
            **({} if self.quantization is None else {"quantization": asdict(self.quantization)}),
        }

    def dumps(self, *, indent: int | None = None) -> str:
        """The text of a plan file.

        Args:
            indent: Spaces a level; None for one line.
        """
        return json.dumps(self.to_json(), indent=indent, sort_keys=False)

    @property
    def digest(self) -> str:
        """Eight hexadecimal digits that name the plan."""
        return hashlib.sha256(self.dumps().encode()).hexdigest()[:8]

    @property
    def removed_count(self) -> int:
        """How many units leave: channels, heads or blocks."""
        return sum(len(g.removed) for g in self.groups) + len(self.blocks)

    def _words(self) -> str:
        parts = [f"{self.removed_count} {self.units} leave"]
        parts += [] if self.sparsity is None else [f"{plural(len(self.sparsity.weights), 'weight')} sparse"]
        parts += [] if self.quantization is None else [f"{plural(len(self.quantization.nodes), 'node')} quantised"]
        return f"{self.digest}: {', '.join(parts)}, for model {self.source_sha256[:12]}"
