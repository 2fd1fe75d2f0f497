"""Commands for SMS."""

import click

from quoteapi.cli.output import as_started, print_json, print_lines
from quoteapi.cli.root import POSITIVE_INTEGER, json_option, main, open_container
from quoteapi.sms import console


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
