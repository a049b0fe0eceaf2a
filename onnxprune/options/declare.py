"""What an option is: a field of a frozen dataclass, with what command line, function, file, plan and page say of it.

    @dataclass(frozen=True, kw_only=True)
    class Amount(Options):
        ratio: float | None = option(None, "Share of the channels that leaves.", group=REMOVE, metavar="SHARE")

The annotation says which values there are, the field says the default, `option` the rest. Nothing else lists options.
"""

from __future__ import annotations

import inspect
import sys
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from typing import Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin

REMOVE, ZEROS, STORE, BUDGETS = "What to remove", "What becomes zero", "What is stored", "Budgets"
INTEGERS = "What becomes integers"
SHOW, MEASURE, COMPARE = "What to show", "What is measured", "Comparison"
DATA, REPAIR, OUTPUT, ADVANCED = "Data", "Repair and accuracy", "Output", "Advanced"
GROUPS = (REMOVE, ZEROS, INTEGERS, STORE, BUDGETS, SHOW, MEASURE, COMPARE, DATA, REPAIR, OUTPUT, ADVANCED)
"""Headings of the help, in its order."""

TEXT, SHARE, NUMBER, COUNT, WIDTH, PATH, SIZE = "text", "share", "number", "count", "width", "path", "size"
CHOICE, FLAG, SWITCH, TEXTS, SOURCES = "choice", "flag", "switch", "texts", "sources"
"""Kinds of values on the command line. width: channels, or auto; switch: --x/--no-x; sources: of samples; size: of
memory.
"""
SAME: Any = object()
_SPEC = "onnxprune option"
Kind = Literal[
    "text", "share", "number", "count", "width", "path", "size", "choice", "flag", "switch", "texts", "sources"
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Spec:
    """What is said of an option besides its name, type and default."""

    help: str
    group: str
    metavar: str | None = None
    shown: str | bool = False  # the default, as the help shows it; True: its value
    kind: Kind | None = None  # None: as the type says
    least: int | None = None
    most: int | None = None
    names: tuple[str, ...] = ()  # what a shell completes
    flags: tuple[str, ...] = ()  # besides --name
    python: bool = True  # the function has it
    line: bool = True  # the command has it
    line_default: Any = SAME
    file: bool = True  # a configuration may set it
    recorded: bool = False  # a plan says it
    planned: bool = False  # a plan that is given has said it
    silent: bool = False  # it says nothing about the result
    point: bool = True  # all points of a sweep have it; otherwise it is the sweep's own


def option(default: Any, help: str, *, group: str, **more: Any) -> Any:
    """A field that is an option; `more` are those of `Spec`."""
    return field(default=default, metadata={_SPEC: Spec(help=help, group=group, **more)})


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of a command, or a family of them that several commands share."""

    NAME: ClassVar[str] = ""
    EXAMPLES: ClassVar[tuple[tuple[str, str], ...]] = ()
    """(what it does, command) each."""
    DIFFERS: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Option -> what of its `Spec` is different here."""
    TABLES: ClassVar[tuple[str, ...]] = ()
    """Keys of its table in a file that are no options."""


O = TypeVar("O", bound=Options)  # noqa: E741


@dataclass(frozen=True)
class Entry:
    """One option of one command. `text` is its type as written, `type` what that stands for."""

    name: str
    text: str
    type: Any
    default: Any
    spec: Spec
    module: str

    @property
    def flag(self) -> str:
        """As on the command line."""
        return f"--{self.key}"

    @property
    def key(self) -> str:
        """As in a file."""
        return self.name.replace("_", "-")

    @property
    def parts(self) -> tuple[Any, ...]:
        """The types that a value may have, without None."""
        union = get_origin(self.type) in (Union, types.UnionType)
        return tuple(one for one in (get_args(self.type) if union else (self.type,)) if one is not type(None))

    @property
    def choices(self) -> tuple[str, ...]:
        """All values, if they are names."""
        single = (get_args(one)[0] if get_origin(one) is Sequence else one for one in self.parts)
        return next((get_args(one) for one in single if get_origin(one) is Literal), ())

    @property
    def kind(self) -> Kind:
        if self.spec.kind is not None:
            return self.spec.kind
        if self.choices:
            return "choice"
        return _KINDS.get(self.parts[0], "texts" if self.several else "text")

    @property
    def several(self) -> bool:
        """Whether it may be given repeatedly."""
        return self.spec.kind in (TEXTS, SOURCES) or get_origin(self.parts[0]) is Sequence

    @property
    def line_default(self) -> Any:
        return self.default if self.spec.line_default is SAME else self.spec.line_default


_KINDS: dict[Any, Kind] = {bool: "flag", int: "count", float: "number"}


def entries(options: type[Options]) -> tuple[Entry, ...]:
    """All options, by group; in a group as they are declared, families from left to right."""
    found = declared(options)
    known = [*GROUPS, *sorted({one.spec.group for one in found} - set(GROUPS))]
    return tuple(sorted(found, key=lambda one: known.index(one.spec.group)))


_DECLARED: dict[type[Options], tuple[Entry, ...]] = {}


def declared(options: type[Options]) -> tuple[Entry, ...]:
    """All options in the order of their declaration: families from left to right, then those of the command.

    Found once: every call of a function asks for them several times.
    """
    if options not in _DECLARED:
        _DECLARED[options] = tuple(_declared(options))
    return _DECLARED[options]


def _declared(options: type[Options]) -> Iterator[Entry]:
    by_name: dict[str, Field[Any]] = {one.name: one for one in fields(options)}
    for name in dict.fromkeys(name for name in _names(options) if name in by_name):
        one = by_name[name]
        owner = next(family for family in options.__mro__ if name in inspect.get_annotations(family))
        spec = replace(one.metadata[_SPEC], **options.DIFFERS.get(name, {}))
        assert one.default is not MISSING and isinstance(one.type, str)
        yield Entry(name, one.type, _evaluated(one.type, owner.__module__), one.default, spec, owner.__module__)


def _names(options: type[Options]) -> Iterator[str]:
    """What another family says differently keeps its place."""
    for family in options.__bases__:
        if issubclass(family, Options) and family is not Options:
            yield from _names(family)
    yield from inspect.get_annotations(options)


def values(options: Options, family: type[Options] | None = None) -> dict[str, Any]:
    """Name -> value, of all or of a family."""
    return {one.name: getattr(options, one.name) for one in declared(family or type(options))}


def names(options: type[Options]) -> tuple[str, ...]:
    """Of all options, as they are declared."""
    return tuple(one.name for one in declared(options))


def plain(value: Any) -> Any:
    """As JSON has it."""
    return list(value) if isinstance(value, tuple) else value


def recorded(options: type[Options]) -> list[str]:
    """What a plan says, in its order."""
    return [one.name for one in declared(options) if one.spec.recorded]


def choices(options: type[Options], name: str) -> tuple[str, ...]:
    """All values of an option, as names."""
    return next(one.choices for one in declared(options) if one.name == name)


def planned(options: type[Options]) -> list[Entry]:
    """What a plan that is given has said already."""
    return [one for one in entries(options) if one.spec.planned]


def of_function(options: type[Options]) -> list[Entry]:
    """The keyword arguments of the function."""
    return [one for one in entries(options) if one.spec.python]


def of_line(options: type[Options]) -> list[Entry]:
    """The options of the command."""
    return [one for one in entries(options) if one.spec.line]


def of_file(options: type[Options]) -> list[Entry]:
    """What a configuration may set."""
    return [one for one in of_line(options) if one.spec.file]


def shared(options: type[Options], other: type[Options]) -> list[str]:
    """What two commands have in common, but for what is each one's own."""
    theirs = {one.name for one in of_function(other)}
    return [one.name for one in of_function(options) if one.name in theirs and one.spec.point and not one.spec.silent]


class Unseen:
    """Stands for a class that a module imports for types alone: known by its name."""


class _Names(dict[str, Any]):
    """Names of a module, also those that it imports for types alone."""

    def __missing__(self, name: str) -> Any:
        builtins: dict[str, Any] = vars(sys.modules["builtins"])
        return builtins.get(name) or type(name, (Unseen,), {})


def _evaluated(text: str, module: str) -> Any:
    return eval(text, {}, _Names(vars(sys.modules[module])))
