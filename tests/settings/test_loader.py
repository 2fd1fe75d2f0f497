from pathlib import Path

import pytest

from quoteapi.settings import Settings, SettingsError, load_settings, read_settings

PUBLIC_KEY = "-----BEGIN PUBLIC KEY-----\nMFww\n-----END PUBLIC KEY-----"


def test_an_empty_setting_counts_as_not_set() -> None:
    assert read_settings({"PORT": "", "DATABASE_URL": " "}) == Settings()


def test_the_environment_takes_precedence_over_the_file_dotenv(tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text('PORT=8001\nX_Mashape_Key="with # and ${HOME} inside"\nHOST=localhost\nNOT_A_VALUE\n')
    settings = load_settings({"PORT": "8002"}, dotenv)
    assert (settings.port, settings.host, settings.upstream_key) == (8002, "localhost", "with # and ${HOME} inside")
    assert load_settings({}, tmp_path / "none") == Settings()


@pytest.mark.parametrize("name", ["aws_access_key_id", "aws_secret_access_key"])
def test_credentials_go_together_and_are_not_shown(name: str) -> None:
    with pytest.raises(
        SettingsError, match=r"^Set both aws_access_key_id and aws_secret_access_key, or neither"
    ) as error_info:
        read_settings({name: "hidden"})
    assert "hidden" not in str(error_info.value)


def test_the_sns_gateway_needs_allowed_regions() -> None:
    with pytest.raises(SettingsError, match=r"^SMS_ALLOWED_REGIONS must be set if Amazon SNS sends SMS"):
        read_settings({"SMS_GATEWAY": "sns"})
    assert read_settings({"SMS_GATEWAY": "sns", "SMS_ALLOWED_REGIONS": "*"}).sms_allowed_regions == {"*"}


def test_lambda_with_a_database_needs_the_secret_key_the_regions_and_sns() -> None:
    shared = {"AWS_LAMBDA_FUNCTION_NAME": "quotes", "DATABASE_URL": "sqlite:////mnt/quotes.db"}
    with pytest.raises(SettingsError, match=r"^SECRET_KEY must be set on Lambda: .*, the same everywhere"):
        read_settings({**shared, "SMS_ALLOWED_REGIONS": "IN"})
    with pytest.raises(SettingsError, match=r"^SMS_ALLOWED_REGIONS must be set"):
        read_settings({**shared, "SECRET_KEY": "0123456789abcdef" * 2})
    both = read_settings({**shared, "SECRET_KEY": "0123456789abcdef" * 2, "SMS_ALLOWED_REGIONS": "IN"})
    assert (both.gateway, both.unsubscribe_url) == ("sns", None)
    with pytest.raises(SettingsError, match=r"^SMS_GATEWAY must be sns on Lambda"):
        read_settings({**shared, "SECRET_KEY": "0123456789abcdef" * 2, "SMS_GATEWAY": "console"})


def test_bearer_tokens_need_their_key_issuer_and_audience_together() -> None:
    secret = "0123456789abcdef" * 2
    variables = {"JWT_SECRET": secret, "JWT_ISSUER": "me", "JWT_AUDIENCE": "you"}
    assert read_settings(variables).jwt_audience == "you"
    for missing in variables:
        with pytest.raises(SettingsError, match="JWT_ISSUER, JWT_AUDIENCE, and JWT_SECRET or JWT_PUBLIC_KEY"):
            read_settings({name: value for name, value in variables.items() if name != missing})
    with pytest.raises(SettingsError, match=r"^Set only one of JWT_SECRET and JWT_PUBLIC_KEY"):
        read_settings({**variables, "JWT_PUBLIC_KEY": PUBLIC_KEY})
    with pytest.raises(SettingsError, match=r"^JWT_SECRET must be at least 32 random characters"):
        read_settings({**variables, "JWT_SECRET": "short"})


@pytest.mark.parametrize("name", ["ASYNC_FAILURE", "XRAY_TRACING"])
def test_settings_of_lambda_are_rejected_elsewhere(name: str) -> None:
    with pytest.raises(SettingsError, match="work only on AWS Lambda"):
        read_settings({name: "true"})
    assert read_settings({name: "true", "AWS_LAMBDA_FUNCTION_NAME": "quotes"})


@pytest.mark.parametrize(
    ("variables", "found"),
    [
        ({"DAILY_SMS_AT": "21:00"}, "DAILY_SMS_AT is now 21:00; quiet hours are 21:00-09:00"),
        ({"DAILY_SMS_AT": "20:01"}, "DAILY_SMS_AT is now 20:01; quiet hours are 21:00-09:00"),
        ({"DAILY_SMS_AT": "20:00"}, "20:00; quiet hours in the country US are 21:00-09:00 and 20:00-08:00"),
        ({"DAILY_SMS_AT": "20:00", "QUIET_HOURS": "off"}, "20:00; quiet hours in the country US are 20:00-08:00"),
        ({"DAILY_SMS_AT": "23:30", "QUIET_HOURS": "off"}, "23:30; quiet hours are off"),
        ({"QUIET_HOURS": "09:00-08:00"}, "09:00; quiet hours are 09:00-08:00"),
        ({"QUIET_HOURS": "00:00-23:59"}, "09:00; quiet hours are 00:00-23:59"),
        ({"QUIET_HOURS": "10:00-20:00", "DAILY_SMS_AT": "10:00"}, "US are 10:00-20:00 and 20:00-08:00"),
    ],
)
def test_every_country_needs_an_hour_for_the_daily_sms(variables: dict[str, str], found: str) -> None:
    with pytest.raises(SettingsError, match=r"must leave an hour for the daily SMS.* Set DAILY_SMS_AT to an") as caught:
        read_settings(variables)
    assert found in str(caught.value)


@pytest.mark.parametrize(
    "variables",
    [
        {"DAILY_SMS_AT": "19:00"},
        {"DAILY_SMS_AT": "00:00"},
        {"DAILY_SMS_AT": "00:00", "QUIET_HOURS": "off"},
        {"QUIET_HOURS": "13:00-14:30"},
    ],
)
def test_an_hour_for_the_daily_sms_is_enough(variables: dict[str, str]) -> None:
    assert read_settings(variables)
