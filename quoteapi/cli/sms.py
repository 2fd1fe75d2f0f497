"""Commands for SMS."""

import click

from quoteapi.cli import sms_limits
from quoteapi.cli.output import as_started, print_json, print_lines, silence_console_gateway
from quoteapi.cli.root import POSITIVE_INTEGER, json_option, main, open_container
from quoteapi.printable import counted
from quoteapi.sms import console
from quoteapi.subscriptions.daily_delivery import DeliveryPreview


@main.command()
@click.option("--dry-run", is_flag=True, help="Show the SMS, its recipients and its cost, and send nothing.")
@click.option("--again", is_flag=True, help="Send it even if an earlier try today may have succeeded.")
@json_option
def publish(*, dry_run: bool, again: bool, as_json: bool) -> None:
    """Send the quote of the day to all subscribers, once a day."""
    with open_container() as container:
        if dry_run:
            preview = container.daily_delivery.preview()
            _print_preview(preview, as_json=as_json)
            for check in sms_limits.check_limits(container, preview):
                if check.state != "ok":
                    print_lines(as_started(f"{check.name}: {check.found}. {check.to_do}"), err=True)
            return
        with silence_console_gateway(silent=as_json):
            published = container.daily_delivery.publish(again=again)
    if as_json:
        print_json(published._asdict(), ensure_ascii=True)
    else:
        print_lines(published.message)


@main.group()
def sms() -> None:
    """Show the local inbox, and switch SMS off and on."""


@sms.command()
@click.option("--limit", type=POSITIVE_INTEGER, metavar="N", default=20, show_default=True, help="Show the newest N.")
@json_option
def inbox(limit: int, *, as_json: bool) -> None:
    """Show the SMS in the local inbox, newest last."""
    with open_container() as container:
        messages = console.inbox(limit)
        if not messages and container.settings.gateway != "console":
            raise click.ClickException(
                "Amazon SNS sends the SMS, so there is no inbox. To use the inbox, set SMS_GATEWAY=console"
                f"{', and remove DATABASE_URL' if container.settings.dynamodb_table else ''}."
            )
    if as_json:
        fields = ("to", "message", "sent_at", "kind")
        print_json([{field: getattr(row, field) for field in fields} for row in messages])
        return
    for row in messages:
        print_lines(f"{row.sent_at:%Y-%m-%d %H:%M:%S} UTC  {row.kind} to {row.to}", bold=True)
        print_lines(*console.message_box(row.message), "")
    if not messages:
        print_lines("No SMS yet. Subscribe a number to get its code here.", err=True)


@sms.command()
def stop() -> None:
    """Switch all SMS off, immediately and on all machines.

    While SMS are off, unsubscribing needs no code.
    """
    with open_container() as container:
        container.state.set_sms_switch(container.clock(), off=True)
    print_lines(as_started("SMS are switched off. To switch them on, run `quoteapi sms start`."))
    if container.settings.unsubscribe_requires_otp:
        print_lines("Until then, unsubscribing needs no code: anyone who knows a number can unsubscribe it.")


@sms.command()
def start() -> None:
    """Switch SMS on again."""
    with open_container() as container:
        container.state.set_sms_switch(container.clock(), off=False)
    print_lines("SMS are switched on.")


def _print_preview(preview: DeliveryPreview, *, as_json: bool) -> None:
    message, segments, recipients = preview.text.message, preview.text.segments, preview.recipients
    if as_json:
        fields = {"date": preview.date, "message": message, "parts": segments, "people": recipients}
        cost = {"parts_to_pay": preview.billed_segments, "max_cost_usd": preview.max_cost}
        print_json(fields | {"sent_at": preview.sent_at} | cost)
        return
    print_lines(*console.message_box(message), "")
    if preview.sent_at is not None:
        print_lines(f"The daily SMS was already sent today, at {preview.sent_at:%H:%M} UTC.", "")
    print_lines(
        f"{counted(len(message), 'character')} in {counted(segments, 'segment')},"
        f" to {counted(recipients, 'subscriber')}: {sms_limits.describe_cost(preview)}. Nothing was sent."
    )
