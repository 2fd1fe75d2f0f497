"""Commands for subscribers."""

import csv
import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from quoteapi.cli.output import (
    STANDARD_STREAM,
    count_progress,
    file_format,
    format_cell,
    open_private_file,
    print_table,
    progress_bar,
    silence_console_gateway,
)
from quoteapi.cli.root import EXIT_FAILED, CommandFailed, as_json, main, newest_first, open_container
from quoteapi.observability import redaction
from quoteapi.storage.models import Subscriber
from quoteapi.subscriptions import phone, queries


@main.group()
def subscribers() -> None:
    """List, export and remove subscribers."""


unmasked = click.option("--unmasked", is_flag=True, help="Show whole numbers.")
of_state = click.option("--state", type=click.Choice(queries.STATES), help="Those in this state only.")


class Mobile(click.ParamType[str]):
    """A phone number, however it is written."""

    name = "mobile"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Answer the number's E.164 form."""
        try:
            return phone.parse_mobile(value)
        except phone.InvalidMobile as error:
            self.fail(f"{error} {phone.MOBILE_HINT}", param, ctx)


@subscribers.command("list")
@of_state
@newest_first
@unmasked
@as_json
def list_subscribers(state: str | None, limit: int, *, unmasked: bool, as_json: bool) -> None:
    """List subscribers, the newest first; their numbers are masked."""
    with open_container():
        found = [_shown(row, unmasked=unmasked) for row in queries.newest_subscribers(state, limit)]
    if as_json:
        click.echo(json.dumps(found, indent=2))
    elif found:
        head = ("id", "mobile", "state", "confirmed_at", "ended_at", "on_topic")
        print_table(head, [tuple(format_cell(row[name]) for name in head) for row in found])
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
    form = form or ("csv" if file == STANDARD_STREAM else file_format(file))
    if form == "json":
        raise click.UsageError("Subscribers are written as csv or jsonl.")
    with open_container(), open_private_file(file) as stream:
        rows = (_shown(row, unmasked=unmasked) for row in queries.iterate_subscribers(state))
        writer = csv.DictWriter(stream, EXPORTED)
        if form == "csv":
            writer.writeheader()
        with progress_bar(
            f"Writing {file.name}", queries.count_subscribers(state) if file != STANDARD_STREAM else 0
        ) as bar:
            for row in count_progress(rows, bar):
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
    with open_container() as service:
        if not service.subscriptions.remove(mobile):
            raise CommandFailed("There is nothing of this number.")
    click.echo("Removed; nothing of the number is left.")


@subscribers.command("opt-in")
@click.argument("mobile", type=Mobile())
def opt_in(mobile: str) -> None:
    """Let MOBILE, which replied STOP and wants to come back, subscribe again.

    AWS does that once in 30 days for a number.
    """
    with open_container() as service:
        service.gateway.opt_in(mobile)
    click.echo("Done. The number can subscribe again.")


@main.command()
@click.option("--all", "everyone", is_flag=True, help="Put everyone who is active on the topic again.")
@as_json
def reconcile(*, everyone: bool, as_json: bool) -> None:
    """Make Amazon SNS agree with the database."""
    with (
        open_container() as service,
        progress_bar("Reconciling", queries.count_out_of_sync()) as bar,
        silence_console_gateway(silent=as_json),
    ):
        done = service.topic_sync.reconcile(progress=bar.update, everyone=everyone)
    if as_json:
        click.echo(json.dumps(done._asdict()))
    else:
        click.echo(
            f"{done.subscribed} put on the topic, {done.unsubscribed} taken off, {done.stopped} replied STOP,"
            f" {done.refused} refused, {done.failed} failed, {done.left} left."
        )
    if done.failed or done.left:
        sys.exit(EXIT_FAILED)


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
    attributes = {"asked_at": "requested_at", "asked_from": "requested_from"}
    shown = {name: getattr(row, attributes.get(name, name)) for name in EXPORTED if name != "on_topic"}
    shown["mobile"] = row.mobile if unmasked else redaction.mask_number(row.mobile)
    shown["on_topic"] = row.subscription_arn is not None
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in shown.items()}
