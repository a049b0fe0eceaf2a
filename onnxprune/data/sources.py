"""`open_data`: from what the user named to a checked Calibration."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.data import function as functions
from onnxprune.data.arrange import by_sizes, counted, with_shared
from onnxprune.data.calibration import Calibration
from onnxprune.data.check import check_shapes, check_symbols, check_values
from onnxprune.data.code import Code, code_of, is_function, loaded
from onnxprune.data.column import Positions
from onnxprune.data.feed import Feed
from onnxprune.data.fit import Raw, fit, takes_pixels
from onnxprune.data.folder import Spooled, choose, read_folder
from onnxprune.data.npy import read_npy, read_npz
from onnxprune.data.preprocess import Preprocess, parse
from onnxprune.data.specs import NAMELESS, InputSpec, check_names, expected, input_specs, name_check
from onnxprune.data.synthetic import DEFAULT_SAMPLES, Random
from onnxprune.errors import DataError, UsageError
from onnxprune.model.container import shown_path
from onnxprune.model.graph import build
from onnxprune.model.infer import infer
from onnxprune.model.load import Model

Arrays = Mapping[str, NDArray[Any]]
Source = str | os.PathLike[str] | Sequence[str] | Arrays | Callable[[], Any]
_FORMS = "Data is calib.npz, x=a.npy, a folder of images or arrays, file.py:function, or random."


def open_data(
    text: Source, model: Model, *, preprocess: str | None = None, samples: int | None = None, seed: int = 0
) -> Calibration:
    """Open calibration data and check that all of it fits `model`.

    text: `calib.npz`; `x=a.npy` (one per input, as a sequence); a .npy for a model of one input; a folder; a
    `file.py:function`; `random`; or from Python a mapping of arrays, an array for a model of one input, or a callable.
    samples: at most so many, a seeded
    draw (of a function: the first). Raises UsageError for wrong options and missing paths, DataError for the rest.
    """
    if samples is not None and samples < 1:
        raise UsageError(f"--samples must be at least 1, not {samples}")
    specs = input_specs(model)
    if not specs:
        raise DataError("the model has no inputs: there is nothing to feed")
    steps = None if preprocess is None else parse(preprocess)
    opened = _Opening(model, specs, steps, samples, seed)
    if isinstance(text, (str, os.PathLike)):  # before arrays: a text of NumPy is one, too
        return opened.text(os.fspath(text))
    if isinstance(text, Mapping) or hasattr(text, "__array__"):
        return opened.arrays(functions.to_arrays(text, specs, "the data"), "arrays")
    if callable(text):
        return opened.function(code_of(text))
    try:
        items = [os.fspath(item) for item in text]
    except TypeError:
        raise UsageError(f"not a data source: {text!r:.100}", hint=_FORMS) from None
    if not items:
        raise UsageError("not a data source: there is nothing in it", hint=_FORMS)
    return opened.text(items[0]) if len(items) == 1 else opened.named(items)


class _Opening:
    """One call of `open_data`."""

    def __init__(
        self, model: Model, specs: Sequence[InputSpec], steps: Preprocess | None, samples: int | None, seed: int
    ) -> None:
        self.model, self.specs, self.steps, self.samples, self.seed = model, specs, steps, samples, seed

    def text(self, text: str) -> Calibration:
        if text == "random":
            return self.random()
        if not text or "\0" in text:
            raise UsageError(f"not a data source: {text!r}", hint=_FORMS)
        path = Path(text)
        if not os.path.lexists(text):
            if is_function(text):
                with loaded(text) as function:
                    return self.function(function)
            if "=" in text:
                return self.named([text])
            raise UsageError(f"no such file or folder: {text!r}", hint=_FORMS)
        if path.is_dir():
            return self.folder(path)
        suffix = path.suffix.lower()
        if suffix == ".npz":
            return self.arrays(read_npz(path, name_check(self.specs, path.name)), path.name)
        if suffix == ".npy":
            if len(self.specs) != 1:
                raise DataError(
                    f"{path.name} feeds one input, the model has {len(self.specs)}: say which, x={shown_path(path)}",
                    hint=expected(self.specs),
                )
            return self.arrays({self.specs[0].name: read_npy(path)}, path.name)
        hint = "The function is missing: file.py:function." if suffix == ".py" else _FORMS
        raise UsageError(f"{shown_path(path)!r} is not a .npz, a .npy or a folder", hint=hint)

    def named(self, items: Sequence[str]) -> Calibration:
        """`x=a.npy`, several. A name may itself hold "=" and ":"."""
        found: dict[str, NDArray[Any]] = {}
        labels = []
        for item in items:
            known = [spec.name for spec in self.specs if item.startswith(spec.name + "=")]
            name = max(known, key=len) if known else item.partition("=")[0]
            path = item[len(name) + 1 :]
            if "=" not in item or not path:
                raise UsageError(f"several sources must be NAME=FILE.npy each, not {item!r}", hint=expected(self.specs))
            if name in found:
                raise UsageError(f"input {name!r} is given twice")
            if Path(path).suffix.lower() != ".npy":
                raise UsageError(f"{item!r}: a .npy file is needed after the name")
            check_names([name], [s for s in self.specs if s.name == name] or self.specs, item)
            found[name] = read_npy(Path(path))
            labels.append(f"{name}={Path(path).name}")
        return self.arrays(found, ", ".join(labels))

    def folder(self, path: Path) -> Calibration:
        label = f"{path.resolve().name}/"
        read = read_folder(path, self.specs, self.steps, self.samples, self.seed)
        if read.pixels and self.steps is None:
            self.steps = Preprocess()
        return self.spooled(read, f"{label} ({read.note})", label)

    def function(self, function: Code) -> Calibration:
        given, label = functions.collect(function, self.specs, self.samples), function.label
        if isinstance(given, Spooled):
            return self.spooled(given, f"{label} ({given.note})", label)
        return self.arrays(given, label)

    def random(self) -> Calibration:
        if self.steps is not None:
            raise UsageError("--preprocess has nothing to apply to: the data is random")
        graph, samples = build(self.model), self.samples or DEFAULT_SAMPLES
        shapes = infer(graph).inputs
        columns = [Random(graph, spec, shapes[spec.name], i, samples, self.seed) for i, spec in enumerate(self.specs)]
        notes = [f"{s.name!r} as {c.note!r} expects" for s, c in zip(self.specs, columns, strict=True) if c.note]
        feeds = [Feed(spec, column) for spec, column in zip(self.specs, columns, strict=True)]
        return Calibration(feeds, np.arange(samples), "random" + (f" ({'; '.join(notes)})" if notes else ""))

    def spooled(self, read: Spooled, source: str, label: str) -> Calibration:
        pieces = read.pieces
        if not pieces.counts:
            raise DataError(f"{label} gave no samples")
        shared = pieces.shared
        raws = {}
        for name, spool in pieces.spools.items():
            arrays, rows = spool.arrays(), int(pieces.starts(name)[1])
            raws[name] = Raw([arrays[0][:rows]] if name in shared else arrays, spool.labels, label)
        starts = {name: pieces.starts(name) for name in raws if name not in shared}
        return self.finish(raws, source, dict.fromkeys(shared, True), starts, calls=pieces.calls)

    def arrays(self, given: Arrays, source: str) -> Calibration:
        """Whole arrays, one per input. A single one needs no name if the model has one input."""
        label = source
        if len(self.specs) == 1 and list(given) == [NAMELESS]:
            source = f"{source} (array {NAMELESS!r} for input {self.specs[0].name!r})"
            given = {self.specs[0].name: given[NAMELESS]}
        check_names(given, self.specs, label)
        self.specs = by_sizes(self.specs, {name: np.shape(array) for name, array in given.items()})
        raws, shared = {}, {}
        for spec in self.specs:
            array = np.asarray(given[spec.name])
            shared[spec.name] = not spec.shape and array.ndim == 0
            if shared[spec.name]:
                array = array.reshape(1)
            elif not spec.batched and array.ndim == len(spec.shape) + 1 and array.shape[1:2] == spec.shape[:1]:
                array = array.reshape(len(array) * array.shape[1], *array.shape[2:]) if spec.shape else array
            if array.ndim < 1:
                raise DataError(f"{label}: a single number does not fit input {spec}", hint=expected(self.specs))
            rows = np.moveaxis(array, spec.axis, 0) if array.ndim > spec.axis else array
            raws[spec.name] = Raw([rows], (), label)
        return self.finish(raws, source, shared)

    def finish(
        self,
        raws: Mapping[str, Raw],
        source: str,
        shared: Mapping[str, bool],
        starts: Mapping[str, Positions] = MappingProxyType({}),
        *,
        calls: bool = False,
    ) -> Calibration:
        """`starts`: where the rows of each piece start in an input, and the end. `calls`: every piece is a sample."""
        pairs = [(spec, raws[spec.name]) for spec in self.specs]
        if self.steps is not None and not any(takes_pixels(s, a) for s, raw in pairs for a in raw.arrays):
            raise UsageError(
                "--preprocess has nothing to apply to: it is for images and arrays of uint8",
                hint=f"The data is {', '.join(str(a.dtype) for _, raw in pairs for a in raw.arrays[:1])}.",
            )
        feeds = []
        for spec, raw in pairs:
            column = fit(spec, raw, self.steps)
            if not column.rows:
                raise DataError(f"{raw.name}: no samples for input {spec.name!r}")
            check_shapes(spec, column)
            alone = shared.get(spec.name, False)
            feeds.append(Feed(spec, column, alone, starts[spec.name] if calls and not alone else None))
        feeds = feeds if calls else with_shared(feeds)
        total, dropped = counted(feeds)
        order = choose(total, self.samples, self.seed)
        check_symbols(feeds)
        graph = build(self.model)
        for feed in feeds:
            check_values(feed, np.unique(feed.rows(order)), graph)
        notes = [f"{len(order)} of {total} samples"] if len(order) < total else []
        notes += [f"{dropped} left over"] if dropped else []
        items = next((s for name, s in starts.items() if len(s) > 1 and s[-1] == total), None)
        full = source + (f" ({', '.join(notes)})" if notes else "")
        return Calibration(feeds, order, full, items=None if calls else items)
