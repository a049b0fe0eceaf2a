"""The command that does the same again, from the arguments of a function of the API: options have the same names."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from onnxprune.model.sources import beside

SILENT = {"force", "progress", "verify", "report"}  # say nothing about the result, or are not on the command line
UNKNOWN = "IN-PYTHON"
PLANNED = {"ratio", "target", "criterion", "scope", "normalise", "aggregate", "include", "exclude", "units"} | {
    "multiple_of",
    "device",
    "min_keep",
    "schedule",
    "steps",
}
"""What a plan has said already."""


def command(
    name: str,
    files: Sequence[Any],
    options: Mapping[str, Any],
    defaults: Mapping[str, Any],
) -> str:
    """`onnxprune NAME ...`, quoted for a shell: paths as they were given, options that are not the default.

    What is an object in Python and has no path (an array, a function, a plan) is IN-PYTHON there.
    """
    words = ["onnxprune", name, *(_word(file) for file in files)]
    for key, value in options.items():
        if key in SILENT or value is None or _same(value, defaults.get(key)):
            continue
        flag = f"--{key.replace('_', '-')}"
        if value is True:
            words.append(flag)
        else:
            for one in _values(value):
                words += [flag, _word(one)]
    return " ".join(map(shlex.quote, words))


def shrink_commands(given: Mapping[str, Any], defaults: Mapping[str, Any]) -> list[str]:
    """The run, its proof once more, and how fast the result is."""
    model, out, plan = given["model"], given["out"], given["plan"]
    options = {key: value for key, value in given.items() if key not in ("model", "out", "plan", "bench")}
    files = [model] if out is None else [model, "-o", out]
    if plan is not None:
        options = {key: value for key, value in options.items() if key not in PLANNED}
        files += ["--plan", f"PLAN-{plan.digest}.json"]
    run = command("shrink", files, options, defaults)
    return [run] if given["dry_run"] else [run, *_after(model, out, ".pruned.onnx")]


def sparsify_commands(given: Mapping[str, Any], defaults: Mapping[str, Any]) -> list[str]:
    """The run, its proof once more, and how fast the result is."""
    model, out = given["model"], given["out"]
    options = {key: value for key, value in given.items() if key not in ("model", "out", "bench")}
    run = command("sparsify", [model] if out is None else [model, "-o", out], options, defaults)
    return [run] if given["dry_run"] else [run, *_after(model, out, ".sparse.onnx")]


def _after(model: Any, out: Any, suffix: str) -> list[str]:
    """Proof and speed of a result."""
    result = out
    if out is None:
        result = beside(Path(_word(model)), suffix)
    return [command("verify", [model, result], {}, {}), command("bench", [model, result, "--profile"], {}, {})]


def bench_commands(given: Mapping[str, Any], defaults: Mapping[str, Any]) -> list[str]:
    """The measurement."""
    options = {key: value for key, value in given.items() if key not in ("models", "request", "run")}
    return [command("bench", given["models"], options, defaults)]


def sweep_command(given: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
    """The whole sweep."""
    lists = {key: _joined(given[key]) for key in ("ratios", "targets", "criteria")}
    options = {key: value for key, value in {**given, **lists}.items() if key not in ("model", "out", "bench")}
    files = [given["model"], *([] if given["out"] is None else ["-o", given["out"]])]
    return command("sweep", [*files, *([] if given["bench"] else ["--no-bench"])], options, defaults)


def _joined(values: Any) -> str | None:
    text = values if isinstance(values, str) else ",".join(map(str, values))
    return text or None


def _same(value: Any, default: Any) -> bool:
    if isinstance(value, (str, int, float, bool, tuple, list)):
        return str(value) == str(default) or (value in ((), []) and default in (None, ()))
    return False


def _values(value: Any) -> list[Any]:
    """A value that stands for several options: one each."""
    if isinstance(value, Mapping):
        return [f"{key}={_word(one)}" for key, one in value.items()]
    if isinstance(value, (list, tuple)):
        return list(value)
    return [value]


def _word(value: Any) -> str:
    if isinstance(value, (str, int, float, os.PathLike)):
        text = os.fspath(value) if isinstance(value, os.PathLike) else str(value)
        return f"./{text}" if isinstance(value, os.PathLike) and text.startswith("-") else text
    path = getattr(value, "path", None)
    return str(path) if isinstance(path, Path) else UNKNOWN
