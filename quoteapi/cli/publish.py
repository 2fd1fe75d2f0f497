"""The command `quoteapi publish`: sends the daily SMS by hand or as a schedule does, or shows it and its state."""

import sys
from collections.abc import Sequence
from datetime import datetime
from itertools import groupby

import click

from quoteapi.cli import sms_limits
from quoteapi.cli.output import as_started, print_json, print_lines, print_table, silence_console_gateway
from quoteapi.cli.root import EXIT_FAILED, json_option, main, open_container
from quoteapi.container import Container
from quoteapi.printable import counted
from quoteapi.sms import console
from quoteapi.subscriptions.daily_delivery import DeliveryPreview, DeliveryResult, MorningStatus
from quoteapi.subscriptions.schedule import describe_result
from quoteapi.time_zones import zone_info


@main.command()
@click.option("--due", is_flag=True, help="Send it only where it is due. For cron: run this every 15 minutes.")
@click.option("--again", is_flag=True, help="Send it also where an earlier attempt today may have sent it.")
@click.option("--status", is_flag=True, help="Show where it was sent today and yesterday. Send nothing.")
@click.option("--dry-run", is_flag=True, help="Show the SMS, its recipients and its cost. Send nothing.")
@json_option
def publish(*, due: bool, again: bool, status: bool, dry_run: bool, as_json: bool) -> None:
    """Send today's quote now, in each time zone that did not get it yet.

    Today is the date in the time zone. If it is quiet hours there, the command asks before it sends.
    """
    if due + again + status + dry_run > 1:
        raise click.UsageError("Add only one of --due, --again, --status and --dry-run.")
    with open_container() as container:
        if status:
            _print_statuses(container, as_json=as_json)
        elif dry_run:
            _print_previews(container, as_json=as_json)
        else:
            with silence_console_gateway(silent=as_json):
                results = container.schedule.run() if due else _publish_now(container, again=again)
            _print_results(results, is_due=due, as_json=as_json)


def _publish_now(container: Container, *, again: bool) -> list[DeliveryResult]:
    """Send the SMS to all time zones. Before those in quiet hours, ask the operator if there is a terminal."""
    results = container.daily_delivery.publish(again=again)
    quiet = [result.time_zone for result in results if result.state == "quiet hours"]
    if not quiet or not sys.stdin.isatty():
        return results
    if not _confirm_quiet_hours(quiet, container.clock()):
        return results
    late = container.daily_delivery.publish(again=again, in_quiet_hours=True)
    sent = [result for result in late if result.time_zone in quiet and result not in results]
    return [result for result in results if result.state != "quiet hours"] + sent


def _confirm_quiet_hours(time_zones: list[str], now: datetime) -> bool:
    """Ask whether to send in quiet hours. Ctrl-C is a no, so that the operator still sees what was sent elsewhere."""
    local_times = ", ".join(f"{name} ({now.astimezone(zone_info(name)):%H:%M})" for name in time_zones)
    try:
        return click.confirm(f"There are quiet hours in {local_times}. Send the SMS there too?", err=True)
    except click.Abort:
        return False


def _print_results(results: list[DeliveryResult], *, is_due: bool, as_json: bool) -> None:
    """Print what was sent, and errors on standard error. Exit if there are any."""
    if as_json:
        print_json([result._asdict() for result in results], ensure_ascii=True)
    done = [result for result in results if not result.is_failure and result.state != "quiet hours"]
    if not as_json:
        _print_done(done, is_quiet=is_due or len(done) < len(results))
    failed = [f"Error: {describe_result(result)}" for result in results if result.is_failure]
    if quiet := [result.time_zone for result in results if result.state == "quiet hours"]:
        failed.append(
            f"Error: Not sent because of quiet hours: {', '.join(quiet)}. To send it when they end, run"
            " `quoteapi publish --due`."
        )
    if failed:
        print_lines(*map(as_started, failed), err=True)
        sys.exit(EXIT_FAILED)


def _print_done(done: list[DeliveryResult], *, is_quiet: bool) -> None:
    if len(done) > 1:
        print_table(
            ("time_zone", "date", "result"), [(result.time_zone, result.date, result.message) for result in done]
        )
    elif done:
        print_lines(describe_result(done[0]))
    elif not is_quiet:
        print_lines("Nobody is subscribed; nothing sent. If somebody subscribes today, publish again.")


def _print_statuses(container: Container, *, as_json: bool) -> None:
    statuses, last_run = container.daily_delivery.statuses(), container.state.last_due_run()
    if as_json:
        print_json({"last_due_run": last_run, "statuses": [status._asdict() for status in statuses]})
        return
    if statuses:
        head = ("time_zone", "date", "state", "opens_at", "sent_at")
        print_table(head, list(map(_status_row, statuses)))
        print_lines("", "Dates and times are local.")
    else:
        print_lines("Nobody is subscribed, or all subscribers are paused.")
    run = "never ran" if last_run is None else f"last ran on {last_run:%Y-%m-%d at %H:%M} UTC"
    print_lines(as_started(f"The schedule (`quoteapi publish --due`) {run}."))


def _status_row(status: MorningStatus) -> tuple[object, ...]:
    zone = zone_info(status.time_zone)
    hours = (moment and f"{moment.astimezone(zone):%H:%M}" for moment in (status.opens_at, status.sent_at))
    return status.time_zone, status.date, status.state, *(hour or "" for hour in hours)


def _print_previews(container: Container, *, as_json: bool) -> None:
    previews = container.daily_delivery.previews()
    if as_json:
        print_json(list(map(_as_dict, previews)))
    else:
        _print_texts(previews)
    for check in sms_limits.check_limits(container, previews):
        if check.state != "ok":
            print_lines(as_started(f"{check.name}: {check.found}. {check.to_do}"), err=True)


def _as_dict(preview: DeliveryPreview) -> dict[str, object]:
    fields = {"date": preview.date, "time_zone": preview.time_zone, "message": preview.text.message}
    counts = {"parts": preview.text.segments, "people": preview.recipients, "sent_at": preview.sent_at}
    return fields | counts | {"parts_to_pay": preview.billed_segments, "max_cost_usd": preview.max_cost}


def _print_texts(previews: Sequence[DeliveryPreview]) -> None:
    """Print the SMS of each date, the time zones if there are several, and the total."""
    for day, of_date in groupby(sorted(previews, key=lambda preview: preview.date), lambda preview: preview.date):
        text = next(of_date).text
        size = f"{counted(len(text.message), 'character')} in {counted(text.segments, 'segment')}"
        print_lines(*console.message_box(text.message), "", f"{day}: {size}", "")
    if len(previews) > 1:
        head = ("time_zone", "date", "subscribers", "cost", "sent_at")
        print_table(head, list(map(_preview_row, previews)))
        print_lines("")
    elif previews[0].sent_at is not None:
        print_lines(f"The daily SMS was already sent today, at {previews[0].sent_at:%H:%M} UTC.", "")
    recipients = counted(sum(preview.recipients for preview in previews), "subscriber")
    print_lines(f"To {recipients}: {sms_limits.describe_cost(previews)}. Nothing was sent.")


def _preview_row(preview: DeliveryPreview) -> tuple[object, ...]:
    sent_at = "" if preview.sent_at is None else f"{preview.sent_at:%H:%M} UTC"
    return preview.time_zone, preview.date, preview.recipients, sms_limits.describe_cost([preview]), sent_at
