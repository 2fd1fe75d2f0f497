"""The command `quoteapi`.

Exit codes: 0 done; 1 done in part or not at all, as the message says; 2 the command was written wrongly;
3 a setting is wrong or the database cannot be used.
"""

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from peewee import PeeweeException

from quoteapi import __version__
from quoteapi.container import Container
from quoteapi.observability import redaction
from quoteapi.quotes.errors import QuoteNotFound
from quoteapi.quotes.service import QuoteService
from quoteapi.settings import SettingsError, load_settings
from quoteapi.sms.gateway import GatewayError
from quoteapi.storage import database
from quoteapi.storage.database_copy import CannotCopy
from quoteapi.subscriptions.errors import NoSharedState, RateLimited, SmsDisabled

EXIT_FAILED = 1
EXIT_SETTINGS = 3
MOST = 1_000_000_000
newest_first = click.option(
    "--limit", type=click.IntRange(1, MOST), default=20, show_default=True, help="How many, the newest first."
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


class CommandFailed(click.ClickException):
    """Something that the operator should read; the command ends with its exit code."""

    def __init__(self, message: str, exit_code: int = EXIT_FAILED) -> None:
        super().__init__(message)
        self.__dict__["exit_code"] = exit_code  # what click reads


class _Commands(click.Group):
    """Commands whose foreseen errors are a sentence and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401
        try:
            return super().invoke(ctx)
        except SettingsError as error:
            raise CommandFailed(str(error), EXIT_SETTINGS) from error
        except (PeeweeException, sqlite3.Error) as error:
            raise CommandFailed(f"The database cannot be used: {one_line(error)}", EXIT_SETTINGS) from error
        except (CannotCopy, GatewayError, RateLimited, SmsDisabled, NoSharedState, QuoteNotFound) as error:
            said = f"{error}".rstrip(".")
            raise CommandFailed(f"{said[:1].upper()}{said[1:]}.") from error
        except (OSError, UnicodeError) as error:
            if isinstance(error, OSError) and error.errno == errno.EPIPE:
                raise  # the reader had enough, as in `| head`
            raise CommandFailed(str(error)) from error


def one_line(error: Exception) -> str:
    """Answer what a database says is wrong, without the numbers that it may name."""
    return redaction.mask_numbers(" ".join(str(error).split()))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Run and feed a quote service that one person can run."""


@contextmanager
def open_container() -> Iterator[Container]:
    """Put the service together for a command, with the working database open."""
    settings = load_settings(os.environ)
    with database.connect(settings).connection_context():
        yield Container(settings)


@contextmanager
def open_quotes() -> Iterator[QuoteService]:
    with open_container() as service:
        yield service.quotes
