"""Commands for subscribers."""

import csv
import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from quoteapi.cli import output
from quoteapi.cli.output import STANDARD_STREAM, print_lines
from quoteapi.cli.root import EXIT_FAILED, json_option, limit_option, main, open_container
from quoteapi.container import Container
from quoteapi.observability import redaction
from quoteapi.printable import counted
from quoteapi.quotes.csv_formulas import escape_formulas
from quoteapi.storage.state import SUBSCRIBER_STATES, Subscriber
from quoteapi.subscriptions.delivery_hours import describe_morning
from quoteapi.subscriptions.phone import InvalidMobile, e164_as_typed
from quoteapi.time_zones import UnknownTimeZone, normalize_time_zone

_CONSENT_COLUMNS = ("asked_at", "asked_from", "confirmed_at", "confirmed_from", "ended_at")
_COLUMNS = ("id", "mobile", "state", *_CONSENT_COLUMNS, "on_topic", "time_zone", "paused_until")
_LISTED_COLUMNS = ("id", "mobile", "state", "confirmed_at", "ended_at", "on_topic", "time_zone", "paused_until")
_unmasked = click.option("--unmasked", is_flag=True, help="Show full phone numbers.")
_state = click.option("--state", type=click.Choice(SUBSCRIBER_STATES), help="Only subscribers in this state.")


@main.group()
def subscribers() -> None:
    """List, export, move and remove subscribers."""


def _check_digits(text: str) -> str:
    """Return a text that may be a phone number. Raises `click.BadParameter`."""
    try:
        e164_as_typed(text)
    except InvalidMobile as error:
        raise click.BadParameter(f"{error} {error.hint}") from error
    return text


def _prompt_for_mobile(context: click.Context, _argument: click.Parameter, mobile: str | None) -> str | None:
    """Return the number of the command line or, if there is none, ask for it: `ps` shows command lines to others."""
    if mobile is None and not context.resilient_parsing:  # which is how a shell completes words
        return str(click.prompt("Mobile", value_proc=_check_digits, err=True))
    return mobile


def _find_mobile(container: Container, text: str) -> str:
    """Return a number as it is stored, or else a valid one. Raises `click.BadParameter`."""
    try:
        return container.subscriptions.find_mobile(text)
    except InvalidMobile as error:
        raise click.BadParameter(f"{error} {error.hint} There is no data for this number.") from error


def _parse_time_zone(_context: click.Context, _argument: click.Parameter, name: str) -> str:
    """Return the normalized name of a time zone. Raises `click.BadParameter`."""
    try:
        return normalize_time_zone(name)
    except UnknownTimeZone as error:
        raise click.BadParameter(str(error)) from error


_mobile = click.argument("mobile", type=_check_digits, required=False, callback=_prompt_for_mobile)


@subscribers.command("list")
@_state
@limit_option
@_unmasked
@json_option
def list_subscribers(state: str | None, limit: int, *, unmasked: bool, as_json: bool) -> None:
    """List subscribers, newest first, with masked numbers."""
    with open_container() as container:
        newest = container.state.newest_subscribers(limit, state)
        found = [_as_dict(row, unmasked=unmasked) for row in newest]
    if as_json:
        output.print_json(found, ensure_ascii=True)
    elif found:
        rows = [tuple(output.format_cell(row[name]) for name in _LISTED_COLUMNS) for row in found]
        output.print_table(_LISTED_COLUMNS, rows)
    else:
        print_lines("No subscribers.", err=True)


@subscribers.command("export")
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path), default="-")
@_state
@click.option(
    "--format",
    "format_",
    type=click.Choice(["csv", "jsonl"]),
    help="The format of FILE.  [default: by its extension, or csv]",
)
@_unmasked
@output.escape_option
def export_subscribers(file: Path, state: str | None, format_: str | None, *, unmasked: bool, escape: bool) -> None:
    """Write subscribers and their consent to FILE or standard output.

    Numbers are masked. Only you can read FILE.
    """
    format_ = format_ or ("csv" if file == STANDARD_STREAM else output.file_format(file))
    if format_ == "json":
        raise click.UsageError("Subscribers cannot be written as json. Add --format csv or --format jsonl.")
    if escape:
        output.require_csv(format_)
    with open_container() as container, output.open_private_file(file) as stream:
        writer = csv.DictWriter(stream, _COLUMNS)
        if format_ == "csv":
            writer.writeheader()
        written = 0
        length = container.state.count_subscribers(state) if file != STANDARD_STREAM else 0
        with output.progress_bar(f"Writing {file.name}", length, container.state.subscribers(state)) as bar:
            for subscriber in bar:
                row = _as_dict(subscriber, unmasked=unmasked)
                if escape:
                    row = {name: escape_formulas(cell) if isinstance(cell, str) else cell for name, cell in row.items()}
                writer.writerow(row) if format_ == "csv" else stream.write(f"{json.dumps(row)}\n")
                written += 1
    if file != STANDARD_STREAM:
        hint = "" if unmasked else " Numbers are masked. To write full numbers, add --unmasked."
        print_lines(f"{counted(written, 'subscriber')} written to {file}.{hint}", err=True)


@subscribers.command()
@_mobile
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
def remove(mobile: str, *, yes: bool) -> None:
    """Unsubscribe a number, and delete all its data.

    Without MOBILE, the command asks for the number or reads it from standard input.
    """
    with open_container() as container:
        mobile = _find_mobile(container, mobile)
        if not yes:
            click.confirm(f"Unsubscribe {mobile}, and delete all its data, with the record of its consent?", abort=True)
        if not container.subscriptions.remove(mobile):
            raise click.ClickException("No data for this number.")
    print_lines("Removed. All data of the number is deleted.")


@subscribers.command("set-time-zone")
@click.argument("time_zone", callback=_parse_time_zone)
@_mobile
def set_time_zone(mobile: str, time_zone: str) -> None:
    """Move a subscriber to a time zone, for example Asia/Kolkata.

    The subscriber never gets two SMS of one date. Without MOBILE, the command asks for the number or reads it from
    standard input.
    """
    with open_container() as container:
        mobile = _find_mobile(container, mobile)
        is_moved = container.subscriptions.move(mobile, time_zone)
        morning = container.subscriptions.next_morning(mobile)
        if morning is None:
            raise click.ClickException("This number is not subscribed.")
        when = describe_morning(morning.opens_at, time_zone, container.clock())
    done = "Moved." if is_moved else "The subscriber is in this time zone already."
    print_lines(f"{done} The next SMS comes {when}.")


@subscribers.command("opt-in")
@_mobile
def opt_in(mobile: str) -> None:
    """Let a number that replied STOP subscribe again.

    AWS allows that once in 30 days for each number. Without MOBILE, the command asks for the number or reads it from
    standard input.
    """
    with open_container() as container:
        container.gateway.opt_in(_find_mobile(container, mobile))
    print_lines("Done. The number can subscribe again.")


@main.command()
@click.option("--all", "everyone", is_flag=True, help="Add all active subscribers to their topics again.")
@json_option
def reconcile(*, everyone: bool, as_json: bool) -> None:
    """Make the topics of Amazon SNS match the database."""
    with (
        open_container() as container,
        output.progress_bar("Reconciling", container.state.count_out_of_sync(container.clock())) as bar,
        output.silence_console_gateway(silent=as_json),
    ):
        result = container.topic_sync.reconcile(progress=bar.update, everyone=everyone)
    if as_json:
        output.print_json(result._asdict())
    else:
        print_lines(
            f"{result.subscribed} added to a topic, {result.unsubscribed} removed, {result.stopped} replied STOP,"
            f" {result.refused} rejected by SNS, {result.failed} failed, {result.left} not tried."
        )
    if result.failed or result.left:
        print_lines("Not all are in sync. Run the command again to resume.", err=True)
        sys.exit(EXIT_FAILED)


def _as_dict(row: Subscriber, *, unmasked: bool) -> dict[str, Any]:
    """Return a subscriber for JSON and CSV: times in ISO 8601, the number masked unless `unmasked`."""
    fields = {**row._asdict(), "on_topic": row.subscription_arn is not None}
    values = {name: fields[name.replace("asked", "requested")] for name in _COLUMNS}
    if not unmasked:
        values["mobile"] = redaction.mask_phone_number(row.mobile)
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in values.items()}
