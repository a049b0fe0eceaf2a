"""The command that does the same again, from the options of a function of the API: they have the same names."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from onnxprune.model.sources import BESIDE, beside
from onnxprune.options.compressing import CompressOptions
from onnxprune.options.declare import SWITCH, Options, of_function, planned
from onnxprune.options.others import BenchOptions, VerifyOptions
from onnxprune.options.quantizing import QuantizeOptions
from onnxprune.options.shrinking import ShrinkOptions, SparsifyOptions, SweepOptions

UNKNOWN = "IN-PYTHON"


def command(options: Options, files: Sequence[Any]) -> str:
    """`onnxprune NAME ...`, quoted for a shell: paths as they were given, options that are not the default.

    What is an object in Python and has no path (an array, a function, a plan) is IN-PYTHON there.
    """
    words = ["onnxprune", options.NAME, *(_word(file) for file in files)]
    for one in of_function(type(options)):
        value = getattr(options, one.name)
        if one.spec.silent or not one.spec.line or value is None or _same(value, one.default):
            continue
        if value is True:
            words.append(one.flag)
        elif value is False and one.kind == SWITCH:
            words.append(f"--no-{one.key}")
        else:
            for item in _values(value, one.several):
                words += [one.flag, _word(item)]
    return " ".join(map(shlex.quote, words))


def compress_commands(options: CompressOptions, model: Any, out: Any, *, made: bool = True) -> list[str]:
    """The run; if a result was `made`, its proof once more, and how fast it is."""
    run = command(options, _files(model, out))
    return [run] if options.dry_run or not made else [run, *_after(model, out, ".compressed.onnx")]


def shrink_commands(options: ShrinkOptions, model: Any, out: Any, *, made: bool = True) -> list[str]:
    """The run; if a result was `made`, its proof once more, and how fast it is."""
    files = _files(model, out)
    if options.plan is not None:
        files += ["--plan", options.plan.path or f"PLAN-{options.plan.digest}.json"]
        said = {one.name: one.default for one in planned(ShrinkOptions)}
        options = replace(options, plan=None, **said)
    run = command(options, files)
    return [run] if options.dry_run or not made else [run, *_after(model, out, ".pruned.onnx")]


def sparsify_commands(options: SparsifyOptions, model: Any, out: Any, *, made: bool = True) -> list[str]:
    """The run; if a result was `made`, its proof once more, and how fast it is."""
    run = command(options, _files(model, out))
    return [run] if options.dry_run or not made else [run, *_after(model, out, ".sparse.onnx")]


def quantize_commands(options: QuantizeOptions, model: Any, out: Any, suffix: str, *, made: bool = True) -> list[str]:
    """The run; if a result was `made`, its proof once more, and how fast it is."""
    run = command(options, _files(model, out))
    return [run] if options.dry_run or not made else [run, *_after(model, out, suffix)]


def sweep_command(options: SweepOptions, model: Any, out: Any) -> str:
    """The whole sweep."""
    return command(options, _files(model, out))


def _files(model: Any, out: Any) -> list[Any]:
    return [model] if out in (None, BESIDE) else [model, "-o", out]


def _after(model: Any, out: Any, suffix: str) -> list[str]:
    """Proof and speed of a result."""
    result = beside(Path(_word(model)), suffix) if out in (None, BESIDE) else out
    return [command(VerifyOptions(), [model, result]), command(BenchOptions(profile=True), [model, result])]


def _same(value: Any, default: Any) -> bool:
    if isinstance(value, (str, int, float, bool, tuple, list)):
        return str(value) == str(default) or (value in ((), []) and default in (None, ()))
    return False


def _values(value: Any, several: bool) -> list[Any]:
    """A value that stands for several options: one each. Where there is one option for all, they are its list."""
    if isinstance(value, Mapping):
        return [f"{key}={_word(one)}" for key, one in value.items()]
    if isinstance(value, (list, tuple)):
        return list(value) if several else [",".join(map(_word, value))]
    return [value]


def _word(value: Any) -> str:
    if isinstance(value, (str, int, float, os.PathLike)):
        text = os.fspath(value) if isinstance(value, os.PathLike) else str(value)
        return f"./{text}" if isinstance(value, os.PathLike) and text.startswith("-") else text
    path = None if getattr(value, "label", None) is not None else getattr(value, "path", None)  # in memory: in no file
    return str(path) if isinstance(path, Path) else UNKNOWN
