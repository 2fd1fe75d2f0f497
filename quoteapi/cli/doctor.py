"""`quoteapi doctor`: checks a service, or a stage before its deploy, and says how to fix problems."""

import os
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import click
from peewee import PeeweeException

from quoteapi.cli import sms_limits
from quoteapi.cli.output import print_json, print_lines
from quoteapi.cli.root import EXIT_FAILED, connect_database, json_option, main
from quoteapi.container import Container
from quoteapi.deploy import zappa_settings
from quoteapi.deploy.check import Check, CheckFailed, check_file_mode
from quoteapi.deploy.service_settings_checks import NO_SETTING, check_countries
from quoteapi.deploy.zappa_settings_checks import check_stage
from quoteapi.quotes.errors import QuoteNotFound
from quoteapi.settings import DOTENV, ROOT, Settings, SettingsError, find_unknown_names, load_settings
from quoteapi.sms.gateway import Gateway, GatewayError, GatewayMisconfigured
from quoteapi.storage import database
from quoteapi.storage.catalogue import catalogue_size
from quoteapi.storage.state import Delivery, StateUnavailable
from quoteapi.subscriptions.daily_delivery import CLAIM_TIMEOUT, SEND_TIMEOUT

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_MARKS = {"ok": click.style("✓", "green"), "advice": click.style("!", "yellow"), "wrong": click.style("✗", "red")}
MAX_SYNC_DELAY = timedelta(hours=2)
"""The topic is synced every hour: if a subscriber is out of sync for this long, the operator must act."""
MAX_TIME_BETWEEN_DAILY_SMS = timedelta(hours=36)


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
            print_lines(f"{check.name:<12} {check.found}", mark=_MARKS[check.state])
            if check.state != "ok" and check.to_do:
                print_lines(f"  {'':<12} {check.to_do}")
    if as_json:
        print_json([check._asdict() for check in checks])
    if any(check.state == "wrong" for check in checks):
        sys.exit(EXIT_FAILED)


def check_service() -> Iterator[Check]:
    """Yield the checks of a service; one that depends on a failed one is left out."""
    settings = container = None
    try:
        settings = load_settings(os.environ)
        yield from (Check("settings", "advice", found, to_do or NO_SETTING) for found, to_do in find_unknown_names())
        yield from _check_file_modes(settings)
        yield from _check_proxy(settings)
        _require_migrations(settings)
        connection = connect_database(settings, may_create=False)
        container = Container(settings)
        with connection.connection_context():
            yield from _check_database(container)
            yield from _check_sms(container)
    except CheckFailed as error:
        yield Check(*error.args)
    except (PeeweeException, StateUnavailable) as error:
        yield Check("database", "wrong", " ".join(str(error).split()), "Is it running? Is DATABASE_URL right?")
    except SettingsError as error:
        name, to_do = ("settings" if settings is None else "database"), "Mend it"
        if container is not None:  # it reads only one setting itself, and creates it if it can
            name, to_do = "secret key", "Set it"
        yield Check(name, "wrong", str(error), f"{to_do}, and ask again.")


def _require_migrations(settings: Settings) -> None:
    """Raise `CheckFailed` if the database lacks migrations: to look at it must not change it."""
    database.require_database(settings)
    if settings.database_path is not None and not settings.database_path.exists():
        return  # the default file, which is created with all of them
    if missing := database.missing_migrations(settings):
        found = f"{database.describe_database(settings)} lacks the migration {', '.join(missing)}"
        to_do = "Run: quoteapi db migrate. Or start the service, which applies it (on Lambda it does not)."
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
    if count := container.state.count_out_of_sync(before=container.clock() - MAX_SYNC_DELAY):
        to_do = "Run: quoteapi reconcile. It tells whom SNS refuses."
        yield Check("subscribers", "wrong", f"{count} for hours not as they want it on the topic", to_do)
    yield sms_limits.check_subscribers(container)


def _check_sms(container: Container) -> Iterator[Check]:
    yield _check_switch(container)
    yield sms_limits.check_daily_cap(container)
    yield from check_countries(container.settings)
    yield _check_last_delivery(container)
    if (other := container.state.find_other_topic(container.gateway.topic)) is not None:
        found = f"subscribers are on another topic ({other}) than the settings say"
        yield Check("topic", "wrong", found, "Mend the settings or, if they are right: quoteapi reconcile --all")
    if container.settings.gateway == "console":
        yield Check("gateway", "ok", "console: SMS are printed and kept in the inbox of this machine, and cost nothing")
    else:
        yield from _check_sns(container)


def _check_switch(container: Container) -> Check:
    disabled_at = container.state.sms_disabled_at()
    if disabled_at is not None:
        found = f"SMS were switched off at {disabled_at:%Y-%m-%d %H:%M} UTC"
        return Check("switch", "wrong", found, "To go on: quoteapi sms start")
    if container.settings.sms_daily_cap == 0:
        return Check("switch", "wrong", "SMS_DAILY_CAP is 0: no SMS goes out", "Set it to how many may.")
    return Check("switch", "ok", "SMS may go out")


def _check_last_delivery(container: Container) -> Check:
    last, now = container.state.last_delivery(container.gateway.topic), container.clock()
    if last is None:
        return Check("daily SMS", "ok", "none was sent yet")
    if last.sent_at is None:
        return _check_unsent(last, now)
    found = f"last sent {last.sent_at:%Y-%m-%d %H:%M} UTC"
    overdue = now - MAX_TIME_BETWEEN_DAILY_SMS
    if last.sent_at < overdue and container.state.has_subscriber_confirmed_before(
        overdue
    ):  # to nobody, nothing is sent
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
    expected = container.state.count_in_sync_with(container.gateway.topic)
    if subscriptions < expected:
        found = f"SNS has {subscriptions} on the topic, the database {expected} who should be"
        to_do = "Right after somebody subscribed, wait a minute. Else: quoteapi reconcile --all"
        yield Check("topic", "wrong", found, to_do)
    yield _check_sandbox(container.gateway)
    yield from _check_cost(container)
    yield _check_unsubscribing(settings)


def _check_cost(container: Container) -> Iterator[Check]:
    try:
        preview = container.daily_delivery.preview()
    except QuoteNotFound:  # as the check of the catalogue reports
        return
    yield Check("cost", "ok", f"today's SMS to {preview.recipients}: {sms_limits.describe_cost(preview)}")
    yield sms_limits.check_spending(container, preview)


def _check_sandbox(gateway: Gateway) -> Check:
    from quoteapi.sms.sns import QuoteSubscription  # noqa: PLC0415 imports boto3

    assert isinstance(gateway, QuoteSubscription)
    try:
        if not gateway.is_in_sandbox():
            return Check("sandbox", "ok", "the account is out of it")
    except GatewayError as error:
        return Check("sandbox", "advice", f"not known: {error}", "Allow sns:GetSMSSandboxAccountStatus.")
    found = "the account is in the SMS sandbox: SMS reach verified numbers only, and vanish else"
    return Check("sandbox", "wrong", found, "Ask AWS to move it out: SNS console, Text messaging (SMS).")


def _check_unsubscribing(settings: Settings) -> Check:
    if settings.public_url is None:
        found = "SMS say to reply STOP, which many countries and sender ids do not know"
        return Check("leaving", "advice", found, "Set PUBLIC_URL, so that they name the page to leave by.")
    if not settings.unsubscribe_requires_otp:
        found = "whoever knows a number can unsubscribe it"
        return Check("leaving", "advice", found, "Set UNSUBSCRIBE_REQUIRES_OTP=true.")
    return Check("leaving", "ok", f"{settings.public_url}/unsubscribe, by a code")
