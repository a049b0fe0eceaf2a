"""Options and types that several commands share, and how commands take their defaults from a configuration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from onnxprune.choose.schedule import DEFAULT_STEPS, SCHEDULES
from onnxprune.cli.run import FORMATS, Run
from onnxprune.errors import UsageError
from onnxprune.results.units import parse_ratio

F = TypeVar("F", bound=Callable[..., Any])

COMMAND_LINE_ONLY = frozenset(
    {"help", "output", "plan", "save_plan", "force", "dry_run", "groups", "layers", "why", "metric", "max_drop"}
    | {"baseline", "export_json", "export_markdown", "junit"}
    | {"report"}
)
"""What a file cannot set: it must not name files to write, allow to overwrite, name code, or make a run another."""


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


class Command(click.Command):
    """A command whose options take their defaults from the configuration.

    `tables` are keys of its table that are no options; `line_only` are options that no file sets.
    """

    tables: tuple[str, ...] = ()
    line_only: frozenset[str] = frozenset()

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


def configured(command: click.Command, ctx: click.Context) -> dict[str, Any]:
    """Values for the options of `command` from the file in force, converted. Raises UsageError naming the file."""
    from onnxprune.options.config import read

    config = read()
    if config.path is None or ctx.parent is None:
        return {}
    group = ctx.parent.command
    assert isinstance(group, click.Group)
    commands = [found for name in group.list_commands(ctx) if (found := group.get_command(ctx, name)) is not None]
    known = {entry.name or "": [*_configurable(entry), *getattr(entry, "tables", ())] for entry in commands}
    values = config.for_command(command.name or "", known)
    options = _configurable(command)
    own = config.values.get(command.name or "", {})
    result: dict[str, Any] = {}
    for key, value in values.items():
        if key not in options:
            continue
        where = config.where(command.name if key in own else None)
        result[options[key].name or key] = _converted(options[key], value, ctx, f"{where}: {key}")
    return result


def _configurable(command: click.Command) -> dict[str, click.Option]:
    """key in a file -> option"""
    hidden = COMMAND_LINE_ONLY | getattr(command, "line_only", frozenset())
    return {
        param.name.rstrip("_"): param
        for param in command.params
        if isinstance(param, click.Option) and param.name and param.name not in hidden
    }


def _converted(option: click.Option, value: Any, ctx: click.Context, where: str) -> Any:
    """A value of a TOML file as the command line would have it."""
    if option.multiple and isinstance(value, str):
        value = [value]
    if not _fits(option, value):
        expected = "a list of texts" if option.multiple else f"{option.type.name}"
        raise UsageError(f"{where} = {value!r} is not {expected}.")
    if isinstance(option.type, DataSource) and any(map(option.type.names_code, value)):
        raise UsageError(
            f"{where} = {value!r} names code.", hint="Code runs only if the command line names it: --data."
        )
    try:
        option.type_cast_value(ctx, value)
    except click.BadParameter as error:
        raise UsageError(f"{where} = {value!r}: {error.message}") from error
    return value


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


def check_limit(ctx: click.Context, data: Any) -> None:
    """--max-memory without samples is a mistake on the command line; in a file it is for runs that have some."""
    if not data and ctx.get_parameter_source("max_memory") == ParameterSource.COMMANDLINE:
        raise UsageError(
            "--max-memory has no effect without --data: it limits what samples take.",
            hint="Give samples with --data, or leave out --max-memory.",
        )


def wants_timing(ctx: click.Context, dry_run: bool) -> bool:
    """Whether to time the result: not in a dry run, unless the command line asks for both, which is an error."""
    asked: bool = ctx.params["bench"]
    return asked and (not dry_run or ctx.get_parameter_source("bench") == ParameterSource.COMMANDLINE)


def combined(options: Sequence[Callable[[F], F]]) -> Callable[[F], F]:
    """Several options as one decorator, shown in this order."""

    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def model_argument(name: str) -> Callable[[F], F]:
    """A model file to read."""
    return click.argument(name, metavar=name.upper(), type=FilePath())


def output_option(text: str, *, metavar: str = "OUT") -> Callable[[F], F]:
    """Where the result goes."""
    return click.option("-o", "--output", metavar=metavar, type=FilePath(), help=text)


def schedule_options(what: str) -> Callable[[F], F]:
    """Removal in steps, of channels or weights."""
    return combined(
        (
            click.option(
                "--schedule",
                type=click.Choice(SCHEDULES),
                show_default="one-shot; linear with --steps",
                help=f"Let {what} leave in steps, each followed by repair: equal ones (linear), equal shares of what "
                "is left (exp), small ones first and last (cos), or large ones first (cube). Takes as many times as "
                "long.",
            ),
            click.option(
                "--steps",
                metavar="N",
                type=click.IntRange(min=1),
                show_default=f"{DEFAULT_STEPS} with --schedule",
                help="The number of steps.",
            ),
        )
    )


metric_option: Callable[[F], F] = click.option(
    "--metric",
    metavar="FILE.PY:FUNCTION",
    help="Your own score: a function from the path of a model to a number, higher is better.",
)
samples_option: Callable[[F], F] = click.option(
    "--samples", metavar="N", type=click.IntRange(min=1), help="Use at most N samples, drawn by --seed."
)
preprocess_option: Callable[[F], F] = click.option(
    "--preprocess",
    metavar="STEPS",
    help='How images become inputs: imagenet, or "scale=1/255,mean=0.5,std=0.5,layout=nchw".',
)
SOURCES = "a .npz, x=a.npy (one per input), a folder, file.py:function, or random."


def data_option(purpose: str) -> Callable[[F], F]:
    """`--data`, for a `purpose`."""
    return click.option("--data", metavar="SOURCE", multiple=True, type=DataSource(), help=f"{purpose}: {SOURCES}")


data_options: Callable[[F], F] = combined(
    (
        data_option("Calibration samples"),
        preprocess_option,
        samples_option,
        click.option(
            "--max-memory",
            metavar="SIZE",
            default="4GB",
            show_default=True,
            help="What the samples may take while they are run; fewer are used if they would take more.",
        ),
    )
)
writing_options: Callable[[F], F] = combined(
    (
        click.option("--force", is_flag=True, help="Replace output files that exist."),
        click.option(
            "--external-data",
            type=click.Choice(("auto", "always", "never")),
            default="auto",
            show_default=True,
            help="Weights in a file OUT.data of their own (auto: above 2 GB).",
        ),
    )
)
allow_unproven_option: Callable[[F], F] = click.option(
    "--allow-unproven",
    is_flag=True,
    help="Write the result although no input tells whether it is right; otherwise exit code 4.",
)
output_format: Callable[[F], F] = click.option(
    "--format",
    "format_",
    type=click.Choice(FORMATS),
    default="text",
    show_default=True,
    help="Form of the result on stdout.",
)
units_option: Callable[[F], F] = click.option(
    "--units",
    type=click.Choice(("channels", "heads", "blocks")),
    default="channels",
    show_default=True,
    help="What is removed: channels (within attention, of every head alike); channels, but where an axis is split "
    "into heads, whole heads; or whole residual blocks.",
)
bench_option: Callable[[F], F] = click.option(
    "--bench/--no-bench",
    default=True,
    show_default=True,
    help="At the end, time the result in turn with MODEL (about 2 s); where it is not faster, say why.",
)
run_options: Callable[[F], F] = combined(
    (
        click.option(
            "--seed",
            type=click.IntRange(min=0),
            default=0,
            show_default=True,
            help="Seed of everything random: inputs of the proof, draws of samples, criterion 'random'.",
        ),
        click.option(
            "--threads",
            metavar="N",
            type=click.IntRange(min=0),
            default=0,
            show_default="all cores",
            help="Threads that ONNX Runtime may use. Results do not depend on it, except where something is timed.",
        ),
    )
)
