"""Configuration: `[tool.onnxprune]` of a pyproject.toml, or an onnxprune.toml, upward from the working directory.

Keys at the top apply to every command that has such an option; a table named like a command (`[tool.onnxprune.shrink]`)
applies to that command and wins over them; the command line wins over both. Keys may be written with `-` or `_`.
Nothing is ever read from the model's folder, and no key names code.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from onnxprune.errors import UsageError, did_you_mean

OWN_FILE = "onnxprune.toml"
SHARED_FILE = "pyproject.toml"
MAX_BYTES = 1 << 20
MOVED = {"jobs": "threads"}  # what people write -> what it is called


@dataclass(frozen=True)
class Config:
    """What a file says: `values` as written, with `_` in keys. `path` is None, and `values` empty, without a file."""

    path: Path | None = None
    values: Mapping[str, Any] = field(default_factory=dict)

    def where(self, command: str | None = None) -> str:
        """How messages name the table of a command, or the top one."""
        name = self.path.name if self.path else ""
        parts = [] if name == OWN_FILE else ["tool", "onnxprune"]
        table = ".".join([*parts, *([command] if command else [])])
        return f"{self.path}: [{table}]" if table else f"{self.path}"

    def for_command(self, command: str, known: Mapping[str, Iterable[str]]) -> dict[str, Any]:
        """The values for `command`. Every key of the file is checked against `known`: command -> its option keys.

        Raises UsageError, naming the nearest known key.
        """
        everywhere = {key for keys in known.values() for key in keys}
        for key, value in self.values.items():
            if isinstance(value, dict):
                self._check_table(key, value, known)
            elif key not in everywhere:
                raise self._unknown(None, key, sorted({*everywhere, *known}))
        own = set(known[command])
        merged = {key: value for key, value in self.values.items() if key in own and not isinstance(value, dict)}
        return merged | dict(self.values.get(command, {}))

    def _check_table(self, name: str, table: Mapping[str, Any], known: Mapping[str, Iterable[str]]) -> None:
        if name not in known:
            raise self._unknown(None, name, sorted(known))
        for key in table:
            if key not in known[name]:
                raise self._unknown(name, key, sorted(known[name]))

    def _unknown(self, command: str | None, key: str, names: list[str]) -> UsageError:
        shown = [name.replace("_", "-") for name in names]
        guess = f"Threads of the runtime are {MOVED[key]!r}.  " if MOVED.get(key) in names else ""
        guess = guess or did_you_mean(key.replace("_", "-"), shown)
        known = f"Known: {', '.join(shown)}" if shown else "It takes no options from a file."
        return UsageError(f"{self.where(command)} has an unknown key {key!r}.", hint=f"{guess}{known}")


def read(start: Path | None = None) -> Config:
    """The configuration that is in force in a folder (default: the working directory).

    Raises UsageError if the nearest file cannot be read, is not TOML, or if one folder has two configurations.
    """
    for folder in _upward(start):
        found: list[Config] = []
        for name in (OWN_FILE, SHARED_FILE):
            path = folder / name
            if not _is_file(path):
                continue
            table = _parse(path)
            if name == SHARED_FILE:
                tool = table.get("tool")
                table = tool.get("onnxprune") if isinstance(tool, dict) else None
            if table is not None:
                found.append(Config(path, _normalised(path, table)))
        if len(found) == 2:
            raise UsageError(
                f"{folder} has two configurations: {OWN_FILE}, and [tool.onnxprune] in {SHARED_FILE}",
                hint="Keep one of them.",
            )
        if found:
            return found[0]
    return Config()


def _upward(start: Path | None) -> Iterator[Path]:
    try:
        here = (start or Path.cwd()).resolve()
    except OSError:  # the working directory is gone: there is nothing to read
        return
    yield from (here, *here.parents)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a parent that may not be searched
        return False


def _parse(path: Path) -> Any:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UsageError(f"{path} is larger than {MAX_BYTES} bytes, too large for a configuration")
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        raise UsageError(f"{path} is not valid TOML: {error}") from error


def _normalised(path: Path, table: Any) -> dict[str, Any]:
    """Keys with `_`, at both levels. Raises UsageError for a key that is there in both spellings."""
    if not isinstance(table, dict):
        raise UsageError(f"{path}: tool.onnxprune is not a table")
    result: dict[str, Any] = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        if name in result:
            raise UsageError(f"{path} has {key!r} twice, with '-' and with '_'", hint="Keep one of them.")
        result[name] = _normalised(path, value) if isinstance(value, dict) else value
    return result
