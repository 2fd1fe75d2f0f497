"""`quoteapi doctor`: checks a service, or a stage before its deploy, and says how to fix problems."""

import os
import sys
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path

import click
from peewee import PeeweeException

from quoteapi.cli.output import format_json
from quoteapi.cli.root import EXIT_FAILED, json_option, main
from quoteapi.container import Container
from quoteapi.deploy import zappa_settings
from quoteapi.deploy.check import Check, State, did_you_mean
from quoteapi.deploy.service_settings_checks import NO_SETTING, check_countries
from quoteapi.deploy.zappa_settings_checks import check_stage
from quoteapi.settings import SETTING_NAMES, Settings, SettingsError, load_settings, read_dotenv
from quoteapi.sms.gateway import Gateway, GatewayError, GatewayMisconfigured
from quoteapi.storage import database
from quoteapi.storage.catalogue import catalogue_size
from quoteapi.storage.models import ACTIVE, Delivery, SmsSwitch, SmsUsage, Subscriber
from quoteapi.subscriptions.daily_delivery import CLAIM_TIMEOUT, SEND_TIMEOUT, on_another_topic
from quoteapi.subscriptions.rate_limits import SMS_SWITCH

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_MARKS = {"ok": click.style("✓", "green"), "advice": click.style("!", "yellow"), "wrong": click.style("✗", "red")}
MAX_SYNC_DELAY = timedelta(hours=2)
"""The topic is synced every hour: if a subscriber is out of sync for this long, the operator must act."""
MAX_TIME_BETWEEN_DAILY_SMS = timedelta(hours=36)
NEAR_LIMIT = 0.8
"""The share of a limit from which on the operator is advised to raise it."""


@main.command("doctor")
@click.option("--stage", help="Look at this stage of zappa_settings.json instead, before it is deployed.")
@click.option("--env-file", type=_FILE, help="The stage's remote environment, in a file that is not on S3 yet.")
@json_option
def doctor_(stage: str | None, env_file: Path | None, *, as_json: bool) -> None:
    """Look at everything the service needs, and say what to do about what is wrong."""
    if env_file is not None and stage is None:
        raise click.UsageError("--env-file goes with --stage.")
    checks = []
    for check in check_stage(zappa_settings.ZAPPA_SETTINGS, stage, env_file) if stage else check_service():
        checks.append(check)
        if not as_json:  # each at once, as some take seconds
            click.echo(f"{_MARKS[check.state]} {check.name:<12} {check.found}")
            if check.state != "ok" and check.to_do:
                click.echo(f"  {'':<12} {check.to_do}")
    if as_json:
        click.echo(format_json([check._asdict() for check in checks]))
    if any(check.state == "wrong" for check in checks):
        sys.exit(EXIT_FAILED)


def check_service() -> Iterator[Check]:
    """Yield the checks of a service; one that depends on a failed one is left out."""
    container = None
    try:
        settings = load_settings(os.environ)
        connection = database.connect(settings)
        yield from _check_dotenv(read_dotenv())
        yield from _check_proxy(settings)
        container = Container(settings)
        with connection.connection_context():
            yield from _check_database(container)
            yield from _check_sms(container)
    except PeeweeException as error:
        yield Check("database", "wrong", " ".join(str(error).split()), "Is it running? Is DATABASE_URL right?")
    except SettingsError as error:
        # The container reads only one setting itself, and creates it if it can.
        name, to_do = ("secret key", "Set it") if container is not None else ("settings", "Mend it")
        yield Check(name, "wrong", str(error), f"{to_do}, and ask again.")


def _check_dotenv(environment: Mapping[str, str]) -> Iterator[Check]:
    for name in sorted(set(environment) - set(SETTING_NAMES)):
        to_do = did_you_mean(name, SETTING_NAMES) or NO_SETTING
        if name.startswith("AWS_"):
            to_do = "Set it in the environment itself: boto3 does not read this file."
        yield Check("settings", "advice", f"{name} in .env is no setting of QuoteAPI", to_do)


def _check_proxy(settings: Settings) -> Iterator[Check]:
    if settings.trusted_proxies:
        found = f"X-Forwarded-For is believed from {', '.join(map(str, settings.trusted_proxies))}"
        yield Check("proxy", "ok", f"{found}. docs/operate.md says what a proxy must do")
    elif settings.public_url is not None:
        found = "PUBLIC_URL is set, but TRUSTED_PROXIES is not: behind a proxy all clients share one limit"
        yield Check("proxy", "advice", found, "Set TRUSTED_PROXIES to the proxy's address: docs/operate.md")


def _check_database(container: Container) -> Iterator[Check]:
    found = database.describe_database(container.settings)
    if not container.settings.has_shared_state:
        found = f"{found}: every container of Lambda has its own, so nobody can subscribe"
        yield Check("database", "wrong", found, "Set DATABASE_URL to a database that all of them share.")
    else:
        yield Check("database", "ok", found)
    size, to_do = catalogue_size(), "Import some: quoteapi quotes import catalogue/quotes.csv"
    yield Check("catalogue", "ok", f"{size} quotes") if size else Check("catalogue", "wrong", "no quotes", to_do)
    _ = container.rate_limits  # reads the secret key, or creates it
    yield Check("secret key", "ok", "set" if container.settings.secret_key else "kept beside the database")
    overdue = Subscriber.sync_needed_since < container.clock() - MAX_SYNC_DELAY
    if count := Subscriber.select().where(overdue).count():
        to_do = "Run: quoteapi reconcile. It tells whom SNS refuses."
        yield Check("subscribers", "wrong", f"{count} for hours not as they want it on the topic", to_do)
    else:
        yield Check("subscribers", "ok", f"{Subscriber.select().where(Subscriber.state == ACTIVE).count()} active")


def _check_sms(container: Container) -> Iterator[Check]:
    yield _check_switch(container.settings)
    yield from check_countries(container.settings)
    yield _check_last_delivery(container)
    elsewhere = Subscriber.select().where(on_another_topic(container.gateway.topic))
    if count := elsewhere.count():
        found = f"{count} are on another topic ({elsewhere.get().topic}) than the settings say"
        yield Check("topic", "wrong", found, "Mend the settings or, if they are right: quoteapi reconcile --all")
    if container.settings.gateway == "console":
        yield Check("gateway", "ok", "console: SMS are printed and kept in the inbox of this machine, and cost nothing")
    else:
        yield from _check_sns(container)


def _check_switch(settings: Settings) -> Check:
    switch = SmsSwitch.get_or_none(SmsSwitch.name == SMS_SWITCH)
    if switch is not None:
        found = f"SMS were switched off at {switch.disabled_at:%Y-%m-%d %H:%M} UTC"
        return Check("switch", "wrong", found, "To go on: quoteapi sms start")
    if settings.sms_daily_cap == 0:
        return Check("switch", "wrong", "SMS_DAILY_CAP is 0: no SMS goes out", "Set it to how many may.")
    return Check("switch", "ok", "SMS may go out")


def _check_last_delivery(container: Container) -> Check:
    deliveries = Delivery.select().where(Delivery.topic == container.gateway.topic)
    last, now = deliveries.order_by(Delivery.date.desc()).first(), container.clock()
    if last is None:
        return Check("daily SMS", "ok", "none was sent yet")
    if last.sent_at is None:
        return _check_unsent(last, now)
    found = f"last sent {last.sent_at:%Y-%m-%d %H:%M} UTC"
    if last.sent_at < now - MAX_TIME_BETWEEN_DAILY_SMS:
        return Check("daily SMS", "wrong", found, "Is the schedule, or cron, running? For now: quoteapi publish")
    return Check("daily SMS", "ok", found)


def _check_unsent(delivery: Delivery, now: datetime) -> Check:
    """Check a claimed delivery: it is being sent, its claim was lost, or its outcome is unknown."""
    if delivery.sending_at is not None and delivery.sending_at <= now - SEND_TIMEOUT:
        found = f"nobody knows whether that of {delivery.date} went out"
        if delivery.date < now.date():
            return Check("daily SMS", "advice", found, "Today's is sent as ever.")
        return Check("daily SMS", "wrong", found, "To send it in spite of that: quoteapi publish --again")
    if delivery.sending_at is None and delivery.claimed_at <= now - CLAIM_TIMEOUT:
        found = f"whoever was to send that of {delivery.date} died before"
        return Check("daily SMS", "wrong", found, "Run: quoteapi publish")
    return Check("daily SMS", "ok", f"that of {delivery.date} is being sent")


def _check_sns(container: Container) -> Iterator[Check]:
    settings = container.settings
    try:
        subscriptions = container.gateway.count_subscriptions()
    except GatewayError as error:
        to_do = "Is the network up, and SNS_REGION right? https://health.aws.amazon.com tells how SNS is."
        if isinstance(error, GatewayMisconfigured):
            to_do = "Set aws_access_key_id and aws_secret_access_key, or run `aws configure`; allow them SNS."
        yield Check("gateway", "wrong", f"sns in {settings.sns_region}: {error}", to_do)
        return
    yield Check("gateway", "ok", f"sns in {settings.sns_region}, topic {settings.sns_topic}, {subscriptions} on it")
    in_sync = (Subscriber.state == ACTIVE) & Subscriber.sync_needed_since.is_null()
    expected = Subscriber.select().where(in_sync).count()
    if subscriptions < expected:
        found = f"SNS has {subscriptions} on the topic, the database {expected} who should be"
        to_do = "Right after somebody subscribed, wait a minute. Else: quoteapi reconcile --all"
        yield Check("topic", "wrong", found, to_do)
    yield from _check_account(container.gateway)
    yield _check_daily_cap(container, subscriptions)
    yield _check_unsubscribing(settings)


def _check_account(gateway: Gateway) -> Iterator[Check]:
    from quoteapi.sms.sns import QuoteSubscription  # noqa: PLC0415 imports boto3

    assert isinstance(gateway, QuoteSubscription)
    try:
        found = "the account is in the SMS sandbox: SMS reach verified numbers only, and vanish else"
        sandbox = Check("sandbox", "wrong", found, "Ask AWS to move it out: SNS console, Text messaging (SMS).")
        yield sandbox if gateway.is_in_sandbox() else Check("sandbox", "ok", "the account is out of it")
    except GatewayError as error:
        yield Check("sandbox", "advice", f"not known: {error}", "Allow sns:GetSMSSandboxAccountStatus.")
    try:
        yield _check_spending(gateway.spend_limit(), gateway.spent())
    except GatewayError as error:
        to_do = "Allow sns:GetSMSAttributes and cloudwatch:GetMetricStatistics."
        yield Check("spending", "advice", f"not known: {error}", to_do)


def _check_spending(limit: str | None, spent: float) -> Check:
    """Compare what was spent this month with the account's limit, both in US dollars."""
    to_do = "Ask AWS for a higher SMS spending quota, then set it: SNS console, Text messaging (SMS)."
    if limit is None:
        return Check("spending", "advice", f"${spent:.2f} this month; no limit was set, so it is AWS's $1", to_do)
    found = f"${spent:.2f} of ${float(limit):.2f} this month"
    if spent >= float(limit):
        return Check("spending", "wrong", f"{found}: AWS sends no more", to_do)
    return Check("spending", "advice" if spent > NEAR_LIMIT * float(limit) else "ok", found, to_do)


def _check_daily_cap(container: Container, subscriptions: int) -> Check:
    cap, today = container.settings.sms_daily_cap, container.clock().date()
    sent = SmsUsage.select(SmsUsage.count).where(SmsUsage.date == today).scalar() or 0
    found = f"{sent} codes and confirmations today, {subscriptions} get the daily SMS; at most {cap} each"
    state: State = "advice" if max(subscriptions, sent) > NEAR_LIMIT * cap else "ok"
    return Check(
        "daily cap", "wrong" if subscriptions > cap or sent >= cap else state, found, "Set SMS_DAILY_CAP higher."
    )


def _check_unsubscribing(settings: Settings) -> Check:
    if settings.public_url is None:
        found = "SMS say to reply STOP, which many countries and sender ids do not know"
        return Check("leaving", "advice", found, "Set PUBLIC_URL, so that they name the page to leave by.")
    if not settings.unsubscribe_requires_otp:
        found = "whoever knows a number can unsubscribe it"
        return Check("leaving", "advice", found, "Set UNSUBSCRIBE_REQUIRES_OTP=true.")
    return Check("leaving", "ok", f"{settings.public_url}/unsubscribe, by a code")
