"""The root of the command `quoteapi`: its group, errors, common options, container and completion.

Exit codes: 0 done; 1 done in part or not at all, as the message says; 2 wrong usage;
3 a setting is invalid or the database cannot be used.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click
from click.exceptions import NoArgsIsHelpError
from click.shell_completion import get_completion_class

from quoteapi import __version__
from quoteapi.cli.output import NAME, as_started, command_name, print_lines, stage_option
from quoteapi.container import Container
from quoteapi.deploy.checks.check import CheckFailed
from quoteapi.deploy.operated_stage import load_stage_settings
from quoteapi.observability import redaction
from quoteapi.observability.logging_setup import configure_logging
from quoteapi.printable import printable
from quoteapi.quotes.errors import QuoteNotFound
from quoteapi.settings import Settings, SettingsError, load_settings
from quoteapi.sms.gateway import GatewayError
from quoteapi.storage import database
from quoteapi.storage.database_copy import CopyFailed
from quoteapi.subscriptions.errors import NoSharedState, SmsDisabled

if TYPE_CHECKING:
    import peewee

EXIT_FAILED = 1
COMPLETION_VARIABLE = "_QUOTEAPI_COMPLETE"
POSITIVE_INTEGER = click.IntRange(1, 1_000_000_000)
limit_option = click.option(
    "--limit", type=POSITIVE_INTEGER, default=20, show_default=True, metavar="N", help="Show at most N, newest first."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
_EXPECTED_ERRORS = CopyFailed, GatewayError, SmsDisabled, NoSharedState, QuoteNotFound


class CannotStart(click.ClickException):
    """A setting is invalid, the database cannot be used, or the port is taken."""

    exit_code = 3


@contextmanager
def _printable_errors() -> Iterator[None]:
    """Make the texts of errors printable, except those of click that have several lines and no text from elsewhere."""
    try:
        yield
    except (click.MissingParameter, NoArgsIsHelpError):
        raise
    except click.ClickException as error:
        message = as_started(printable(error.format_message()))
        error.format_message = lambda: message  # type: ignore[method-assign]
        raise


STAGE_COMMANDS = {
    **dict.fromkeys(("db status", "doctor", "subscribers export", "subscribers list"), False),
    **dict.fromkeys(("db migrate", "publish", "reconcile", "sms start", "sms stop"), True),
    **dict.fromkeys(("subscribers opt-in", "subscribers remove", "subscribers set-time-zone"), True),
}
"""The commands that work with --stage, and whether they change something."""


class _Command(click.Command):
    """A command that stops if it does not work with --stage."""

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401
        if stage_option() is not None and (name := _command_words(ctx)) not in STAGE_COMMANDS:
            raise click.UsageError(
                f"{name} does not work with --stage. These commands do: {', '.join(sorted(STAGE_COMMANDS))}. The quotes"
                " of a stage are in its package: to change them, run `make catalogue` and `zappa update`."
            )
        return super().invoke(ctx)


def _command_words(context: click.Context) -> str:
    """Return the words of a command, for example `sms stop`."""
    if context.parent is None:
        return ""
    return f"{_command_words(context.parent)} {context.info_name}".strip()


class _Group(click.Group):
    command_class = _Command


class _RootGroup(_Group):
    """Turns the expected errors of all commands into a message and an exit code."""

    group_class = _Group

    def main(self, *args: Any, **extra: Any) -> Any:  # noqa: ANN401
        """Run a command. Help and usage errors name it as the operator started it."""
        return super().main(*args, **{"prog_name": command_name(), "complete_var": COMPLETION_VARIABLE, **extra})

    def make_context(self, *args: Any, **extra: Any) -> click.Context:  # noqa: ANN401
        with _printable_errors():
            return super().make_context(*args, **extra)

    @_printable_errors()
    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401
        try:
            return super().invoke(ctx)
        except SettingsError as error:
            raise CannotStart(str(error)) from error
        except CheckFailed as error:
            _, _, found, *to_do = error.args
            where = f"Stage {stage}: " if (stage := stage_option()) is not None else ""
            raise CannotStart(". ".join((f"{where}{found}", *filter(None, to_do)))) from error
        except database.STORAGE_ERRORS as error:
            raise CannotStart(f"The database cannot be used: {one_line(error)}") from error
        except _EXPECTED_ERRORS as error:
            message = f"{error}"
            end = "" if message.endswith((".", "?")) else "."
            raise click.ClickException(f"{message[:1].upper()}{message[1:]}{end}") from error
        except BrokenPipeError:
            raise  # click exits quietly if the reader closes the pipe, as in `| head`
        except (OSError, UnicodeError) as error:
            raise click.ClickException(str(error)) from error


def one_line(error: Exception) -> str:
    """Return an error message of the database on one line, with phone numbers masked."""
    return redaction.mask_phone_numbers(" ".join(str(error).split()))


@click.group(cls=_RootGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name=NAME)
@click.option(
    "--stage",
    metavar="STAGE",
    help="Act on this stage of zappa_settings.json, with its settings and your AWS credentials.",
)
def main(stage: str | None) -> None:
    """Serve quotes over HTTP, and send the quote of the day by SMS.

    To start the service, use the command serve. To see the options of a command, add --help to it.
    """


def load_command_settings() -> Settings:
    """Return the settings of the stage, if there is one, else those of this machine.

    If the command changes a stage, tell the operator which one. Raises `SettingsError`, and `CheckFailed` if a stage or
    its remote environment cannot be read.
    """
    if (stage := stage_option()) is None:
        return load_settings(os.environ)
    settings = load_stage_settings(stage)
    if STAGE_COMMANDS[_command_words(click.get_current_context())]:
        print_lines(f"Stage {stage}, {database.describe_database(settings)}:", err=True)
    return settings


@contextmanager
def open_container(*, may_create: bool = False) -> Iterator[Container]:
    """Open the working database, and yield the container for a command.

    If `may_create`, create the database that `DATABASE_URL` names; else raise `SettingsError` if there is none.
    """
    settings = load_command_settings()
    if may_create and settings.dynamodb_table is not None:
        raise SettingsError(
            "With a DynamoDB table, the quotes are those of the bundled catalogue, which is read-only. To add quotes,"
            " add them to catalogue/quotes.csv and run `make catalogue`, or use PostgreSQL (DATABASE_URL)."
        )
    configure_logging(settings)
    with connect_database(settings, may_create=may_create).connection_context():
        yield Container(settings)


def connect_database(settings: Settings, *, may_create: bool) -> "peewee.Database":
    """Return the working database, and tell the operator if its file was created. Raises as `open_container`."""
    if not may_create:
        database.require_database(settings)
    path = settings.database_path
    is_new = path is not None and not path.exists()
    connection = database.connect(settings)
    if is_new:
        print_lines(f"Created the database {path}.", err=True)
    return connection


@main.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script that completes commands in a shell.

    Add the line of your shell to its configuration file:

    \b
    ~/.bashrc                   eval "$(quoteapi completion bash)"
    ~/.zshrc                    eval "$(quoteapi completion zsh)"
    ~/.config/fish/config.fish  quoteapi completion fish | source
    """  # noqa: D301 the backspace makes click keep the line breaks
    completer = get_completion_class(shell)
    assert completer is not None
    click.echo(completer(main, {}, NAME, COMPLETION_VARIABLE).source())
