"""Which models are checked, and by what: entries of the configuration, and what a call gives besides.

    [[tool.onnxprune.check.models]]
    path = "model.onnx"
    max-size = "10MB"

Paths in it are relative to the folder of the file. Code is never named there: a metric comes with the call.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxprune.checking.budgets import KEYS, Budget, Given, budget, check_keys, options
from onnxprune.errors import UsageError
from onnxprune.options.config import Config

COMMAND, TABLE = "check", "models"


@dataclass(frozen=True)
class Entry:
    """One entry of the file: a model, and what is given for it."""

    name: str
    path: Path
    given: dict[str, Given]
    where: str


def budgets(models: Sequence[str | Path], values: Mapping[str, Any], config: Config) -> list[Budget]:
    """Those of `models`, or of all in the configuration. `values` (by KEYS, None: not given) are for every one of
    `models`, and win over its entry. Raises UsageError.
    """
    listed = entries(config)
    extra = {
        key: Given(values[key], f"--{key.replace('_', '-')}") for key in KEYS if values.get(key) not in (None, (), [])
    }
    if models:
        return [_of(Path(model), listed, extra, config) for model in models]
    if extra:
        raise UsageError(f"{next(iter(extra.values())).where} is for the MODELs of the same call, and there is none.")
    if not listed:
        raise UsageError(
            "there is nothing to check: no MODEL is given, and no configuration lists models.",
            hint="Give MODEL --max-size 10MB, or write [[tool.onnxprune.check.models]] into pyproject.toml.",
        )
    return [budget(entry.name, entry.path, entry.given, entry.where) for entry in listed]


def entries(config: Config) -> list[Entry]:
    """The models that a configuration lists. Raises UsageError for one that is not well-formed, or is there twice."""
    table = config.values.get(COMMAND, {})
    raw = table.get(TABLE, []) if isinstance(table, Mapping) else []
    where = config.where(f"{COMMAND}.{TABLE}")
    if not isinstance(raw, list) or not all(isinstance(one, dict) for one in raw):
        raise UsageError(f"{where} is not a list of tables", hint="Write [[...]] with two brackets on each side.")
    found = [_entry(one, config, f"{where} {number}") for number, one in enumerate(raw, 1)]
    seen: dict[str, Entry] = {}
    for entry in found:
        key = os.path.realpath(entry.path)
        if key in seen:
            raise UsageError(f"{entry.where} is for the same file as {seen[key].where}", hint="Keep one of them.")
        seen[key] = entry
    return found


def _entry(raw: Mapping[str, Any], config: Config, where: str) -> Entry:
    values = {key.replace("-", "_"): value for key, value in raw.items()}
    if len(values) < len(raw):
        raise UsageError(f"{where} has a key twice, with '-' and with '_'", hint="Keep one of them.")
    check_keys(values, where)
    for key in ("path", "baseline", "preprocess"):
        if key in values and (not isinstance(values[key], str) or not values[key] or "\0" in values[key]):
            raise UsageError(f"{where}: {key} = {values[key]!r} is not a text.")
    if "path" not in values:
        raise UsageError(f"{where} has no path.", hint='path = "model.onnx" says which model it is for.')
    assert config.path is not None
    name, folder = values.pop("path"), config.path.parent
    if "baseline" in values:
        values["baseline"] = located(folder, values["baseline"])
    if "data" in values:
        values["data"] = _data(folder, values["data"], f"{where}: data")
    given = {key: Given(value, f"{where}: {key.replace('_', '-')}") for key, value in values.items()}
    return Entry(name, Path(located(folder, name)), given, where)


def located(folder: Path, text: str) -> str:
    """A path of the file, for who reads it from the working directory: as written if that is the same place."""
    return text if folder == Path.cwd().resolve() else str(folder / text)


def _data(folder: Path, value: Any, where: str) -> list[str]:
    """Sources with their paths located: `calib.npz`, `x=a.npy`, `random`."""
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list) or not items or not all(isinstance(item, str) and item for item in items):
        raise UsageError(f"{where} = {value!r} is not a text or a list of texts.")
    found = []
    for item in items:
        if ".py:" in item:
            raise UsageError(f"{where} = {item!r} names code.", hint="Code runs only if the command line names it.")
        name, equals, path = item.partition("=")
        if item == "random" or "\0" in item:
            found.append(item)
        elif equals and not (folder / item).exists():
            found.append(f"{name}={located(folder, path)}")
        else:
            found.append(located(folder, item))
    return found


def _of(model: Path, listed: Sequence[Entry], extra: Mapping[str, Given], config: Config) -> Budget:
    """The budget of a model that a call names: its entry, if it has one, with what the call gives."""
    key = os.path.realpath(model)
    entry = next((one for one in listed if os.path.realpath(one.path) == key), None)
    if entry is None and not extra:
        known = f"; {config.path} has {', '.join(one.name for one in listed)}" if listed else ""
        raise UsageError(
            f"there is no budget for {str(model)!r}{known}.", hint=f"Give one of {options(KEYS[:3])}, or add it there."
        )
    return budget(str(model), model, {**(entry.given if entry else {}), **extra}, entry.where if entry else str(model))
