"""How errors name options: as the command line has them, `--max-memory 4GB`, or as Python, `max_memory='4GB'`.

Messages are written in the first way, once; an error says its text in the second one to whoever turns it into text
(`str(error)`, a traceback), and the command line takes it as it is written. What only the command line has stays.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator

from onnxprune.options.commands import COMMANDS
from onnxprune.options.declare import FLAG, SWITCH, Entry, declared

_QUOTED = r"'(?:[^'\\]|\\.)*'"
_COMMAND = r"\bonnxprune(?: [a-z]+)+ [^;\n]*"
_VALUE = rf"{_QUOTED}|\d[\d.]* [kMGT]?B\b|(?!--)[^\s;()]+"
_OPTION = re.compile(
    rf"(?P<command>{_COMMAND})|(?<![\w-])--(?P<no>no-)?(?P<key>[a-z]+(?:-[a-z][a-z0-9]*)*)(?: (?P<value>{_VALUE}))?"
)
_SHORT = re.compile(r"(?<![\w-])-o\b")
_AGAIN = re.compile(rf"\b(?P<name>[a-z_]+)=(?P<first>{_QUOTED})(?P<rest>(?: (?P=name)={_QUOTED})+)")
_NUMBER = r"-?\d+(\.\d+)?"
_ALWAYS = frozenset({"auto", "none", "random", "imagenet"})
"""Words that are values, whatever option they follow."""
_OTHERWISE = {"output": "out=", "save_plan": "(`plan` of the result)"}
"""What functions do instead of options that only the command line has."""


def in_python(text: str) -> str:
    """A message of an error as Python has its options; commands of the program in it stay as they are.

    >>> in_python("--ratio 0.5 and --target macs=... exclude each other: leave out --no-bench")
    "ratio=0.5 and target='macs=...' exclude each other: leave out bench=False"
    """
    return _AGAIN.sub(_listed, _OPTION.sub(_named, _SHORT.sub("--output", text)))


def _named(found: re.Match[str]) -> str:
    if found["command"]:
        return found[0]
    name = found["key"].replace("-", "_")
    entries = _entries().get(name, ())
    if not entries:
        return found[0].replace(f"--{found['key']}", _OTHERWISE.get(name, f"--{found['key']}"))
    value = found["value"] or ""
    rest = f" {value}" if value else ""
    if value == "=":
        return f"{name} ="
    if any(one.kind in (FLAG, SWITCH) for one in entries):
        asked_for = value in ("is", "holds")  # of the option itself, whatever its value
        return f"{name}={'' if asked_for else not found['no']}{rest}"
    word, end = _apart(value)
    said = end.startswith(":") or _is_value(word, entries)
    return f"{name}={_literal(word)}{end}" if said else f"{name}={rest}"


def _apart(value: str) -> tuple[str, str]:
    """A word, and the punctuation of the sentence behind it."""
    word = value if value.startswith("'") or value.endswith("...") else value.rstrip(".,:")
    return word, value[len(word) :]


def _is_value(word: str, entries: tuple[Entry, ...]) -> bool:
    """Whether what follows an option is its value; otherwise the sentence goes on."""
    known = {name for one in entries for name in (*one.choices, *one.spec.names)}
    return word in known or word in _ALWAYS or bool(re.match(r"'|-?\d|[A-Z]+$|\w\S*[=/:.]", word))


def _literal(word: str) -> str:
    return word if re.fullmatch(rf"{_QUOTED}|{_NUMBER}|[A-Z]+", word) else repr(word)


def _listed(found: re.Match[str]) -> str:
    """Of an option that is given several times."""
    values = re.findall(rf"=({_QUOTED})", found[0])
    return f"{found['name']}=[{', '.join(values)}]"


@functools.cache
def _entries() -> dict[str, tuple[Entry, ...]]:
    """name -> the options of that name that functions have."""
    found: dict[str, tuple[Entry, ...]] = {}
    for one in _of_python():
        found[one.name] = (*found.get(one.name, ()), one)
    return found


def _of_python() -> Iterator[Entry]:
    for options in COMMANDS:
        yield from (one for one in declared(options) if one.spec.python)
