"""`quoteapi doctor`: checks a service, or a stage before and after its deploy, and says how to fix problems."""

import os
import shlex
import sys
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import click

from quoteapi import clock
from quoteapi.cli import sms_limits
from quoteapi.cli.output import NAME, as_started, print_json, print_lines, stage_option
from quoteapi.cli.root import EXIT_FAILED, connect_database, json_option, main
from quoteapi.container import Container
from quoteapi.deploy import zappa_settings
from quoteapi.deploy.aws_resources.sms_account import NO_SANDBOX_FOUND, SANDBOX_FOUND, how_to_leave_sandbox
from quoteapi.deploy.checks.check import Check, CheckFailed, check_file_mode
from quoteapi.deploy.checks.service_settings_checks import NO_SETTING, check_countries
from quoteapi.deploy.checks.stage_checks import check_account, check_aws
from quoteapi.deploy.checks.zappa_settings_checks import check_stage
from quoteapi.deploy.operated_stage import load_stage_settings
from quoteapi.printable import counted
from quoteapi.quotes.errors import QuoteNotFound
from quoteapi.settings import DOTENV, ROOT, Settings, SettingsError, find_unknown_names, load_settings
from quoteapi.sms.gateway import Gateway, GatewayError, GatewayMisconfigured
from quoteapi.storage import database
from quoteapi.storage.catalogue import catalogue_size
from quoteapi.subscriptions.daily_delivery import MorningStatus, describe_other_topic
from quoteapi.subscriptions.errors import HOW_TO_SHARE_STATE
from quoteapi.time_zones import local_date

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_MARKS = {"ok": click.style("✓", "green"), "advice": click.style("!", "yellow"), "wrong": click.style("✗", "red")}
MAX_SYNC_DELAY = timedelta(hours=2)
"""Each run of the schedule syncs the topics: if one is out of sync for this long, the operator must act."""
MAX_RUN_DELAY = timedelta(hours=1)
"""If the schedule has not run for this long, or has not sent an SMS that is due, the operator must act."""
MAX_NAMED = 5
"""How many time zones a check names."""


@main.command("doctor")
@click.option("--stage", help="Check this stage of zappa_settings.json instead, before and after you deploy it.")
@click.option(
    "--env-file", type=_FILE, help="With --stage: check only the stage's settings, with the remote environment in FILE."
)
@json_option
def doctor_(stage: str | None, env_file: Path | None, *, as_json: bool) -> None:
    """Check the service, and say how to fix problems."""
    if stage is not None and stage_option() not in {None, stage}:
        raise click.UsageError("Name one stage.")
    stage = stage or stage_option()
    if env_file is not None and stage is None:
        raise click.UsageError("--env-file works only with --stage.")
    click.get_current_context().find_root().params["stage"] = stage  # for commands in the texts
    checks = []
    for check in _checks(stage, env_file):
        check = check._replace(found=as_started(check.found), to_do=as_started(check.to_do))  # noqa: PLW2901
        checks.append(check)
        if not as_json:  # each at once, as some take seconds
            print_lines(f"{check.name:<12} {check.found}", mark=_MARKS[check.state])
            if check.state != "ok" and check.to_do:
                print_lines(f"  {'':<12} {check.to_do}")
    if as_json:
        print_json([check._asdict() for check in checks])
    if any(check.state == "wrong" for check in checks):
        sys.exit(EXIT_FAILED)


def _checks(stage: str | None, env_file: Path | None) -> Iterator[Check]:
    if stage is None:
        return check_service()
    if env_file is not None:
        return check_stage(zappa_settings.ZAPPA_SETTINGS, stage, env_file)
    return check_deployed_stage(stage)


def check_deployed_stage(name: str) -> Iterator[Check]:
    """Yield the checks of a stage: of its file and settings, of its AWS account, and of its database and SMS."""
    path = zappa_settings.ZAPPA_SETTINGS
    for check in check_stage(path, name):
        is_unread = check.name == "remote env" and check.state != "ok"
        if is_unread and (account := check_account(path, name)).state == "wrong":
            yield account._replace(to_do=f"{account.to_do} To check a local file without AWS, add --env-file FILE.")
            return
        yield check
        if (check.name, check.state) == ("stage", "wrong"):
            return
    is_deployed = False
    for check in check_aws(path, name, clock.now().date()):
        is_deployed |= (check.name, check.state) == ("function", "ok")
        yield check
    if is_deployed:
        yield from _check_service_of_stage(path, name)


def _check_service_of_stage(path: Path, name: str) -> Iterator[Check]:
    """Yield the checks of a stage's database and SMS; none if its settings are wrong or it serves quotes only."""
    try:
        settings = load_stage_settings(name)
    except (CheckFailed, SettingsError):
        return
    is_private = bool(zappa_settings.read_stage(path, name).get("vpc_config"))
    for check in _check_container(settings):
        if is_private and (check.name, check.state) == ("database", "wrong"):
            to_do = f"If only the private network of {name} leads to it, ignore this. Else: {check.to_do}"
            yield check._replace(state="advice", to_do=to_do)
        else:
            yield check


def check_service() -> Iterator[Check]:
    """Yield the checks of a service; one that depends on a failed one is left out."""
    try:
        settings = load_settings(os.environ)
    except SettingsError as error:
        yield _settings_check("settings", error)
        return
    yield from (Check("settings", "advice", found, to_do or NO_SETTING) for found, to_do in find_unknown_names())
    yield from _check_file_modes(settings)
    yield from _check_proxy(settings)
    yield from _check_container(settings)


def _settings_check(name: str, error: SettingsError) -> Check:
    return Check(name, "wrong", str(error).rstrip("."), "Correct it, then run `quoteapi doctor` again.")


def _check_container(settings: Settings) -> Iterator[Check]:
    """Yield the checks of the database and of SMS."""
    container = None
    try:
        _require_migrations(settings)
        connection = connect_database(settings, may_create=False)
        container = Container(settings)
        with connection.connection_context():
            yield from _check_database(container)
            yield from _check_sms(container)
    except CheckFailed as error:
        yield Check(*error.args)
    except database.STORAGE_ERRORS as error:
        yield Check(
            "database", "wrong", " ".join(str(error).split()), "Check that the server is running, and DATABASE_URL."
        )
    except SettingsError as error:
        # The container reads only one setting itself, and creates it if it can.
        yield _settings_check("database" if container is None else "secret key", error)


def _require_migrations(settings: Settings) -> None:
    """Raise `CheckFailed` if the database lacks migrations: to look at it must not change it."""
    database.require_database(settings)
    if settings.database_path is not None and not settings.database_path.exists():
        return  # the default file, which is created with all of them
    if missing := database.missing_migrations(settings):
        found = f"{database.describe_database(settings)} has missing migrations: {', '.join(missing)}"
        to_do = "Run `quoteapi db migrate`."
        if not settings.on_lambda:
            to_do += " Or start the service, which applies them."
        raise CheckFailed("database", "wrong", found, to_do)


def _check_file_modes(settings: Settings) -> Iterator[Check]:
    """Yield advice for each file with secrets or phone numbers that other users of this machine can read."""
    paths = [DOTENV]
    if settings.database_path is not None:
        paths += [Path(f"{settings.database_path}{suffix}") for suffix in ("", "-wal", "-shm", "-journal", ".key")]
    for path in (*paths, *sorted(ROOT.glob("quoteapi-*.json"))):
        yield from check_file_mode(path)


def _check_proxy(settings: Settings) -> Iterator[Check]:
    if settings.trusted_proxies:
        found = f"X-Forwarded-For is trusted from {', '.join(map(str, settings.trusted_proxies))}"
        yield Check("proxy", "ok", f"{found}. For what a proxy must do, see docs/operate.md")
    elif settings.public_url is not None:
        found = "PUBLIC_URL is set, but TRUSTED_PROXIES is not: behind a proxy, all clients share one rate limit"
        yield Check(
            "proxy", "advice", found, "Set TRUSTED_PROXIES to the IP address of the proxy. See docs/operate.md."
        )


def _check_database(container: Container) -> Iterator[Check]:
    found = database.describe_database(container.settings)
    if not container.settings.has_shared_state:
        found = f"{found}: each Lambda container has its own database, so no number can subscribe"
        yield Check("database", "wrong", found, f"{HOW_TO_SHARE_STATE[:1].upper()}{HOW_TO_SHARE_STATE[1:]}.")
    else:
        yield Check("database", "ok", found)
    size, to_do = catalogue_size(), f"Run `quoteapi quotes import {shlex.quote(str(ROOT / 'catalogue/quotes.csv'))}`."
    yield Check("catalogue", "ok", f"{size} quotes") if size else Check("catalogue", "wrong", "no quotes", to_do)
    _ = container.rate_limits  # reads the secret key, or creates it
    yield Check("secret key", "ok", "set" if container.settings.secret_key else "in a file beside the database")
    if count := container.state.count_out_of_sync(container.clock() - MAX_SYNC_DELAY):
        to_do = "Run `quoteapi reconcile`. It shows which subscribers SNS rejects."
        yield Check("subscribers", "wrong", f"{count} out of sync with the topics for more than 2 hours", to_do)
    yield sms_limits.check_subscribers(container)


def _check_sms(container: Container) -> Iterator[Check]:
    yield _check_switch(container)
    yield sms_limits.check_daily_cap(container)
    yield from check_countries(container.settings)
    yield from _check_deliveries(container)
    topics = container.state.topics_in_use()
    yield from _check_schedule(container, topics)
    for topic in topics:
        if container.gateway.topics.time_zone(topic) is None:
            yield Check("topic", "wrong", *describe_other_topic(topic, container.gateway))
    if container.settings.gateway == "console":
        yield Check(
            "gateway", "ok", "console: SMS go to the inbox on this machine (`quoteapi sms inbox`), and cost nothing"
        )
    else:
        yield from _check_sns(container, topics)


def _check_switch(container: Container) -> Check:
    disabled_at = container.state.sms_disabled_at()
    if disabled_at is not None:
        found = f"SMS were switched off at {disabled_at:%Y-%m-%d %H:%M} UTC"
        return Check("switch", "wrong", found, "To switch them on, run `quoteapi sms start`.")
    if container.settings.sms_daily_cap == 0:
        return Check("switch", "wrong", "SMS_DAILY_CAP is 0: no SMS is sent", "Set it to the SMS per day to allow.")
    return Check("switch", "ok", "SMS are on")


def _check_deliveries(container: Container) -> Iterator[Check]:
    """Yield the problems of today's and yesterday's SMS, each with its time zones, or that there are none."""
    statuses, now = container.daily_delivery.statuses(), container.clock()
    problems = defaultdict[Check, list[str]](list)
    for status in statuses:
        if (problem := _find_problem(status, now)) is not None:
            problems[problem].append(f"{status.date} in {status.time_zone}")
    for problem, names in problems.items():
        more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
        yield problem._replace(found=f"{problem.found}: {', '.join(names[:MAX_NAMED])}{more}")
    if not problems:
        sent = [status.sent_at for status in statuses if status.sent_at is not None]
        yield Check("daily SMS", "ok", f"last sent {max(sent):%Y-%m-%d %H:%M} UTC" if sent else "none sent yet")


def _find_problem(status: MorningStatus, now: datetime) -> Check | None:
    """Return the problem of an SMS, without its time zone; None if there is nothing to do about it."""
    if status.state == "missed":
        return Check("daily SMS", "wrong", "not sent before quiet hours began", "Check that the schedule is running.")
    if status.state == "due" and status.opens_at <= now - MAX_RUN_DELAY:
        to_do = "Check that the schedule is running. To send it now, run `quoteapi publish --due`."
        return Check("daily SMS", "wrong", "due, but not sent", to_do)
    if status.state != "in doubt":
        return None
    if status.date < local_date(now, status.time_zone):
        to_do = "Nothing to do: the next one is sent as usual."
        return Check("daily SMS", "advice", "may or may not have been sent", to_do)
    to_do = "To send it, perhaps a second time, run `quoteapi publish --again`."
    return Check("daily SMS", "wrong", "may or may not have been sent", to_do)


def _check_schedule(container: Container, topics: list[str]) -> Iterator[Check]:
    """Check when the schedule last ran, if somebody is subscribed."""
    last, overdue = container.state.last_due_run(), container.clock() - MAX_RUN_DELAY
    cron_line = f"*/15 * * * * {shlex.quote(str(Path(sys.executable).with_name(NAME)))} publish --due"
    to_do = f"Run `quoteapi serve`, which has a schedule, or add this line to the crontab: {cron_line}"
    if container.settings.on_lambda:
        to_do = f"Run `zappa schedule {stage_option()}`. For errors, run `zappa tail {stage_option()} --since 1h`."
    if last is None and topics:
        yield Check("schedule", "advice", "has not run yet: nobody gets the daily SMS", to_do)
    elif last is not None:
        has_waited = last < overdue and any(container.state.has_joined_before(topic, overdue) for topic in topics)
        found = f"last ran {last:%Y-%m-%d %H:%M} UTC; it must run every 15 minutes"
        yield Check("schedule", "wrong" if has_waited else "ok", found, to_do)


def _check_sns(container: Container, topics: list[str]) -> Iterator[Check]:
    settings, names = container.settings, container.gateway.topics
    own = [topic for topic in topics if names.time_zone(topic)] or [names.name(settings.default_time_zone)]
    try:
        subscriptions = {topic: container.gateway.count_subscriptions(topic) for topic in own}
    except GatewayError as error:
        to_do = "Check the network, SNS_REGION, and the status of SNS at https://health.aws.amazon.com"
        if isinstance(error, GatewayMisconfigured):
            to_do = "Set aws_access_key_id and aws_secret_access_key, or run `aws configure`. Allow them to use SNS."
        yield Check("gateway", "wrong", f"sns in {settings.sns_region}: {error}", to_do)
        return
    counts = f"{counted(len(own), 'topic')}, {counted(sum(subscriptions.values()), 'subscription')}"
    yield Check("gateway", "ok", f"sns in {settings.sns_region}, {settings.sns_topic}: {counts}")
    yield from _check_topics(container, subscriptions)
    yield _check_sandbox(container.gateway, settings.sns_region)
    yield from _check_cost(container)
    yield _check_unsubscribing(settings)


def _check_topics(container: Container, subscriptions: dict[str, int]) -> Iterator[Check]:
    """Compare the subscriptions of each topic with the subscribers in the database."""
    for topic, count in subscriptions.items():
        if count < (expected := container.state.count_in_sync_with(topic)):
            found = f"{counted(count, 'subscription')} in SNS, but {counted(expected, 'subscriber')} in the database"
            to_do = "If somebody subscribed just now, wait a minute. Otherwise, run `quoteapi reconcile --all`."
            yield Check("topic", "wrong", f"{topic}: {found}", to_do)


def _check_cost(container: Container) -> Iterator[Check]:
    try:
        previews = container.daily_delivery.previews()
    except QuoteNotFound:  # as the check of the catalogue reports
        return
    recipients = counted(sum(preview.recipients for preview in previews), "subscriber")
    yield Check("cost", "ok", f"today's SMS to {recipients}: {sms_limits.describe_cost(previews)}")
    yield sms_limits.check_spending(container, previews)


def _check_sandbox(gateway: Gateway, sns_region: str) -> Check:
    from quoteapi.sms.sns import QuoteSubscription  # noqa: PLC0415 imports boto3

    assert isinstance(gateway, QuoteSubscription)
    try:
        if not gateway.is_in_sandbox():
            return Check("sandbox", "ok", NO_SANDBOX_FOUND)
    except GatewayError as error:
        return Check("sandbox", "advice", f"unknown: {error}", "Allow sns:GetSMSSandboxAccountStatus.")
    return Check("sandbox", "wrong", SANDBOX_FOUND, how_to_leave_sandbox(sns_region))


def _check_unsubscribing(settings: Settings) -> Check:
    if settings.public_url is None:
        found = "SMS say to reply STOP, which does not work in many countries and with sender IDs"
        return Check("unsubscribe", "advice", found, "Set PUBLIC_URL, so that SMS link to the unsubscribe page.")
    if not settings.unsubscribe_requires_otp:
        found = "anyone who knows a number can unsubscribe it"
        return Check("unsubscribe", "advice", found, "Set UNSUBSCRIBE_REQUIRES_OTP=true.")
    return Check("unsubscribe", "ok", f"{settings.public_url}/unsubscribe, with a code")
