"""The entry point: global options, commands that are imported when they are called, and exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

import click

from onnxprune.cli.failure import guarded
from onnxprune.cli.run import Run, asked_format, tolerant_streams
from onnxprune.errors import did_you_mean

PROGRAM = "onnxprune"
COMPLETE_VARIABLE = "_ONNXPRUNE_COMPLETE"
COMMANDS = {
    "compress": "onnxprune.cli.compress",
    "shrink": "onnxprune.cli.shrink",
    "quantize": "onnxprune.cli.quantize",
    "sparsify": "onnxprune.cli.sparsify",
    "inspect": "onnxprune.cli.inspect",
    "bench": "onnxprune.cli.bench",
    "check": "onnxprune.cli.check",
    "sweep": "onnxprune.cli.sweep",
    "pack": "onnxprune.cli.pack",
    "unpack": "onnxprune.cli.unpack",
    "verify": "onnxprune.cli.verify",
    "diff": "onnxprune.cli.diff",
    "env": "onnxprune.cli.env",
    "completion": "onnxprune.cli.completion",
}
"""Command -> module that defines it under the name `command`, in the order of the help."""


class Application(click.Group):
    """The group of commands. `main` prints every failure in the same form, and returns by SystemExit only."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(COMMANDS[cmd_name]).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-") and not ctx.resilient_parsing:
            guess = did_you_mean(name, COMMANDS).rstrip() or f"Known: {', '.join(COMMANDS)}."
            raise click.UsageError(f"there is no command {name!r}. {guess}", ctx)
        return super().resolve_command(ctx, args)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> NoReturn:
        """See click.Command.main; only `args` has an effect."""
        arguments = list(sys.argv[1:] if args is None else args)
        instruction = os.environ.get(COMPLETE_VARIABLE)
        if instruction:
            from click.shell_completion import shell_complete

            sys.exit(shell_complete(self, {}, PROGRAM, COMPLETE_VARIABLE, instruction))
        tolerant_streams()
        run = Run(format=asked_format(arguments))
        sys.exit(guarded(run, lambda: self._run(arguments, run)))

    def _run(self, arguments: list[str], run: Run) -> None:
        with self.make_context(PROGRAM, arguments, obj=run) as context:
            self.invoke(context)


def _show_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from onnxprune import __version__

        click.echo(f"{PROGRAM} {__version__}")
        ctx.exit()


@click.group(
    cls=Application,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done, 1 a gate failed, 2 usage, 3 model or data, 4 verification, 70 a bug, 130 interrupted.",
)
@click.option("-v", "--verbose", count=True, help="Say more on stderr; twice for everything.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but results and errors, and results briefly.")
@click.option(
    "--log-level",
    type=click.Choice(("debug", "info", "warning", "error", "critical")),
    help="Level of the log on stderr, instead of that of -v and -q.",
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version, help="Show the version."
)
@click.pass_context
def application(ctx: click.Context, verbose: int, quiet: bool, log_level: str | None) -> None:
    """Make ONNX models smaller and faster: remove channels or weights, prove the result, measure it."""
    if quiet and verbose:
        raise click.UsageError("-q and -v exclude each other.", ctx)
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
        ctx.exit(2)
    run = ctx.ensure_object(Run)
    run.verbosity, run.quiet = verbose, quiet
    from onnxprune.cli.progress import configure_logging

    configure_logging(verbose, quiet, log_level)


def main() -> NoReturn:
    """The program `onnxprune`."""
    application.main()
