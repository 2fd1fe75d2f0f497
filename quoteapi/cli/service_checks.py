"""The doctor: looks at everything the service needs, and says what to do about what is wrong."""

import os
from collections.abc import Iterator, Mapping
from datetime import timedelta

from peewee import PeeweeException

from quoteapi.container import Container
from quoteapi.deploy.check import Check, State, did_you_mean
from quoteapi.deploy.zappa_settings import unknown_countries
from quoteapi.settings import SETTING_NAMES, Settings, SettingsError, load_settings, read_dotenv
from quoteapi.sms.gateway import Gateway, GatewayError, GatewayMisconfigured
from quoteapi.storage import database
from quoteapi.storage.catalogue import catalogue_size
from quoteapi.storage.models import ACTIVE, Delivery, SmsSwitch, SmsUsage, Subscriber
from quoteapi.subscriptions.delivery import CLAIM_TIMEOUT, SEND_TIMEOUT
from quoteapi.subscriptions.queries import on_another_topic
from quoteapi.subscriptions.rate_limits import SMS_SWITCH

BEHIND = timedelta(hours=2)
"""The reconciler runs every hour; what waits longer than this waits in vain."""
MISSED = timedelta(hours=36)
"""Without an SMS of the day for so long, something is wrong."""
NEARLY = 0.8


def check_service(environment: Mapping[str, str] = os.environ) -> Iterator[Check]:
    """Look at one thing after another. What rests on something that is wrong is not looked at."""
    try:
        settings = load_settings(environment)
        connection = database.connect(settings)
    except PeeweeException as error:
        yield _away(error)
        return
    except SettingsError as error:
        yield Check("settings", "wrong", str(error), "Mend it, and ask again.")
        return
    yield from _misspelt(read_dotenv())
    service = Container(settings)
    try:
        with connection.connection_context():
            yield from _store(service)
            yield from _sending(service)
    except PeeweeException as error:
        yield _away(error)
    except SettingsError as error:
        yield Check("secret key", "wrong", str(error), "Set it, and ask again.")


def _away(error: PeeweeException) -> Check:
    return Check("database", "wrong", " ".join(str(error).split()), "Is it running? Is DATABASE_URL right?")


def _misspelt(environment: Mapping[str, str]) -> Iterator[Check]:
    """Look for names in `.env` that nobody reads."""
    for name in sorted(set(environment) - set(SETTING_NAMES)):
        if name.startswith("AWS_"):
            to_do = "Set it in the environment itself: boto3 does not read this file."
        else:
            to_do = did_you_mean(name, SETTING_NAMES) or "Remove it, or see the README for the names."
        yield Check("settings", "advice", f"{name} in .env is no setting of QuoteAPI", to_do)


def _store(service: Container) -> Iterator[Check]:
    settings = service.settings
    where = database.describe_database(settings)
    if settings.has_shared_state:
        yield Check("database", "ok", where)
    else:
        found = f"{where}: every container of Lambda has its own, so nobody can subscribe"
        yield Check("database", "wrong", found, "Set DATABASE_URL to a database that all of them share.")
    if size := catalogue_size():
        yield Check("catalogue", "ok", f"{size} quotes")
    else:
        yield Check("catalogue", "wrong", "no quotes", "Import some: quoteapi quotes import catalogue/quotes.csv")
    _ = service.rate_limits  # which reads or makes the key
    yield Check("secret key", "ok", "set" if settings.secret_key else "kept beside the database")
    behind = Subscriber.select().where(Subscriber.sync_needed_since < service.clock() - BEHIND).count()
    if behind:
        yield Check(
            "subscribers",
            "wrong",
            f"{behind} for hours not as they want it on the topic",
            "Run: quoteapi reconcile. It tells whom SNS refuses.",
        )
    else:
        active = Subscriber.select().where(Subscriber.state == ACTIVE).count()
        yield Check("subscribers", "ok", f"{active} active")


def _sending(service: Container) -> Iterator[Check]:
    settings = service.settings
    yield _switch(settings)
    yield from unknown_countries(settings)
    yield _last_delivery(service)
    elsewhere = Subscriber.select().where(on_another_topic(service.gateway.topic))
    if others := elsewhere.count():
        found = f"{others} are on another topic ({elsewhere.get().topic}) than the settings say"
        yield Check("topic", "wrong", found, "Mend the settings or, if they are right: quoteapi reconcile --all")
    if settings.gateway == "console":
        yield Check("gateway", "ok", "console: SMS are printed and kept in the inbox of this machine, and cost nothing")
    else:
        yield from _sns(service)


def _sns(service: Container) -> Iterator[Check]:
    settings = service.settings
    try:
        people = service.gateway.count_subscriptions()
    except GatewayError as error:
        to_do = "Is the network up, and SNS_REGION right? https://health.aws.amazon.com tells how SNS is."
        if isinstance(error, GatewayMisconfigured):
            to_do = "Set aws_access_key_id and aws_secret_access_key, or run `aws configure`; allow them SNS."
        yield Check("gateway", "wrong", f"sns in {settings.sns_region}: {error}", to_do)
        return
    yield Check("gateway", "ok", f"sns in {settings.sns_region}, topic {settings.sns_topic}, {people} on it")
    settled = (Subscriber.state == ACTIVE) & Subscriber.sync_needed_since.is_null()
    expected = Subscriber.select().where(settled).count()
    if people < expected:
        found = f"SNS has {people} on the topic, the database {expected} who should be"
        yield Check(
            "topic", "wrong", found, "Right after somebody subscribed, wait a minute. Else: quoteapi reconcile --all"
        )
    yield from _account(service.gateway)
    yield _cap(service, people)
    yield _leaving(settings)


def _switch(settings: Settings) -> Check:
    thrown = SmsSwitch.get_or_none(SmsSwitch.name == SMS_SWITCH)
    if thrown is not None:
        found = f"SMS were switched off at {thrown.disabled_at:%Y-%m-%d %H:%M} UTC"
        return Check("switch", "wrong", found, "To go on: quoteapi sms start")
    if settings.sms_daily_cap == 0:
        return Check("switch", "wrong", "SMS_DAILY_CAP is 0: no SMS goes out", "Set it to how many may.")
    return Check("switch", "ok", "SMS may go out")


def _last_delivery(service: Container) -> Check:
    of_this_topic = Delivery.select().where(Delivery.topic == service.gateway.topic)
    last, now = of_this_topic.order_by(Delivery.date.desc()).first(), service.clock()
    state: State = "ok"
    found, to_do = "none was sent yet", ""
    if last is not None and last.sent_at is not None:
        found = f"last sent {last.sent_at:%Y-%m-%d %H:%M} UTC"
        if last.sent_at < now - MISSED:
            state, to_do = "wrong", "Is the schedule, or cron, running? For now: quoteapi publish"
    elif last is not None and last.sending_at is not None and last.sending_at <= now - SEND_TIMEOUT:
        found = f"nobody knows whether that of {last.date} went out"
        state, to_do = "wrong", "To send it in spite of that: quoteapi publish --again"
        if last.date < now.date():
            state, to_do = "advice", "Today's is sent as ever."
    elif last is not None:
        found = f"that of {last.date} is being sent"
        if last.sending_at is None and last.claimed_at <= now - CLAIM_TIMEOUT:
            found = f"whoever was to send that of {last.date} died before"
            state, to_do = "wrong", "Run: quoteapi publish"
    return Check("daily SMS", state, found, to_do)


def _account(gateway: Gateway) -> Iterator[Check]:
    from quoteapi.sms.sns import QuoteSubscription  # noqa: PLC0415

    assert isinstance(gateway, QuoteSubscription)
    try:
        if gateway.is_in_sandbox():
            found = "the account is in the SMS sandbox: SMS reach verified numbers only, and vanish else"
            yield Check("sandbox", "wrong", found, "Ask AWS to move it out: SNS console, Text messaging (SMS).")
        else:
            yield Check("sandbox", "ok", "the account is out of it")
    except GatewayError as error:
        yield Check("sandbox", "advice", f"not known: {error}", "Allow sns:GetSMSSandboxAccountStatus.")
    try:
        yield _spending(gateway.spend_limit(), gateway.spent())
    except GatewayError as error:
        to_do = "Allow sns:GetSMSAttributes and cloudwatch:GetMetricStatistics."
        yield Check("spending", "advice", f"not known: {error}", to_do)


def _spending(limit: str | None, spent: float) -> Check:
    raise_it = "Ask AWS for a higher SMS spending quota, then set it: SNS console, Text messaging (SMS)."
    if limit is None:
        return Check("spending", "advice", f"${spent:.2f} this month; no limit was set, so it is AWS's $1", raise_it)
    found = f"${spent:.2f} of ${float(limit):.2f} this month"
    if spent >= float(limit):
        return Check("spending", "wrong", f"{found}: AWS sends no more", raise_it)
    return Check("spending", "advice" if spent > NEARLY * float(limit) else "ok", found, raise_it)


def _cap(service: Container, people: int) -> Check:
    cap, today = service.settings.sms_daily_cap, service.clock().date()
    sent = SmsUsage.select(SmsUsage.count).where(SmsUsage.date == today).scalar() or 0
    found = f"{sent} codes and confirmations today, {people} get the daily SMS; at most {cap} each"
    to_do = "Set SMS_DAILY_CAP higher."
    if people > cap or sent >= cap:
        return Check("daily cap", "wrong", found, to_do)
    return Check("daily cap", "advice" if max(people, sent) > NEARLY * cap else "ok", found, to_do)


def _leaving(settings: Settings) -> Check:
    if settings.public_url is None:
        found = "SMS say to reply STOP, which many countries and sender ids do not know"
        return Check("leaving", "advice", found, "Set PUBLIC_URL, so that they name the page to leave by.")
    if not settings.unsubscribe_requires_otp:
        found = "whoever knows a number can unsubscribe it"
        return Check("leaving", "advice", found, "Set UNSUBSCRIBE_REQUIRES_OTP=true.")
    return Check("leaving", "ok", f"{settings.public_url}/unsubscribe, by a code")
