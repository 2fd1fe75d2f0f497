from pathlib import Path

import pytest

from quoteapi.settings import ROOT, RateLimit, Settings, read_settings


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
    assert settings.unsubscribe_url == "http://127.0.0.1:8000/unsubscribe"
    assert settings.secret_key is None
    assert not settings.unsubscribe_requires_otp
    assert settings.sms_daily_cap == settings.max_subscribers == 1_000
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
        ({"HOST": "0.0.0.0", "PORT": "8080"}, "http://127.0.0.1:8080/unsubscribe"),  # noqa: S104
        ({"HOST": "::1"}, "http://[::1]:8000/unsubscribe"),
        ({"PUBLIC_URL": "http://192.168.1.7:8000"}, "http://192.168.1.7:8000/unsubscribe"),
        ({"SMS_GATEWAY": "sns", "SMS_ALLOWED_REGIONS": "*", "HOST": "0.0.0.0"}, None),  # noqa: S104
    ],
)
def test_the_unsubscribe_url_is_known_with_a_public_url_or_on_a_laptop(
    environment: dict[str, str], url: str | None
) -> None:
    assert read_settings(environment).unsubscribe_url == url


def test_no_secret_is_in_the_repr() -> None:
    names = ("SECRET_KEY", "aws_access_key_id", "aws_secret_access_key")
    assert "hidden" not in repr(read_settings(dict.fromkeys(names, "hidden-" + "0123456789abcdef" * 2)))
