"""`onnxprune completion`: the script that makes a shell complete commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from onnxprune.cli.run import Run

_HOW = {
    "bash": 'eval "$(onnxprune completion bash)" in ~/.bashrc',
    "zsh": 'eval "$(onnxprune completion zsh)" in ~/.zshrc',
    "fish": "onnxprune completion fish > ~/.config/fish/completions/onnxprune.fish",
}


_EPILOG = "\b\n" + "\n".join(f"{shell}:  {how}" for shell, how in _HOW.items())


@click.command("completion", epilog=_EPILOG, short_help="Print the completion script of a shell.")
@click.argument("shell", type=click.Choice(tuple(_HOW)))
@click.pass_context
def command(ctx: click.Context, /, shell: str) -> None:
    """Print the completion script of a shell."""
    from onnxprune.cli.main import COMPLETE_VARIABLE, PROGRAM, application

    kind = get_completion_class(shell)
    assert kind is not None
    ctx.ensure_object(Run).print(kind(application, {}, PROGRAM, COMPLETE_VARIABLE).source())
