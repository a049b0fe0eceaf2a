"""From declarations to the command line: options in groups, and how commands take their defaults from a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from onnxprune.cli.run import Run
from onnxprune.errors import UsageError
from onnxprune.options.checked import checked_size
from onnxprune.options.commands import COMMANDS, known_keys
from onnxprune.options.declare import (
    CHOICE,
    COUNT,
    FLAG,
    NUMBER,
    PATH,
    SHARE,
    SIZE,
    SOURCES,
    SWITCH,
    WIDTH,
    Entry,
    Options,
    of_file,
    of_line,
)
from onnxprune.results.units import parse_ratio

F = TypeVar("F", bound=Callable[..., Any])


class FilePath(click.Path):
    """A path as given; whether there is a file behind it is for the API to say."""

    name = "path"

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value in ("", b""):
            self.fail("the path is empty.", param, ctx)
        return super().convert(value, param, ctx)


class DataSource(click.types.StringParamType):
    """Where calibration samples come from, as text; what is behind it is for the API to say."""

    @staticmethod
    def names_code(value: str) -> bool:
        """Whether the source is a function in a file, `file.py:function`."""
        return ".py:" in value


def multiple(value: str | int) -> int | str:
    """The type of an option that takes a number of channels, or auto."""
    if value == "auto":
        return value
    try:
        number = int(value)
    except ValueError:
        number = 0
    if number < 1:
        raise click.BadParameter(f"{value!r} is neither a number of at least 1 nor auto.")
    return number


def ratio(value: str | float) -> float:
    """The type of an option that takes a share: 0.5 or 50%."""
    try:
        return parse_ratio(value)
    except UsageError as error:
        raise click.BadParameter(f"{error.message}. {error.hint}") from error


def size(value: str | int) -> str | int:
    """The type of an option that limits what is taken: 500MB."""
    try:
        checked_size(value, "a limit")
    except UsageError as error:
        raise click.BadParameter(f"{error.message}." + (f" {error.hint}" if error.hint else "")) from error
    return value


class Option(click.Option):
    """An option that is declared in onnxprune.options."""

    def __init__(self, param_decls: Any = (), *, entry: Entry) -> None:
        self.entry = entry
        name = entry.name if entry.name != "format" else "format_"  # a function of Python has that name
        flags = [entry.flag if entry.kind != SWITCH else f"{entry.flag}/--no-{entry.key}"]
        flag = entry.kind in (FLAG, SWITCH)
        default = entry.line_default if flag or entry.default not in (None, ()) else None
        super().__init__(
            [name, *entry.spec.flags, *flags],
            type=None if flag else _type(entry),
            is_flag=flag or None,
            multiple=entry.several,
            default=default if flag or (isinstance(default, int) and entry.kind == COUNT) else _text(default),
            show_default=entry.spec.shown,
            metavar=entry.spec.metavar if entry.kind not in (FLAG, SWITCH, CHOICE) or entry.several else None,
            help=entry.spec.help,
            shell_complete=_completion(entry.spec.names) if entry.spec.names else None,
        )


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _type(entry: Entry) -> Any:
    kinds: dict[str, Any] = {SHARE: ratio, NUMBER: float, WIDTH: multiple, PATH: FilePath(), SOURCES: DataSource()}
    kinds[SIZE] = size
    if entry.kind == CHOICE:
        return click.Choice(entry.choices)
    if entry.kind == COUNT:
        limits = (entry.spec.least, entry.spec.most)
        return click.INT if limits == (None, None) else click.IntRange(*limits)
    return kinds.get(entry.kind, str)


def _completion(names: tuple[str, ...]) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
        return [name for name in names if name.startswith(incomplete)]

    return complete


def declared(options: type[Options]) -> Callable[[F], F]:
    """All options of a command, as a decorator."""

    def decorate(function: F) -> F:
        for entry in reversed(of_line(options)):
            function = click.option(cls=Option, entry=entry)(function)
        return function

    return decorate


def arguments(options: type[Options], given: dict[str, Any]) -> dict[str, Any]:
    """What the function of the API gets of the values that click gives: by its names, its defaults for what is not."""
    entries = [entry for entry in of_line(options) if entry.spec.python]
    return {one.name: one.default if given[one.name] in (None, ()) else given[one.name] for one in entries}


class Command(click.Command):
    """A command whose options are declared, and take their defaults from the configuration."""

    @property
    def options(self) -> type[Options] | None:
        return next((one for one in COMMANDS if self.name == one.NAME), None)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        run = ctx.find_object(Run)
        helping = any(argument in ctx.help_option_names for argument in args)
        if run is not None and not helping and not ctx.resilient_parsing:
            run.command = self.name or ""
            ctx.default_map = configured(self, ctx)
            if not any(a == "--format" or a.startswith("--format=") for a in args):
                run.format = ctx.default_map.get("format_", run.format)
        rest = super().parse_args(ctx, args)
        if run is not None:
            run.options = dict(ctx.params)
            run.format = ctx.params.get("format_", run.format)
        return rest

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """By groups; what has none is in the last one."""
        groups: dict[str, list[tuple[str, str]]] = {}
        last = ""
        for param in self.get_params(ctx):
            if not isinstance(param, click.Option):
                continue
            last = param.entry.spec.group if isinstance(param, Option) else last
            shown = param.get_help_record(ctx)
            if shown is not None:
                groups.setdefault(last, []).append(shown)
        for title, rows in groups.items():
            with formatter.section(title):
                formatter.write_dl(rows)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Examples, as they are typed."""
        found = self.options
        if found is not None:
            with formatter.section("Examples"):
                for what, line in found.EXAMPLES:
                    formatter.write(f"  {what}\n    onnxprune {line}\n")


def configured(command: click.Command, ctx: click.Context) -> dict[str, Any]:
    """Values for the options of `command` from the file in force, converted. Raises UsageError naming the file."""
    from onnxprune.options.config import read

    config = read()
    if config.path is None or ctx.parent is None:
        return {}
    values = config.for_command(command.name or "", known_keys())
    options = _configurable(command)
    own = config.values.get(command.name or "", {})
    result: dict[str, Any] = {}
    for key, value in values.items():
        if key not in options:
            continue
        where = config.where(command.name if key in own else None)
        result[options[key].name or key] = _converted(options[key], value, ctx, f"{where}: {key.replace('_', '-')}")
    return result


def _configurable(command: click.Command) -> dict[str, click.Option]:
    """key in a file -> option"""
    found = {param.entry.name: param for param in command.params if isinstance(param, Option)}
    options = command.options if isinstance(command, Command) else None
    return {} if options is None else {entry.name: found[entry.name] for entry in of_file(options)}


def _converted(option: click.Option, value: Any, ctx: click.Context, where: str) -> Any:
    """A value of a TOML file as the command line would have it."""
    if option.multiple and isinstance(value, str):
        value = [value]
    if not _fits(option, value):
        raise UsageError(f"{where} = {_toml(value)} is not {_expected(option)}.")
    if isinstance(option.type, DataSource) and any(map(option.type.names_code, value)):
        raise UsageError(
            f"{where} = {value!r} names code.", hint="Code runs only if the command line names it: --data."
        )
    try:
        option.type_cast_value(ctx, value)
    except click.BadParameter as error:
        raise UsageError(f"{where} = {value!r}: {error.message}") from error
    return value


_EXPECTED = {
    SHARE: 'a share (0.5 or "50%")',
    NUMBER: "a number",
    COUNT: "a whole number",
    WIDTH: 'a whole number or "auto"',
    SIZE: 'a size ("4GB")',
    FLAG: "true or false",
    SWITCH: "true or false",
    PATH: "a path",
}


def _expected(option: click.Option) -> str:
    """What a file may say, in words."""
    if option.multiple:
        return "a list of texts"
    if isinstance(option.type, click.Choice):
        return f"one of {', '.join(option.type.choices)}"
    return _EXPECTED.get(option.entry.kind, "a text") if isinstance(option, Option) else "a text"


def _toml(value: Any) -> str:
    """A value as the file has it."""
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _fits(option: click.Option, value: Any) -> bool:
    """TOML has types: a number is not taken for a text, nor true for 1."""
    if option.multiple:
        return isinstance(value, list) and all(isinstance(item, str) for item in value)
    if option.is_flag:
        return isinstance(value, bool)
    if isinstance(option.type, click.Choice):
        return isinstance(value, str)
    if isinstance(option.type, type(click.INT)):
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, (int, float, str)) and not isinstance(value, bool)


_OF_SAMPLES = {"max_memory": "it limits what samples take", "provider": "it says what runs samples"}


def check_limit(ctx: click.Context, data: Any, *names: str) -> None:
    """Options of samples (or those `names`) without any are a mistake on the command line; in a file they are for runs
    that have some.
    """
    for name, why in _OF_SAMPLES.items():
        if names and name not in names:
            continue
        flag = f"--{name.replace('_', '-')}"
        if not data and ctx.get_parameter_source(name) == ParameterSource.COMMANDLINE:
            raise UsageError(
                f"{flag} has no effect without --data: {why}.",
                hint=f"Give samples with --data, or leave out {flag}.",
            )


def wants_timing(ctx: click.Context, dry_run: bool) -> bool:
    """Whether to time the result: not in a dry run, unless the command line asks for both, which is an error."""
    asked: bool = ctx.params["bench"]
    return asked and (not dry_run or ctx.get_parameter_source("bench") == ParameterSource.COMMANDLINE)


def model_argument(name: str) -> Callable[[F], F]:
    """A model file to read."""
    return click.argument(name, metavar=name.upper(), type=FilePath())
