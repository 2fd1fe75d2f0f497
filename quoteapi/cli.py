"""The command `quoteapi`.

Exit codes: 0 done; 1 done in part or not at all, as the message says; 2 the command was written wrongly;
3 a setting is wrong or the database cannot be used.
"""

import errno
import json
import os
import shutil
import signal
import socket
import sqlite3
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from io import TextIOWrapper
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Any, cast

import click
from click.shell_completion import get_completion_class
from peewee import PeeweeException

from quoteapi import __version__, catalogue, clock, database
from quoteapi.app import quotes_of
from quoteapi.config import Settings, WrongSetting, load_settings
from quoteapi.quotes import (
    DateToCome,
    Filters,
    InvalidQuote,
    NoQuoteFound,
    Quotation,
    Quotes,
    all_quotations,
    catalogue_size,
    keep,
    listed,
    valid_quotation,
)

if TYPE_CHECKING:
    from click._termui_impl import ProgressBar

EXIT_FAILED = 1
EXIT_SETTINGS = 3
STANDARD_STREAM = Path("-")
MOST = 1_000_000_000
KILL_SECONDS = 10
"""How long a worker may take to end what it is at."""

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


class Failure(click.ClickException):
    """Something that the operator should read; the command ends with its exit code."""

    def __init__(self, message: str, exit_code: int = EXIT_FAILED) -> None:
        super().__init__(message)
        self.__dict__["exit_code"] = exit_code  # what click reads


class _Commands(click.Group):
    """Commands whose foreseen errors are a sentence and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401
        try:
            return super().invoke(ctx)
        except WrongSetting as error:
            raise Failure(str(error), EXIT_SETTINGS) from error
        except (PeeweeException, sqlite3.Error) as error:
            raise Failure(f"The database cannot be used: {error}", EXIT_SETTINGS) from error
        except (OSError, UnicodeError) as error:
            if isinstance(error, OSError) and error.errno == errno.EPIPE:
                raise  # the reader had enough, as in `| head`
            raise Failure(str(error)) from error


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Run and feed a quote service that one person can run."""


@main.command()
@click.option("--host", help="The address to listen on [setting HOST; default: 127.0.0.1].")
@click.option("--port", type=click.IntRange(1, 65_535), help="The port to listen on [setting PORT; default: 8000].")
@click.option("--workers", type=click.IntRange(1, 1_024), help="Processes [setting WORKERS; default: one a core].")
def serve(host: str | None, port: int | None, workers: int | None) -> None:
    """Serve the quotes over HTTP, until Ctrl-C."""
    settings = load_settings(os.environ)
    host, port = host or settings.host, port or settings.port
    cores = os.cpu_count() or 1
    workers = workers or settings.workers or cores
    database.connect(settings).close()  # an operator's mistake is told before a worker starts
    address = _free_address(host, port)
    _say_what_to_open(host, port)
    _leave_interrupts_to_the_parent()
    from granian import Granian  # noqa: PLC0415 only this command needs it, and it is large
    from granian.constants import Interfaces  # noqa: PLC0415
    from granian.log import LogLevels  # noqa: PLC0415

    Granian(
        "quoteapi.app:api",
        address=address,
        port=port,
        interface=Interfaces.WSGI,
        workers=workers,
        blocking_threads=threads_of(cores),
        websockets=False,
        workers_kill_timeout=KILL_SECONDS,
        log_level=LogLevels.warning,
    ).serve()


def threads_of(cores: int) -> int:
    """Answer the threads of a serving process: those that wait for the database do not hold up the others."""
    return min(8, 2 * cores + 1)


def _free_address(host: str, port: int) -> str:
    """Answer the address of a host, where the port is free."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no such host"
        message = f"Cannot listen on {host} port {port}: {reason}. Set HOST or PORT, for example PORT=8001."
        raise Failure(message, EXIT_SETTINGS) from error
    return str(address[0])


def _leave_interrupts_to_the_parent() -> None:
    """Have workers born deaf to Ctrl-C, which the terminal sends to them too: the parent ends them, once."""
    interrupt = {signal.SIGINT}
    os.register_at_fork(
        before=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, interrupt),
        after_in_parent=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, interrupt),
    )


def _say_what_to_open(host: str, port: int) -> None:
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    base = f"http://{shown}:{port}"
    click.echo(f"QuoteAPI is at {base}, until Ctrl-C. Open in a browser, or in another terminal:\n")
    for path, meaning in (
        ("/daily", "the quote of the day"),
        ("/random", "another one each time"),
        ("/health", "whether all is well"),
    ):
        click.echo(f"  curl {base}{path:<10} {meaning}")
    click.echo()


@main.command()
@click.option("--date", "day", type=click.DateTime(["%Y-%m-%d"]), help="A past date instead of today (UTC).")
@as_json
def daily(day: datetime | None, *, as_json: bool) -> None:
    """Show the quote of the day."""
    with _quotes() as quotes:
        asked = day.date() if day is not None else clock.now().date()
        try:
            _show(quotes.of_date(asked), as_json=as_json)
        except DateToCome as error:
            raise Failure(
                f"The quote of {asked} is not decided yet; it will be when that day begins, at midnight UTC."
            ) from error


@main.command("random")
@click.option("--category", help="Of this category only.")
@click.option("--author", help="By this author only.")
@click.option("--max-length", type=click.IntRange(1, MOST), help="Of at most so many characters.")
@as_json
def random_quote(category: str | None, author: str | None, max_length: int | None, *, as_json: bool) -> None:
    """Show a random quote."""
    with _quotes() as quotes:
        _show(quotes.random(Filters(category, author, max_length)), as_json=as_json)


@main.group("quotes")
def quotes_() -> None:
    """List, add, import and export quotes."""


@quotes_.command("list")
@click.option("--category", help="Of this category only.")
@click.option("--author", help="By this author only.")
@click.option(
    "--limit", type=click.IntRange(1, MOST), default=20, show_default=True, help="How many, the newest first."
)
@as_json
def list_(category: str | None, author: str | None, limit: int, *, as_json: bool) -> None:
    """List quotes, the newest first."""
    with _database():
        rows = [
            (quote.id, quote.author, quote.category, quote.quote) for quote in listed(Filters(category, author), limit)
        ]
    if as_json:
        keys = ("id", "author", "category", "quote")
        click.echo(json.dumps([dict(zip(keys, row, strict=True)) for row in rows], ensure_ascii=False, indent=2))
    elif rows:
        _table(("id", "author", "category", "quote"), rows)
    else:
        click.echo("No quotes.", err=True)


@quotes_.command()
@click.argument("quote")
@click.option("--author", required=True, help="Who said it.")
@click.option("--category", required=True, help="What it is about, for example courage.")
@click.option("--source", default="", help="The work and its year, or the speech and its date.")
@as_json
def add(quote: str, author: str, category: str, source: str, *, as_json: bool) -> None:
    """Add a QUOTE."""
    try:
        quotation = valid_quotation({"quote": quote, "author": author, "category": category, "source": source})
    except InvalidQuote as error:
        raise click.UsageError(f"{error}.") from error
    with _database():
        quote_id, new = keep(quotation, clock.now())
    if as_json:
        click.echo(json.dumps({"id": quote_id, "new": new}))
    else:
        click.echo(f"Added as quote {quote_id}." if new else f"It is there already, as quote {quote_id}.")


FORMATS = click.Choice(["csv", "json", "jsonl"])


@quotes_.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path))
@click.option("--format", "form", type=FORMATS, help="Of the file; by default its name's ending tells.")
@click.option("--strict", is_flag=True, help="Store nothing at all if a row is bad.")
@as_json
def import_(file: Path, form: catalogue.Format | None, *, strict: bool, as_json: bool) -> None:
    """Add the quotes of a FILE: CSV, JSON or JSON lines; - is standard input.

    Columns are quote, author, category and, if you like, source. A quote that is there already is not added again.
    A bad row is reported with its line and skipped; then the exit code is 1.
    """
    form = form or _format_of(file)
    with _database(), _seekable(file) as raw:
        try:
            if strict and (bad := catalogue.bad_rows(_rows(raw, form, f"Checking {file.name}"))):
                imported = catalogue.Imported(bad=bad, refused=True)
            else:
                imported = catalogue.import_rows(_rows(raw, form, f"Reading {file.name}"), clock.now)
        except catalogue.UnreadableFile as error:
            raise Failure(f"{file}: {error}") from error
    _report(imported, as_json=as_json)
    if imported.bad:
        sys.exit(EXIT_FAILED)


@quotes_.command()
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path), default="-")
@click.option("--format", "form", type=FORMATS, help="Of the file; by default its name's ending tells, else csv.")
def export(file: Path, form: catalogue.Format | None) -> None:
    """Write all quotes to a FILE (by default standard output), in a form that `import` reads."""
    form = form or ("csv" if file == STANDARD_STREAM else _format_of(file))
    if not file.parent.is_dir():
        raise Failure(f"The folder {file.parent} does not exist.")
    # Whole or not at all, except where it goes into something that is no file, such as a pipe.
    whole = not file.exists() or file.is_file()
    with (
        _database(),
        click.open_file(str(file), "w", encoding="utf-8", atomic=whole) as stream,
        _progress(f"Writing {file.name}", catalogue_size() if file != STANDARD_STREAM else 0) as bar,
    ):
        catalogue.write_quotations(_counted(all_quotations(), bar), stream, form)


@main.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what makes the SHELL complete this command's words.

    \b
    bash, in ~/.bashrc:  eval "$(quoteapi completion bash)"
    zsh, in ~/.zshrc:    eval "$(quoteapi completion zsh)"
    fish:                quoteapi completion fish | source
    """  # noqa: D301 the backspace tells click to leave the lines as they are
    completer = get_completion_class(shell)
    assert completer is not None
    click.echo(completer(main, {}, "quoteapi", "_QUOTEAPI_COMPLETE").source())


@contextmanager
def _database() -> Iterator[Settings]:
    """Open the working database for a command."""
    settings = load_settings(os.environ)
    with database.connect(settings).connection_context():
        yield settings


@contextmanager
def _quotes() -> Iterator[Quotes]:
    with _database() as settings:
        try:
            yield quotes_of(settings)
        except NoQuoteFound as error:
            raise Failure(str(error)) from error


def _show(quotation: Quotation, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(quotation._asdict(), ensure_ascii=False))
        return
    width = min(shutil.get_terminal_size().columns, 100)
    click.echo(click.wrap_text(f"“{quotation.quote}”", width))
    click.echo(
        click.wrap_text(", ".join(filter(None, ("— " + quotation.author, quotation.source))), width, "    ", "      ")
    )


def _table(head: tuple[str, ...], rows: Sequence[tuple[object, ...]]) -> None:
    """Print a table; on a terminal, the last column is cut at its edge."""
    columns = list(zip(head, *([str(cell) for cell in row] for row in rows), strict=False))
    widths = [max(map(len, column)) for column in columns]
    edge = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    for cells in zip(*columns, strict=True):
        line = "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
        click.echo(line if len(line) <= edge else line[: edge - 1] + "…")


def _format_of(file: Path) -> catalogue.Format:
    form = {".csv": "csv", ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl"}.get(file.suffix.lower())
    if form is None:
        raise click.UsageError("Say what the file is: --format csv, --format json or --format jsonl.")
    return cast("catalogue.Format", form)


def _progress(label: str, length: int) -> "ProgressBar[int]":
    """Make a progress bar on standard error; unseen where nobody looks or the length is not known."""
    unseen = not (length and sys.stderr.isatty())
    return click.progressbar(
        length=length, label=label, file=sys.stderr, hidden=unseen, update_min_steps=max(1, length // 200)
    )


@contextmanager
def _seekable(file: Path) -> Iterator[IO[bytes]]:
    """Open a file to be read more than once; standard input is kept aside for that."""
    if file != STANDARD_STREAM:
        with file.open("rb") as stream:
            yield stream
        return
    with TemporaryFile() as kept:
        shutil.copyfileobj(sys.stdin.buffer, kept)
        yield kept


def _rows(raw: IO[bytes], form: catalogue.Format, label: str) -> Iterator[catalogue.Row]:
    """Read rows from the beginning, and show how far it is."""
    size = raw.seek(0, os.SEEK_END)
    raw.seek(0)
    # What is not UTF-8 becomes surrogates, which are refused row by row, with the line.
    text = TextIOWrapper(raw, encoding="utf-8-sig", errors="surrogateescape", newline="")
    with _progress(label, size) as bar:
        for row in catalogue.read_quotations(text, form):
            if not bar.hidden:
                bar.update(raw.tell() - bar.pos)
            yield row
    text.detach()


def _counted(quotations: Iterable[Quotation], bar: "ProgressBar[int]") -> Iterator[Quotation]:
    for quotation in quotations:
        bar.update(1)
        yield quotation


def _report(imported: catalogue.Imported, *, as_json: bool) -> None:
    if as_json:
        bad = [{"line": line, "reason": reason} for line, reason in imported.bad]
        click.echo(json.dumps({"new": imported.new, "known": imported.known, "bad": bad, "refused": imported.refused}))
        return
    for line, reason in imported.bad:
        click.echo(f"line {line}: {reason}", err=True)
    if imported.refused:
        click.echo(f"Nothing was added: {len(imported.bad)} bad, and --strict was asked for.", err=True)
    else:
        click.echo(f"{imported.new} added, {imported.known} there already, {len(imported.bad)} bad.")
