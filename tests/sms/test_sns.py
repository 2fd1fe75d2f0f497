import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from quoteapi.container import Container
from quoteapi.settings import read_settings
from quoteapi.sms.gateway import (
    Gateway,
    GatewayError,
    GatewayMisconfigured,
    GatewayUnavailable,
    NumberRejected,
    OutcomeUnknown,
)
from quoteapi.sms.sns import QuoteSubscription
from tests.helpers.clock import FakeClock
from tests.helpers.data import KOLKATA, MIRA, NOOR, sqlite_only
from tests.helpers.sns_emulator import SETTINGS, TOPIC, Fault, SnsCalls, backend, published, sent_to, subscribed_numbers


@pytest.fixture
def gateway(sns_container: Container) -> QuoteSubscription:
    assert isinstance(sns_container.gateway, QuoteSubscription)
    return sns_container.gateway


def test_subscribe_and_unsubscribe_a_number(gateway: QuoteSubscription) -> None:
    arn = gateway.subscribe(MIRA, TOPIC)
    assert arn.startswith("arn:aws:sns:us-east-1:123456789012:DailyQuoteSubscription:")
    assert gateway.subscribe(MIRA, TOPIC) == arn, "the number has one subscription"
    assert subscribed_numbers() == [MIRA]
    assert gateway.count_subscriptions(TOPIC) == 1
    gateway.unsubscribe(arn)
    assert subscribed_numbers() == []


def test_unsubscribing_twice_raises_no_error(gateway: QuoteSubscription, sns_calls: SnsCalls) -> None:
    arn = gateway.subscribe(MIRA, TOPIC)
    gateway.unsubscribe(arn)
    gateway.unsubscribe(arn)


def test_the_topic_arn_is_requested_once_a_process(gateway: QuoteSubscription, sns_calls: SnsCalls) -> None:
    gateway.subscribe(MIRA, TOPIC)
    gateway.subscribe(NOOR, TOPIC)
    gateway.publish("Hope and keep busy.", TOPIC)
    assert sns_calls.operations == ["CreateTopic", "Subscribe", "Subscribe", "Publish"]


def test_threads_that_start_at_once_share_clients_and_topic(gateway: QuoteSubscription, sns_calls: SnsCalls) -> None:
    with ThreadPoolExecutor(8) as threads:
        arns = set(threads.map(gateway.subscribe, [MIRA] * 16, [TOPIC] * 16))
    assert len(arns) == 1
    assert sns_calls.operations.count("CreateTopic") == 1


def test_unsubscribing_one_of_250_is_one_call(gateway: QuoteSubscription, sns_calls: SnsCalls) -> None:
    arns = [gateway.subscribe(f"+9190280{n:05}", TOPIC) for n in range(250)]
    sns_calls.operations.clear()
    gateway.unsubscribe(arns[125])
    assert sns_calls.operations == ["Unsubscribe"]
    assert len(subscribed_numbers()) == 249


def attributes_sent(gateway: QuoteSubscription, send: Callable[[], object]) -> dict[str, str]:
    """Return the attributes of the message that `send` sends."""
    sent: list[dict[str, str]] = []

    def record(params: dict[str, dict[str, dict[str, str]]], **_: object) -> None:
        sent.append({name: value["StringValue"] for name, value in params["MessageAttributes"].items()})

    gateway._sending_client.meta.events.register("provide-client-params.sns.Publish", record)
    send()
    return sent[0]


@pytest.mark.parametrize(("kind", "type_"), [("code", "Transactional"), ("confirmation", "Transactional")])
def test_otps_and_confirmations_are_transactional(gateway: QuoteSubscription, kind: str, type_: str) -> None:
    sent = attributes_sent(gateway, lambda: gateway.send_sms(MIRA, "Hello.", kind))  # type: ignore[arg-type]
    assert sent == {"AWS.SNS.SMS.SMSType": type_}
    assert sent_to(MIRA) == ["Hello."]


def test_quotes_are_promotional(gateway: QuoteSubscription) -> None:
    assert attributes_sent(gateway, lambda: gateway.publish("Hope.", TOPIC)) == {"AWS.SNS.SMS.SMSType": "Promotional"}
    assert published() == ["Hope."]


def test_sender_id_price_and_indian_ids_are_sent_with_each_sms(sns_container: Container, clock: FakeClock) -> None:
    settings = read_settings(
        {
            **SETTINGS,
            "SMS_SENDER_ID": "QUOTES",
            "SMS_MAX_PRICE": "0.05",
            "SMS_ENTITY_ID": "1101000000000000001",
            "SMS_TEMPLATE_IDS": "code:1107000000000000001,quote:1107000000000000002",
        }
    )
    gateway = QuoteSubscription(settings, clock)
    common = {
        "AWS.SNS.SMS.SenderID": "QUOTES",
        "AWS.SNS.SMS.MaxPrice": "0.05",
        "AWS.MM.SMS.EntityId": "1101000000000000001",
    }
    assert attributes_sent(gateway, lambda: gateway.send_sms(MIRA, "1", "code")) == {
        "AWS.SNS.SMS.SMSType": "Transactional",
        "AWS.MM.SMS.TemplateId": "1107000000000000001",
        **common,
    }
    assert attributes_sent(gateway, lambda: gateway.publish("2", TOPIC)) == {
        "AWS.SNS.SMS.SMSType": "Promotional",
        "AWS.MM.SMS.TemplateId": "1107000000000000002",
        **common,
    }


def test_topic_and_region_come_from_the_settings(sns_container: Container, clock: FakeClock) -> None:
    settings = read_settings({**SETTINGS, "SNS_TOPIC": "Quotes", "SNS_REGION": "ap-south-1"})
    gateway = QuoteSubscription(settings, clock)
    arn = gateway.subscribe(MIRA, gateway.topics.name(KOLKATA))
    assert arn.startswith("arn:aws:sns:ap-south-1:123456789012:Quotes-Asia-Kolkata:")
    with pytest.raises(GatewayMisconfigured, match="SNS_REGION is ap-south-1, but the topic is us-east-1:"):
        gateway.subscribe(MIRA, TOPIC)


def test_opted_out_numbers_are_listed_and_can_opt_in(gateway: QuoteSubscription) -> None:
    assert gateway.is_opted_out("+919028000099"), "moto counts numbers that end in 99 as opted out"
    assert not gateway.is_opted_out(MIRA)
    backend().opt_out_numbers[:] = [MIRA, NOOR]
    assert list(gateway.list_opted_out()) == [[MIRA, NOOR]]
    gateway.opt_in(MIRA)
    assert list(gateway.list_opted_out()) == [[NOOR]]


def test_spending_and_its_limit(gateway: QuoteSubscription) -> None:
    assert gateway.spend_limit() is None
    gateway._client.set_sms_attributes(attributes={"MonthlySpendLimit": "25"})
    assert gateway.spend_limit() == "25"
    assert gateway.spent() == 0.0


# ---- failures

ACTIONS: dict[str, Callable[[Gateway], object]] = {
    "SendSms": lambda gateway: gateway.send_sms(MIRA, "Hello.", "code"),
    "Publish": lambda gateway: gateway.publish("Hope.", TOPIC),
    "Subscribe": lambda gateway: gateway.subscribe(MIRA, TOPIC),
    "Unsubscribe": lambda gateway: gateway.unsubscribe("arn:aws:sns:us-east-1:123456789012:DailyQuoteSubscription:x"),
    "GetTopicAttributes": lambda gateway: gateway.count_subscriptions(TOPIC),
    "CheckIfPhoneNumberIsOptedOut": lambda gateway: gateway.is_opted_out(MIRA),
    "ListPhoneNumbersOptedOut": lambda gateway: list(gateway.list_opted_out()),
    "OptInPhoneNumber": lambda gateway: gateway.opt_in(MIRA),
}
ERRORS: dict[Fault, type[GatewayError]] = {
    "throttled": GatewayUnavailable,
    "refused": NumberRejected,
    "forbidden": GatewayMisconfigured,
    "error 500": OutcomeUnknown,
    "timed out": OutcomeUnknown,
}


@sqlite_only
@pytest.mark.parametrize("fault", ERRORS)
@pytest.mark.parametrize("action", ACTIONS)
def test_the_class_of_an_error_says_whether_a_later_try_can_succeed(
    gateway: QuoteSubscription, sns_calls: SnsCalls, action: str, fault: Fault
) -> None:
    gateway.count_subscriptions(TOPIC)
    sns_calls.fault_for = lambda _number, _operation: fault
    with pytest.raises(GatewayError) as failed:
        ACTIONS[action](gateway)
    assert type(failed.value) is ERRORS[fault]
    assert "9028000001" not in "".join(traceback.format_exception(failed.value)), "nor does its chain"


@pytest.mark.parametrize("fault", ["error 500", "timed out", "answer lost"])
def test_sending_is_attempted_once(gateway: QuoteSubscription, sns_calls: SnsCalls, fault: Fault) -> None:
    gateway.count_subscriptions(TOPIC)
    for action in ("SendSms", "Publish"):
        sns_calls.operations.clear()
        sns_calls.fault_for = lambda _number, _operation: fault
        with pytest.raises(OutcomeUnknown):
            ACTIONS[action](gateway)
        assert sns_calls.operations == ["Publish"]


@pytest.mark.parametrize("fault", ["error 500", "timed out", "answer lost"])
def test_other_calls_are_retried(gateway: QuoteSubscription, sns_calls: SnsCalls, fault: Fault) -> None:
    sns_calls.fault_for = lambda number, _operation: fault if number in {0, 1, 3} else None
    gateway.subscribe(MIRA, TOPIC)
    assert sns_calls.operations == ["CreateTopic"] * 3 + ["Subscribe"] * 2
    assert subscribed_numbers() == [MIRA]


@sqlite_only
@pytest.mark.parametrize("action", sorted(set(ACTIONS) - {"Unsubscribe", "OptInPhoneNumber"}))
def test_an_unreadable_response_is_an_unknown_outcome(
    gateway: QuoteSubscription, sns_calls: SnsCalls, action: str
) -> None:
    gateway.count_subscriptions(TOPIC)
    sns_calls.fault_for = lambda _number, _operation: "nonsense"
    with pytest.raises(OutcomeUnknown):
        ACTIONS[action](gateway)


def test_missing_credentials_are_a_misconfiguration(clock: FakeClock) -> None:
    gateway = QuoteSubscription(read_settings({"SMS_GATEWAY": "sns", "SMS_ALLOWED_REGIONS": "IN"}), clock)
    with pytest.raises(GatewayMisconfigured, match="no usable AWS credentials"):
        gateway.send_sms(MIRA, "Hello.", "code")


def test_an_unreachable_sns_is_unavailable(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    gateway = QuoteSubscription(read_settings(SETTINGS), clock)
    with pytest.raises(GatewayUnavailable, match="SNS cannot be reached"):
        gateway.send_sms(MIRA, "Hello.", "code")


def test_no_client_is_created_before_the_first_call(clock: FakeClock) -> None:
    gateway = QuoteSubscription(read_settings(SETTINGS), clock)
    assert not {"_session", "_client", "_sending_client"} & set(vars(gateway))
