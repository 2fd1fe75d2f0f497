"""The command `quoteapi`.

Exit codes: 0 done; 1 done in part or not at all, as the message says; 2 the command was written wrongly;
3 a setting is wrong or the database cannot be used.
"""

import csv
import errno
import json
import os
import shutil
import signal
import socket
import sqlite3
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from datetime import datetime
from http.client import responses
from io import StringIO, TextIOWrapper
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Any, TypeVar, cast

import click
from click.shell_completion import get_completion_class
from peewee import OperationalError, PeeweeException

from quoteapi import (
    __version__,
    catalogue,
    clock,
    console,
    copying,
    database,
    deployment,
    doctor,
    phone,
    subscriptions,
)
from quoteapi.config import Settings, WrongSetting, address_of, load_settings, settings_of
from quoteapi.copying import CannotCopy
from quoteapi.deliveries import Draft
from quoteapi.limits import SmsSwitchedOff, TooMany, set_switch
from quoteapi.models import Subscriber
from quoteapi.quotes import (
    DateToCome,
    InvalidQuote,
    NoQuoteFound,
    Quotation,
    Quotes,
    all_quotations,
    keep,
    valid_quotation,
)
from quoteapi.search import LONGEST_SEARCH, Filters, catalogue_size, page
from quoteapi.service import Service
from quoteapi.sms import GatewayError

if TYPE_CHECKING:
    from click._termui_impl import ProgressBar

EXIT_FAILED = 1
EXIT_SETTINGS = 3
STANDARD_STREAM = Path("-")
MOST = 1_000_000_000
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
BAD_REQUEST = 400
KILL_SECONDS = 10
"""How long a worker may take to end what it is at."""

_Row = TypeVar("_Row")

newest_first = click.option(
    "--limit", type=click.IntRange(1, MOST), default=20, show_default=True, help="How many, the newest first."
)
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
            raise Failure(f"The database cannot be used: {_in_a_line(error)}", EXIT_SETTINGS) from error
        except (CannotCopy, GatewayError, TooMany, SmsSwitchedOff, subscriptions.NotShared, NoQuoteFound) as error:
            said = f"{error}".rstrip(".")
            raise Failure(f"{said[:1].upper()}{said[1:]}.") from error
        except (OSError, UnicodeError) as error:
            if isinstance(error, OSError) and error.errno == errno.EPIPE:
                raise  # the reader had enough, as in `| head`
            raise Failure(str(error)) from error


def _in_a_line(error: Exception) -> str:
    """Answer what a database says is wrong, without the numbers that it may name."""
    return phone.without_numbers(" ".join(str(error).split()))


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
    try:
        database.connect(settings).close()  # an operator's mistake is told before a worker starts
    except OperationalError as error:  # which may pass, and quotes need not wait for it
        reason = _in_a_line(error)
        click.echo(f"The database is away, so there are only the quotes of the shipped catalogue: {reason}", err=True)
    address = _free_address(host, port)
    os.environ.update(HOST=host, PORT=str(port))  # by which the workers name the service in SMS
    _say_what_to_open(settings, host, port)
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
    return min(8, max(5, 2 * cores + 1))


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
        # Nor may one that is not ready yet do with the parent's word to end what the parent does: note it, and go on.
        after_in_child=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL),
    )


def _say_what_to_open(settings: Settings, host: str, port: int) -> None:
    base = address_of(host, port)
    click.echo(f"QuoteAPI is at {base}, until Ctrl-C. Open in a browser, or in another terminal:\n")
    example = "919028000001" if settings.gateway == "console" else "<your number>"
    for request, meaning in (
        (f"{base}/daily", "the quote of the day"),
        (f"{base}/random", "another one each time"),
        (f"{base}/quotes?q=hope", "the catalogue, searched"),
        (f"-d mobile={example} {base}/subscribe", "the quote of the day by SMS"),
        (f"{base}/health", "whether all is well"),
    ):
        click.echo(f"  curl {request:<58}  {meaning}")
    if settings.gateway == "console":
        click.echo("\nNo SMS leaves this machine: each is printed here, and kept for `.venv/bin/quoteapi sms inbox`.")
    else:
        click.echo("\nSMS go out by Amazon SNS, and cost money. `quoteapi doctor` tells whether all is well.")
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
@click.option("--search", "words", help="With these words only, in the quote, its author or its source.")
@newest_first
@as_json
def list_(category: str | None, author: str | None, words: str | None, limit: int, *, as_json: bool) -> None:
    """List quotes, the newest first."""
    if words is not None and len(words) > LONGEST_SEARCH:
        raise click.UsageError(f"At most {LONGEST_SEARCH} characters can be searched for.")
    with _database():
        rows = [
            (quote.id, quote.author, quote.category, quote.quote)
            for quote in page(Filters(category, author, words=words or None), limit)
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
    _need_folder_of(file)
    # Whole or not at all, except where it goes into something that is no file, such as a pipe.
    whole = not file.exists() or file.is_file()
    with (
        _database(),
        click.open_file(str(file), "w", encoding="utf-8", atomic=whole) as stream,
        _progress(f"Writing {file.name}", catalogue_size() if file != STANDARD_STREAM else 0) as bar,
    ):
        catalogue.write_quotations(_counted(all_quotations(), bar), stream, form)


@main.group()
def subscribers() -> None:
    """List, export and remove subscribers."""


unmasked = click.option("--unmasked", is_flag=True, help="Show whole numbers.")
of_state = click.option("--state", type=click.Choice(subscriptions.STATES), help="Those in this state only.")


class Mobile(click.ParamType[str]):
    """A phone number, however it is written."""

    name = "mobile"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Answer the number's E.164 form."""
        try:
            return phone.read_mobile(value)
        except phone.InvalidMobile as error:
            self.fail(f"{error} {phone.RIGHT_FORM}", param, ctx)


@subscribers.command("list")
@of_state
@newest_first
@unmasked
@as_json
def list_subscribers(state: str | None, limit: int, *, unmasked: bool, as_json: bool) -> None:
    """List subscribers, the newest first; their numbers are masked."""
    with _database():
        found = [_shown(row, unmasked=unmasked) for row in subscriptions.newest(state, limit)]
    if as_json:
        click.echo(json.dumps(found, indent=2))
    elif found:
        head = ("id", "mobile", "state", "confirmed_at", "ended_at", "on_topic")
        _table(head, [tuple(_in_words(row[name]) for name in head) for row in found])
    else:
        click.echo("No subscribers.", err=True)


@subscribers.command("export")
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path), default="-")
@of_state
@click.option("--format", "form", type=click.Choice(["csv", "jsonl"]), help="By default as FILE ends, else csv.")
@unmasked
def export_subscribers(file: Path, state: str | None, form: str | None, *, unmasked: bool) -> None:
    """Write subscribers and their consent to a FILE (by default standard output); numbers are masked.

    A file can be read by its owner only.
    """
    form = form or ("csv" if file == STANDARD_STREAM else _format_of(file))
    if form == "json":
        raise click.UsageError("Subscribers are written as csv or jsonl.")
    with _database(), _owners_file(file) as stream:
        rows = (_shown(row, unmasked=unmasked) for row in subscriptions.everyone(state))
        writer = csv.DictWriter(stream, EXPORTED)
        if form == "csv":
            writer.writeheader()
        with _progress(f"Writing {file.name}", subscriptions.count(state) if file != STANDARD_STREAM else 0) as bar:
            for row in _counted(rows, bar):
                if form == "csv":
                    writer.writerow(row)
                else:
                    stream.write(f"{json.dumps(row)}\n")
    masked = "" if unmasked else "; --unmasked writes whole numbers"
    if file != STANDARD_STREAM:
        click.echo(f"{bar.pos} written to {file}{masked}.", err=True)


@subscribers.command()
@click.argument("mobile", type=Mobile())
@click.option("--yes", is_flag=True, help="Do not ask whether you are sure.")
def remove(mobile: str, *, yes: bool) -> None:
    """Take MOBILE off the topic, and leave nothing of the number behind."""
    if not yes:
        click.confirm(f"Remove {mobile}, with the proof of its consent?", abort=True)
    with _database() as service:
        if not service.subscriptions.remove(mobile):
            raise Failure("There is nothing of this number.")
    click.echo("Removed; nothing of the number is left.")


@subscribers.command("opt-in")
@click.argument("mobile", type=Mobile())
def opt_in(mobile: str) -> None:
    """Let MOBILE, which replied STOP and wants to come back, subscribe again.

    AWS does that once in 30 days for a number.
    """
    with _database() as service:
        service.gateway.let_back_in(mobile)
    click.echo("Done. The number can subscribe again.")


@main.command()
@click.option("--dry-run", is_flag=True, help="Show the SMS and how many would get it; send nothing.")
@click.option("--again", is_flag=True, help="Also where nobody knows whether today's went out.")
@as_json
def publish(*, dry_run: bool, again: bool, as_json: bool) -> None:
    """Send the quote of the day to everyone who subscribed, unless it was sent today."""
    with _database() as service:
        if dry_run:
            _show_draft(service.deliveries.draft(), as_json=as_json)
            return
        with _console_silent(silent=as_json):
            published = service.deliveries.publish(again=again)
    if as_json:
        click.echo(json.dumps({**published._asdict(), "date": published.date.isoformat()}))
    else:
        click.echo(f"The SMS of {published.date} {published.message}.")


@main.group()
def sms() -> None:
    """Look into the local inbox; switch SMS off and on."""


@sms.command()
@click.option("--limit", type=click.IntRange(1, MOST), default=20, show_default=True, help="How many, the newest last.")
@as_json
def inbox(limit: int, *, as_json: bool) -> None:
    """Show the SMS that went to the local inbox, the newest last."""
    with _database() as service:
        kept = console.inbox(limit)
        if not kept and service.settings.gateway != "console":
            raise Failure("SMS go out by SNS, not to the inbox. For the inbox set SMS_GATEWAY=console.")
    if as_json:
        rows = [
            {"to": row.to, "message": row.message, "sent_at": row.sent_at.isoformat(), "kind": row.kind} for row in kept
        ]
        click.echo(json.dumps(rows, ensure_ascii=False, indent=2))
        return
    for row in kept:
        click.secho(f"{row.sent_at:%Y-%m-%d %H:%M:%S} UTC  {row.kind} to {row.to}", bold=True)
        click.echo(f"{console.boxed(row.message)}\n")
    if not kept:
        click.echo("No SMS yet. Subscribe a number, and its code comes here.", err=True)


@sms.command()
def stop() -> None:
    """Switch all SMS off, at once and for every machine of the service."""
    with _database():
        set_switch(clock.now(), off=True)
    click.echo("SMS are switched off. To go on: quoteapi sms start")


@sms.command()
def start() -> None:
    """Switch SMS on again."""
    with _database():
        set_switch(clock.now(), off=False)
    click.echo("SMS are switched on.")


@main.command()
@click.option("--all", "everyone", is_flag=True, help="Put everyone who is active on the topic again.")
@as_json
def reconcile(*, everyone: bool, as_json: bool) -> None:
    """Make Amazon SNS agree with the database."""
    with (
        _database() as service,
        _progress("Reconciling", subscriptions.unsettled_count()) as bar,
        _console_silent(silent=as_json),
    ):
        done = service.subscriptions.reconcile(progress=bar.update, everyone=everyone)
    if as_json:
        click.echo(json.dumps(done._asdict()))
    else:
        click.echo(
            f"{done.subscribed} put on the topic, {done.unsubscribed} taken off, {done.stopped} replied STOP,"
            f" {done.refused} refused, {done.failed} failed, {done.left} left."
        )
    if done.failed or done.left:
        sys.exit(EXIT_FAILED)


@main.group()
def db() -> None:
    """Look at the database's tables, bring them up to date, copy them."""


@db.command()
@as_json
def status(*, as_json: bool) -> None:
    """Show the migrations, and which are missing; then the exit code is 1."""
    settings = load_settings(os.environ)
    _make_file(settings)
    found = database.migrations(settings)
    if as_json:
        click.echo(json.dumps([migration._asdict() for migration in found], indent=2))
    else:
        click.echo(f"{database.where(settings)}\n")
        _table(("migration", "state"), [tuple(migration) for migration in found])
    if any(migration.state == "missing" for migration in found):
        sys.exit(EXIT_FAILED)


@db.command()
@as_json
def migrate(*, as_json: bool) -> None:
    """Apply the migrations that are missing; fill a new database with the catalogue."""
    settings = load_settings(os.environ)
    _make_file(settings)
    applied = database.make_ready(settings)
    if as_json:
        click.echo(json.dumps({"applied": applied}))
    else:
        click.echo(f"Applied: {', '.join(applied)}." if applied else "Nothing is missing.")


@db.command()
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@as_json
def copy(source: str, target: str, *, as_json: bool) -> None:
    """Copy the database FROM, all of it, to TO, which is new; both are written as DATABASE_URL is.

    Stop the service meanwhile. A copy that was broken off goes on where it was. Passwords are best left out: the driver
    looks for them in PGPASSWORD and in ~/.pgpass.
    """
    ours, theirs = settings_of(source), settings_of(target)
    if ours.database_path is not None and not ours.database_path.exists():
        raise Failure(f"There is no database {ours.database_path}.")
    try:
        with _progress("Copying and comparing", 2 * copying.rows_of(ours)) as bar:
            copied = copying.copy(ours, theirs, bar.update)
    except KeyboardInterrupt:
        raise Failure("Broken off. Nothing is lost: say the same again, and it goes on from there.") from None
    if as_json:
        click.echo(json.dumps([table._asdict() for table in copied], indent=2))
        return
    _table(("table", "rows", "digest of both"), [tuple(table) for table in copied])
    click.echo(f"\n{database.where(theirs)} has the same as {database.where(ours)}.")
    beside = (
        f" or, where none was set, to what is in {ours.database_path}.key" if ours.database_path is not None else ""
    )
    click.echo(
        f"Set DATABASE_URL to {theirs.database_path or 'the server'}, and SECRET_KEY to what it was{beside}: else codes"
        " and counts of before are not known."
    )


def _make_file(settings: Settings) -> None:
    """Make the working database, where it is a file that is not there yet."""
    if settings.database_path is not None and not settings.database_path.exists():
        database.connect(settings)


@main.command()
@click.argument("method", type=click.Choice(METHODS, case_sensitive=False), metavar="METHOD")
@click.argument("url")
@click.option("--data", "-d", default="", help="The body: JSON when it starts with {, else a form, as in mobile=...")
@click.option("--sign", is_flag=True, help="Sign it (SigV4), with the AWS credentials of this machine.")
@click.option("--api-key", envvar="QUOTEAPI_API_KEY", show_envvar=True, help="Send this as x-api-key.")
@click.option("--token", envvar="QUOTEAPI_TOKEN", show_envvar=True, help="Send this as a bearer token.")
@click.option("--region", help="The AWS region to sign for, where the URL does not name it.")
@as_json
def request(method: str, url: str, data: str, *, as_json: bool, **proof: Any) -> None:  # noqa: ANN401
    """Make a request to a deployed service, as a client would.

    Prints the body, and the status on standard error; redirects are shown, not followed. Everybody on this machine can
    read a command's words: keys and tokens are better set in the environment.
    """
    from quoteapi import client  # noqa: PLC0415 botocore takes longer to load than most commands to run

    try:
        answer = client.ask(method, url, data, client.Proof(**proof))
    except client.WrongRequest as error:
        raise click.UsageError(str(error)) from error
    except client.NoAnswer as error:
        raise Failure(f"{error}.") from error
    towards = "".join(filter(str.isprintable, answer.headers.get("Location", "")))
    click.echo(f"{answer.status} {responses.get(answer.status, '')} {towards}".rstrip(), err=True)
    if as_json:
        shown = {**answer._asdict(), "body": answer.body.decode(errors="replace")}
        click.echo(json.dumps(shown, ensure_ascii=False))
    else:
        sys.stdout.buffer.write(answer.body)
    if answer.status >= BAD_REQUEST:
        sys.exit(EXIT_FAILED)


@main.command("doctor")
@click.option("--stage", help="Look at this stage of zappa_settings.json instead, before it is deployed.")
@click.option(
    "--env-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The stage's remote environment, in a file that is not on S3 yet.",
)
@as_json
def doctor_(stage: str | None, env_file: Path | None, *, as_json: bool) -> None:
    """Look at everything the service needs, and say what to do about what is wrong."""
    if env_file is not None and stage is None:
        raise click.UsageError("--env-file goes with --stage.")
    found = []
    for check in deployment.checks(deployment.ZAPPA_SETTINGS, stage, env_file) if stage else doctor.checks():
        found.append(check)
        if not as_json:
            mark, color = {"ok": ("✓", "green"), "advice": ("!", "yellow"), "wrong": ("✗", "red")}[check.state]
            click.echo(f"{click.style(mark, fg=color)} {check.name:<12} {check.found}")
            if check.state != "ok" and check.to_do:
                click.echo(f"  {'':<12} {check.to_do}")
    if as_json:
        click.echo(json.dumps([check._asdict() for check in found], ensure_ascii=False, indent=2))
    if any(check.state == "wrong" for check in found):
        sys.exit(EXIT_FAILED)


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
def _database() -> Iterator[Service]:
    """Put the service together for a command, with the working database open."""
    settings = load_settings(os.environ)
    with database.connect(settings).connection_context():
        yield Service(settings)


@contextmanager
def _quotes() -> Iterator[Quotes]:
    with _database() as service:
        yield service.quotes


EXPORTED = (
    "id",
    "mobile",
    "state",
    "asked_at",
    "asked_from",
    "confirmed_at",
    "confirmed_from",
    "ended_at",
    "on_topic",
)


def _shown(row: Subscriber, *, unmasked: bool) -> dict[str, Any]:
    """Answer what there is of a subscriber, for JSON and CSV."""
    shown = {name: getattr(row, name) for name in EXPORTED if name != "on_topic"}
    shown["mobile"] = row.mobile if unmasked else phone.masked(row.mobile)
    shown["on_topic"] = row.subscription_arn is not None
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in shown.items()}


def _in_words(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)[:16].replace("T", " ")


@contextmanager
def _console_silent(*, silent: bool) -> Iterator[None]:
    """Keep the SMS that the local gateway prints out of what a program reads."""
    with redirect_stdout(StringIO() if silent else sys.stdout):
        yield


def _need_folder_of(file: Path) -> None:
    if not file.parent.is_dir():
        raise Failure(f"The folder {file.parent} does not exist.")


@contextmanager
def _owners_file(file: Path) -> Iterator[IO[str]]:
    """Open a file of personal data for writing, whole or not at all; nobody but its owner can read it."""
    if file == STANDARD_STREAM:
        yield sys.stdout
        return
    _need_folder_of(file)
    if file.exists() and not file.is_file():  # such as a pipe
        with file.open("w", encoding="utf-8", newline="") as stream:
            yield stream
        return
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")  # which is made for its owner alone
    new = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as stream:
            yield stream
        new.replace(file)
    finally:
        new.unlink(missing_ok=True)


def _show_draft(draft: Draft, *, as_json: bool) -> None:
    if as_json:
        sent_at = draft.sent_at.isoformat() if draft.sent_at is not None else None
        shown = {
            "date": draft.date.isoformat(),
            **draft.text._asdict(),
            "people": draft.people,
            "sent_at": sent_at,
        }
        click.echo(json.dumps(shown, ensure_ascii=False))
        return
    click.echo(console.boxed(draft.text.message))
    if draft.sent_at is not None:
        click.echo(f"\nIt was sent today at {draft.sent_at:%H:%M} UTC.")
    parts, people = draft.text.parts, draft.people
    click.echo(
        f"\n{len(draft.text.message)} characters in {parts} part{'s' if parts > 1 else ''},"
        f" to {people} {'person' if people == 1 else 'people'}: {parts * people} SMS to pay for. Nothing was sent."
    )


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


def _counted(rows: Iterable[_Row], bar: "ProgressBar[int]") -> Iterator[_Row]:
    for row in rows:
        bar.update(1)
        yield row


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
