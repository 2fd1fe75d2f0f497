from datetime import time
from pathlib import Path

import pytest

from quoteapi.settings import ROOT, QuietHours, RateLimit, Settings, SettingsError, read_settings


def test_without_settings_there_are_defaults_for_a_laptop() -> None:
    settings = read_settings({})
    assert (settings.host, settings.port, settings.workers) == ("127.0.0.1", 8000, None)
    assert settings.database_path == ROOT / "quoteapi.db"
    assert settings.upstream_endpoint is None
    assert settings.has_shared_state
    assert settings == Settings()


def test_containers_of_lambda_share_no_sqlite_file() -> None:
    settings = read_settings({"AWS_LAMBDA_FUNCTION_NAME": "quotes"})
    assert settings.database_path == Path("/tmp/quoteapi.db")  # noqa: S108
    assert not settings.has_shared_state
    for url in ("sqlite:////tmp/quotes.db", "sqlite:////mnt/quotes.db"):  # SQLite cannot share a file that others mount
        variables = {"AWS_LAMBDA_FUNCTION_NAME": "quotes", "DATABASE_URL": url, "SECRET_KEY": "0123456789abcdef" * 2}
        assert not read_settings({**variables, "SMS_ALLOWED_REGIONS": "IN"}).has_shared_state


def test_by_default_sms_stay_on_the_laptop_and_are_limited() -> None:
    settings = read_settings({})
    assert settings.gateway == "console"
    assert settings.unsubscribe_url == "http://127.0.0.1:8000/u"
    assert settings.secret_key is None
    assert not settings.unsubscribe_requires_otp
    assert settings.sms_daily_cap == settings.max_subscribers == 1_000
    assert (settings.daily_sms_at, settings.quiet_hours) == (time(9), QuietHours(time(21), time(9)))
    assert settings.default_time_zone == "Etc/UTC"
    assert settings.codes_per_number == (RateLimit(1, 60), RateLimit(3, 600), RateLimit(5, 86_400))
    assert settings.codes_per_client_ip == (RateLimit(10, 3_600),)
    assert settings.wrong_tries_per_number == RateLimit(5, 3_600)
    assert settings.wrong_tries_per_client_ip == (RateLimit(30, 3_600),)
    assert settings.read_limit == RateLimit(600, 60)
    assert settings.trusted_proxies == ()
    assert (settings.sns_topic, settings.sns_region) == ("DailyQuoteSubscription", "us-east-1")


@pytest.mark.parametrize(
    ("environment", "limit"),
    [
        ({"SMS_DAILY_CAP": "5000"}, 5_000),
        ({"SMS_DAILY_CAP": "20"}, 1_000),
        ({"SMS_DAILY_CAP": "0"}, 1_000),
        ({"SMS_DAILY_CAP": "5000", "SMS_MAX_SUBSCRIBERS": "30"}, 30),
        ({"SMS_DAILY_CAP": "20", "SMS_MAX_SUBSCRIBERS": "30"}, 30),
        ({"SMS_MAX_SUBSCRIBERS": "0"}, 0),
    ],
)
def test_a_thousand_may_subscribe_or_as_many_as_a_larger_daily_cap_or_as_the_setting_says(
    environment: dict[str, str], limit: int
) -> None:
    assert read_settings(environment).max_subscribers == limit


@pytest.mark.parametrize(
    ("environment", "url"),
    [
        ({"HOST": "0.0.0.0", "PORT": "8080"}, "http://127.0.0.1:8080/u"),  # noqa: S104
        ({"HOST": "::1"}, "http://[::1]:8000/u"),
        ({"PUBLIC_URL": "http://192.168.1.7:8000"}, "http://192.168.1.7:8000/u"),
        (
            {"PUBLIC_URL": "https://a1.execute-api.eu-west-1.amazonaws.com/dev"},
            "https://a1.execute-api.eu-west-1.amazonaws.com/dev/u",
        ),
        ({"SMS_GATEWAY": "sns", "SMS_ALLOWED_REGIONS": "*", "HOST": "0.0.0.0"}, None),  # noqa: S104
    ],
)
def test_the_link_to_leave_is_known_with_a_public_url_or_on_a_laptop(
    environment: dict[str, str], url: str | None
) -> None:
    assert read_settings(environment).unsubscribe_url == url


def test_no_secret_is_in_the_repr() -> None:
    names = ("SECRET_KEY", "aws_access_key_id", "aws_secret_access_key")
    assert "hidden" not in repr(read_settings(dict.fromkeys(names, "hidden-" + "0123456789abcdef" * 2)))


LAMBDA = {"AWS_LAMBDA_FUNCTION_NAME": "quoteapi-dev"}
FOR_SUBSCRIBERS = {"SECRET_KEY": "0123456789abcdef" * 2, "SMS_ALLOWED_REGIONS": "IN"}


@pytest.mark.parametrize(
    ("environment", "table"),
    [
        ({**LAMBDA, **FOR_SUBSCRIBERS}, ("quoteapi-dev", None)),
        ({**LAMBDA, "SECRET_KEY": FOR_SUBSCRIBERS["SECRET_KEY"]}, None),
        ({**LAMBDA, "SMS_ALLOWED_REGIONS": "IN"}, None),
        ({**LAMBDA, **FOR_SUBSCRIBERS, "SMS_GATEWAY": "console"}, None),
        ({**LAMBDA, **FOR_SUBSCRIBERS, "DATABASE_URL": "postgresql://host/quotes"}, None),
        ({**LAMBDA, **FOR_SUBSCRIBERS, "DATABASE_URL": "sqlite:////tmp/quotes.db"}, None),
        ({**LAMBDA, **FOR_SUBSCRIBERS, "DATABASE_URL": "dynamodb://other?region=eu-west-1"}, ("other", "eu-west-1")),
        ({**FOR_SUBSCRIBERS, "SMS_GATEWAY": "sns", "DATABASE_URL": "dynamodb://mine"}, ("mine", None)),
        (FOR_SUBSCRIBERS, None),
    ],
)
def test_on_lambda_the_state_is_in_a_table_named_like_the_function_once_users_can_subscribe(
    environment: dict[str, str], table: tuple[str, str | None] | None
) -> None:
    assert read_settings(environment).dynamodb_table == table


@pytest.mark.parametrize("environment", [LAMBDA, {**LAMBDA, "SMS_ALLOWED_REGIONS": "IN"}])
def test_a_stage_without_what_users_need_to_subscribe_still_serves_quotes(environment: dict[str, str]) -> None:
    assert not read_settings(environment).has_shared_state


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("SECRET_KEY", "SECRET_KEY must be set"),
        ("SMS_ALLOWED_REGIONS", "SMS_ALLOWED_REGIONS must be set"),
        ("SMS_GATEWAY", "SMS_GATEWAY must be sns with a DynamoDB table"),
    ],
)
def test_a_table_needs_the_settings_of_a_service_that_sends_sms(missing: str, message: str) -> None:
    environment = {**FOR_SUBSCRIBERS, "SMS_GATEWAY": "sns", "DATABASE_URL": "dynamodb://mine"}
    del environment[missing]
    with pytest.raises(SettingsError, match=message):
        read_settings(environment)


@pytest.mark.parametrize(
    ("environment", "topic"),
    [
        (LAMBDA, "DailyQuoteSubscription"),
        ({**LAMBDA, **FOR_SUBSCRIBERS}, "DailyQuoteSubscription-quoteapi-dev"),
        ({**LAMBDA, **FOR_SUBSCRIBERS, "SNS_TOPIC": "mine"}, "mine"),
        ({**LAMBDA, **FOR_SUBSCRIBERS, "DATABASE_URL": "postgresql://host/quotes"}, "DailyQuoteSubscription"),
        ({**LAMBDA, **FOR_SUBSCRIBERS, "DATABASE_URL": "dynamodb://my.table"}, "DailyQuoteSubscription-my-table"),
        (
            {**LAMBDA, **FOR_SUBSCRIBERS, "DATABASE_URL": f"dynamodb://{'t' * 255}"},
            f"DailyQuoteSubscription-{'t' * 233}",
        ),
    ],
)
def test_each_dynamodb_table_has_a_topic_of_its_own(environment: dict[str, str], topic: str) -> None:
    assert read_settings(environment).sns_topic == topic
