"""The command `quoteapi completion`."""

import click
from click.shell_completion import get_completion_class

from quoteapi.cli.root import main


@main.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what makes the SHELL complete this command's words.

    \b
    bash, in ~/.bashrc:  eval "$(quoteapi completion bash)"
    zsh, in ~/.zshrc:    eval "$(quoteapi completion zsh)"
    fish:                quoteapi completion fish | source
    """  # noqa: D301 the backspace makes click keep the line breaks
    completer = get_completion_class(shell)
    assert completer is not None
    click.echo(completer(main, {}, "quoteapi", "_QUOTEAPI_COMPLETE").source())
