"""What became of layers that were quantised: plain values. Units are in the names."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from onnxprune.results.proof import ProofSummary
from onnxprune.results.repair import ReconstructionSummary
from onnxprune.results.shown import OneLine
from onnxprune.results.units import format_percent, plural

FLOAT = "float32"


@dataclass(frozen=True, repr=False)
class QuantizedLayer(OneLine):
    """A node that multiplies by a weight, or has kernels for integers.

    Attributes:
        node: Its name.
        operator: What it is: "Conv", ...
        kind: "layer" (it multiplies by a weight or another value), "step" (it computes between layers) or "move" (it
            gives what it was given).
        precision: In what it computes, or its weight is stored: "int8", "int4", "float16" or "float32".
        weight: Name of its weight; None if it has none.
        error: Of the outputs if this one alone is quantised, squared and relative to their variance; None if it was not
            measured.
        reason: Why it stays as it was; None if it does not.
    """

    node: str
    operator: str
    kind: str
    precision: str
    weight: str | None = None
    error: float | None = None
    reason: str | None = None

    @property
    def quantized(self) -> bool:
        """Whether it is not what it was."""
        return self.reason is None and self.precision != FLOAT


@dataclass(frozen=True, repr=False)
class OutputSummary(OneLine):
    """The outputs of a file with operators on integers, beside those of the same file with quantisers.

    Attributes:
        numbers: How many were compared.
        differing: How many of them are not the same.
        farthest: The largest root mean square of the differences of an output, relative to its own.
    """

    numbers: int
    differing: int
    farthest: float

    def _words(self) -> str:
        return f"{self.differing} of {plural(self.numbers, 'number')} differ"


@dataclass(frozen=True, repr=False)
class GridSummary(OneLine):
    """What was shown of the integers in a file.

    Attributes:
        values: How many activations are on grids.
        integers: How many numbers in them were compared with what the original gives on the same grids.
        differing: How many of these were another integer.
        most_steps: By how many steps at most.
        moved_steps: How far a weight is from the original's at most, in steps of its grid: half a step where it was
            rounded to the nearest.
        cases: The inputs on which they were compared, in words.
        untold: Values whose scale could be wrong without anybody noticing: they are the same for all these inputs.
        refused: Checks of onnx that the original does not pass either; nor does the result.
        outputs: Of a file with operators on integers, beside the same file with quantisers; None of others.
    """

    values: int
    integers: int
    differing: int
    most_steps: int
    moved_steps: float
    cases: tuple[str, ...]
    untold: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    outputs: OutputSummary | None = None

    def _words(self) -> str:
        on = plural(len(self.cases), "input")
        return f"{self.integers} integers on {on}, {self.differing} differ, by {self.most_steps} steps at most"


@dataclass(frozen=True, repr=False)
class Sensitivities(OneLine):
    """What 8-bit integers would cost the layers of a model, on ranges that samples show.

    Attributes:
        samples: On how many of them the errors were measured.
        layers: All layers: `precision` is what they could be in, `error` what that costs the outputs, `reason` why it
            could not be.
        together: The error with all of them in integers, and what lies between them, before any repair; None if none
            can be.
    """

    samples: int
    layers: tuple[QuantizedLayer, ...]
    together: float | None

    @property
    def able(self) -> tuple[QuantizedLayer, ...]:
        """Layers that could be in integers."""
        return tuple(layer for layer in self.layers if layer.quantized)

    @property
    def words(self) -> str:
        """In a sentence."""
        text = f"{len(self.able)} of {plural(len(self.layers), 'layer')} can be in int8"
        if self.together is None:
            return text
        return f"{text}: {format_percent(self.together)} of the outputs' variance all together, before any repair"

    def _words(self) -> str:
        return self.words


@dataclass(frozen=True, repr=False)
class SmallWeights(OneLine):
    """What a file was found to have of weights in fewer bits.

    Attributes:
        scheme: "dynamic" or "weights".
        weights: How many there are.
        size: How many numbers they have in all.
        moved: How far one of them is from the original's at most, as a share of its norm.
        farthest: Its name.
        proof: That the file computes what a float model with these weights does.
    """

    scheme: str
    weights: int
    size: int
    moved: float
    farthest: str
    proof: ProofSummary

    def _words(self) -> str:
        return f"{self.scheme}: {plural(self.weights, 'weight')} in fewer bits, {self.proof.status}"


@dataclass(frozen=True, repr=False)
class Executed(OneLine):
    """What ONNX Runtime makes of the file here.

    Attributes:
        kernels: Operator -> how many nodes of it there are once the graph is optimised.
        integers: How many layers run on integers.
        floats: Layers that are quantised in the file, and run with floats here.
    """

    kernels: dict[str, int]
    integers: int
    floats: tuple[str, ...] = ()


@dataclass(frozen=True, repr=False)
class QuantizationSummary(OneLine):
    """What became of the layers.

    Attributes:
        scheme: "static", "dynamic" or "weights".
        form: "qdq" or "qoperator"; None with another scheme than static.
        weights: Type of the weights: "int8", "int4", "float16".
        ranges: How ranges of activations were chosen; None if there are none.
        layers: All of them, and the steps and moves between them.
        reconstruction: Of all weights together, on their grids; None without data, or with another repair.
        proof: Of the integers in the file; None where none was written, or where weights alone are.
        equality: The file computes what a float model with its weights does; None with the scheme static, or where none
            was written.
        executed: What the runtime makes of it; None where none was written.
        notes: Remarks.
    """

    scheme: str
    form: str | None
    weights: str
    ranges: str | None
    layers: tuple[QuantizedLayer, ...]
    reconstruction: ReconstructionSummary | None = None
    proof: GridSummary | None = None
    equality: ProofSummary | None = None
    executed: Executed | None = None
    notes: tuple[str, ...] = ()

    @property
    def quantized_layers(self) -> tuple[QuantizedLayer, ...]:
        """Layers that are not what they were; steps and moves do not count."""
        return tuple(layer for layer in self.layers if layer.kind == "layer" and layer.quantized)

    @property
    def all_layers(self) -> tuple[QuantizedLayer, ...]:
        """Layers, without steps and moves."""
        return tuple(layer for layer in self.layers if layer.kind == "layer")

    @property
    def counted(self) -> str:
        """How many layers are in what: "12 of 13 layers in int4, 1 in int8"."""
        kinds = Counter(layer.precision for layer in self.quantized_layers).most_common()
        if not kinds:
            return f"none of {plural(len(self.all_layers), 'layer')} quantised"
        (first, count), *others = kinds
        rest = "".join(f", {more} in {kind}" for kind, more in others)
        return f"{count} of {plural(len(self.all_layers), 'layer')} in {first}{rest}"

    def _words(self) -> str:
        return f"{self.scheme}: {self.counted}"
