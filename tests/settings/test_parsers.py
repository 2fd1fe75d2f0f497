from datetime import time
from ipaddress import ip_network
from pathlib import Path

import pytest

from quoteapi.settings import QuietHours, RateLimit, SettingsError, read_settings
from quoteapi.settings.parsers import normalize_origin

FORM_OF_LIMIT = "a number from 1 to {}, a slash, a number from 1 to 9999, and one of the units s, m, h and d"
MUST_BE_LIMITS = f"must be limits such as 1/1m,3/10m,5/1d. A limit is {FORM_OF_LIMIT.format(999)}"
MUST_BE_A_READ_LIMIT = f"must be off, or a limit such as 600/1m: {FORM_OF_LIMIT.format(999_999_999)}"


def test_each_setting_is_typed() -> None:
    settings = read_settings(
        {
            "HOST": "0.0.0.0",  # noqa: S104
            "PORT": " 8080 ",
            "WORKERS": "3",
            "DATABASE_URL": "sqlite:////data/my quotes.db",
            "CORS_ORIGINS": "https://Example.org, http://localhost:3000/",
            "LOG_LEVEL": "warning",
            "Mashape_API_Endpoint": "https://quotes.example.org/random?count=1",
            "X_Mashape_Key": "key",
        }
    )
    assert (settings.port, settings.workers, settings.log_level) == (8080, 3, "WARNING")
    assert settings.database_path == Path("/data/my quotes.db")
    assert settings.cors_origins == ("https://example.org", "http://localhost:3000")
    assert settings.upstream_endpoint == "https://quotes.example.org/random?count=1"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("PORT", "http", "PORT must be a port number from 1 to 65535, for example 8000. It is now 'http'."),
        ("PORT", "0", "PORT must be a port number from 1 to 65535, for example 8000. It is now '0'."),
        ("PORT", "65536", "PORT must be a port number"),
        ("PORT", "-1", "PORT must be a port number"),
        ("PORT", "٨", "PORT must be a port number"),
        ("WORKERS", "0", "WORKERS must be a whole number from 1 to 1024"),
        ("DATABASE_URL", "mysql://host/db", "DATABASE_URL must be the URL of an SQLite file"),
        ("DATABASE_URL", "sqlite:///:memory:", "DATABASE_URL must be the URL of an SQLite file"),
        ("DATABASE_URL", "sqlite:///", "DATABASE_URL must be the URL of an SQLite file"),
        ("DATABASE_URL", "dynamodb://", "DATABASE_URL must be dynamodb://TABLE?region=REGION, for example"),
        ("DATABASE_URL", "dynamodb://ab", "DATABASE_URL must be dynamodb://TABLE?region=REGION"),
        ("DATABASE_URL", "dynamodb://quotes/prod", "DATABASE_URL must be dynamodb://TABLE?region=REGION"),
        ("DATABASE_URL", "dynamodb://quotes?region=mars", "DATABASE_URL must be dynamodb://TABLE?region=REGION"),
        ("DATABASE_URL", "dynamodb://quotes?regoin=us-east-1", "DATABASE_URL must be dynamodb://TABLE?region=REGION"),
        ("DATABASE_URL", "quotes.db", "DATABASE_URL must be the URL of an SQLite file"),
        ("CORS_ORIGINS", "example.org", "CORS_ORIGINS must be * alone, or origins separated by commas"),
        ("CORS_ORIGINS", "*, https://example.org", "CORS_ORIGINS must be * alone"),
        ("CORS_ORIGINS", "https://example.org/page", "CORS_ORIGINS must be * alone"),
        ("CORS_ORIGINS", "https://bücher.example", "CORS_ORIGINS must be * alone"),
        ("LOG_LEVEL", "loud", "LOG_LEVEL must be one of DEBUG, INFO, WARNING, ERROR. It is now 'loud'."),
        (
            "Mashape_API_Endpoint",
            "quotes.example.org",
            "Mashape_API_Endpoint must be a URL that starts with https://",
        ),
        ("Mashape_API_Endpoint", "file:///etc/passwd", "Mashape_API_Endpoint must be a URL"),
        ("CORS_ORIGINS", "https://example.org:http", "CORS_ORIGINS must be * alone"),
        ("Mashape_API_Endpoint", "https://example.org:99999", "Mashape_API_Endpoint must be a URL"),
        ("Mashape_API_Endpoint", "https://example.org/a b", "Mashape_API_Endpoint must be a URL"),
        ("Mashape_API_Endpoint", "https://[", "Mashape_API_Endpoint must be"),
        ("SMS_GATEWAY", "smoke", "SMS_GATEWAY must be console or sns. It is now 'smoke'."),
        ("PUBLIC_URL", "quotes.example.org", "PUBLIC_URL must be a URL that starts with https://"),
        ("PUBLIC_URL", "https://example.org/?page=1", "PUBLIC_URL must be a URL without ? and #"),
        ("PUBLIC_URL", "https://example.org/#top", "PUBLIC_URL must be a URL without ? and #"),
        ("PUBLIC_URL", "https://example.org?", "PUBLIC_URL must be a URL without ? and #"),
        ("PUBLIC_URL", "https://example.org/#", "PUBLIC_URL must be a URL without ? and #"),
        ("UNSUBSCRIBE_REQUIRES_OTP", "maybe", "UNSUBSCRIBE_REQUIRES_OTP must be true or false. It is now 'maybe'."),
        ("SMS_ALLOWED_REGIONS", "IND", "SMS_ALLOWED_REGIONS must be * alone, or two-letter country codes"),
        ("SMS_ALLOWED_REGIONS", "IN US", "SMS_ALLOWED_REGIONS must be * alone"),
        ("SMS_ALLOWED_REGIONS", "+91", "SMS_ALLOWED_REGIONS must be * alone"),
        ("SMS_ALLOWED_REGIONS", "*,IN", "SMS_ALLOWED_REGIONS must be * alone"),
        ("SMS_ALLOWED_REGIONS", ",", "SMS_ALLOWED_REGIONS must be * alone"),
        (
            "SMS_DAILY_CAP",
            "-1",
            "SMS_DAILY_CAP must be a whole number from 0 to 99999999, for example 1000. It is now '-1'.",
        ),
        ("SMS_MAX_SUBSCRIBERS", "-1", "SMS_MAX_SUBSCRIBERS must be a whole number from 0 to 99999999"),
        ("SMS_MAX_SUBSCRIBERS", "many", "SMS_MAX_SUBSCRIBERS must be a whole number"),
        ("SMS_DAILY_CAP", "1e3", "SMS_DAILY_CAP must be a whole number"),
        ("SMS_DAILY_CAP", "١٠", "SMS_DAILY_CAP must be a whole number"),
        ("SMS_DAILY_CAP", "100000001", "SMS_DAILY_CAP must be a whole number"),
        ("SMS_DAILY_CAP", "0000000001000000000", "SMS_DAILY_CAP must be a whole number"),
        ("SMS_DAILY_CAP", "9" * 5_000, "SMS_DAILY_CAP must be a whole number"),
        (
            "DAILY_SMS_AT",
            "9:00",
            "DAILY_SMS_AT must be a local time from 00:00 to 23:59, for example 09:00. It is now '9:00'.",
        ),
        ("DAILY_SMS_AT", "24:00", "DAILY_SMS_AT must be a local time from 00:00 to 23:59"),
        ("DAILY_SMS_AT", "09:60", "DAILY_SMS_AT must be a local time"),
        ("DAILY_SMS_AT", "09:00:00", "DAILY_SMS_AT must be a local time"),
        ("DAILY_SMS_AT", "9 am", "DAILY_SMS_AT must be a local time"),
        ("DAILY_SMS_AT", "٠٩:٠٠", "DAILY_SMS_AT must be a local time"),
        (
            "QUIET_HOURS",
            "21-9",
            "QUIET_HOURS must be off, or two different local times, for example 21:00-09:00. It is now '21-9'.",
        ),
        ("QUIET_HOURS", "21:00", "QUIET_HOURS must be off, or two different local times"),
        ("QUIET_HOURS", "21:00-21:00", "QUIET_HOURS must be off, or two different local times"),
        ("QUIET_HOURS", "21:00-24:00", "QUIET_HOURS must be off, or two different local times"),
        ("QUIET_HOURS", "21:00-09:00-10:00", "QUIET_HOURS must be off, or two different local times"),
        (
            "DEFAULT_TIME_ZONE",
            "Mumbai",
            "DEFAULT_TIME_ZONE must be the IANA name of a time zone, for example Asia/Kolkata or America/New_York.",
        ),
        ("DEFAULT_TIME_ZONE", "../Asia/Kolkata", "DEFAULT_TIME_ZONE must be the IANA name of a time zone"),
        ("CODES_PER_NUMBER", "3", f"CODES_PER_NUMBER {MUST_BE_LIMITS}"),
        ("CODES_PER_NUMBER", "0/1m", f"CODES_PER_NUMBER {MUST_BE_LIMITS}"),
        ("CODES_PER_NUMBER", "1/0m", f"CODES_PER_NUMBER {MUST_BE_LIMITS}"),
        ("CODES_PER_NUMBER", "1/1w", f"CODES_PER_NUMBER {MUST_BE_LIMITS}"),
        (
            "CODES_PER_NUMBER",
            "1/1m,,3/10m",
            f"CODES_PER_NUMBER {MUST_BE_LIMITS}",
        ),
        ("CODES_PER_NUMBER", "1000/1d", f"CODES_PER_NUMBER {MUST_BE_LIMITS}"),
        ("CODES_PER_ADDRESS", "10/1٣h", f"CODES_PER_ADDRESS {MUST_BE_LIMITS}"),
        (
            "WRONG_TRIES_PER_NUMBER",
            "five",
            "WRONG_TRIES_PER_NUMBER must be a limit such as 5/1h: a number from 1 to 999",
        ),
        (
            "WRONG_TRIES_PER_NUMBER",
            "5/1h,9/1d",
            (
                f"WRONG_TRIES_PER_NUMBER must be a limit such as 5/1h: {FORM_OF_LIMIT.format(999)}."
                " It is now '5/1h,9/1d'."
            ),
        ),
        (
            "WRONG_TRIES_PER_ADDRESS",
            "30 / 1h",
            f"WRONG_TRIES_PER_ADDRESS {MUST_BE_LIMITS}",
        ),
        (
            "READ_LIMIT",
            "600",
            f"READ_LIMIT {MUST_BE_A_READ_LIMIT}. It is now '600'.",
        ),
        ("READ_LIMIT", "0/1m", f"READ_LIMIT {MUST_BE_A_READ_LIMIT}"),
        ("READ_LIMIT", "1000000000/1m", f"READ_LIMIT {MUST_BE_A_READ_LIMIT}"),
        ("READ_LIMIT", "600/0m", f"READ_LIMIT {MUST_BE_A_READ_LIMIT}"),
        ("READ_LIMIT", "600/1m,9000/1h", f"READ_LIMIT {MUST_BE_A_READ_LIMIT}"),
        ("READ_LIMIT", "٦٠٠/1m", f"READ_LIMIT {MUST_BE_A_READ_LIMIT}"),
        ("READ_LIMIT", "none", f"READ_LIMIT {MUST_BE_A_READ_LIMIT}"),
        (
            "TRUSTED_PROXIES",
            "proxy.example.org",
            "TRUSTED_PROXIES must be IP addresses or networks separated by commas",
        ),
        ("TRUSTED_PROXIES", "10.0.0.1/8", "TRUSTED_PROXIES must be IP addresses or networks"),
        ("TRUSTED_PROXIES", "10.0.0.0/33", "TRUSTED_PROXIES must be IP addresses or networks"),
        ("TRUSTED_PROXIES", "127.0.0.1:8000", "TRUSTED_PROXIES must be IP addresses or networks"),
        (
            "SNS_TOPIC",
            "arn:aws:sns:us-east-1:1:Topic",
            "SNS_TOPIC must be the name of a topic, with only letters, digits, - and _",
        ),
        ("SNS_TOPIC", "T" * 257, "SNS_TOPIC must be the name of a topic"),
        ("SNS_REGION", "Virginia", "SNS_REGION must be an AWS region, for example us-east-1. It is now 'Virginia'."),
        ("SNS_REGION", "us-east-1a", "SNS_REGION must be an AWS region"),
        ("SMS_SENDER_ID", "12345", "SMS_SENDER_ID must be 1 to 11 letters and digits, with at least one letter"),
        ("SMS_SENDER_ID", "Quote API", "SMS_SENDER_ID must be 1 to 11 letters and digits"),
        ("SMS_SENDER_ID", "TwelveLetter", "SMS_SENDER_ID must be 1 to 11 letters and digits"),
        ("SMS_SENDER_ID", "Zitäte", "SMS_SENDER_ID must be 1 to 11 letters and digits"),
        ("SMS_MAX_PRICE", "$0.05", "SMS_MAX_PRICE must be US dollars, for example 0.05. It is now '$0.05'."),
        ("SMS_MAX_PRICE", "0,05", "SMS_MAX_PRICE must be US dollars"),
        ("SMS_MAX_PRICE", "-1", "SMS_MAX_PRICE must be US dollars"),
        ("SMS_ENTITY_ID", "entity-1", "SMS_ENTITY_ID must be the entity ID, with only digits"),
        ("SMS_TEMPLATE_IDS", "1107160000000000001", "SMS_TEMPLATE_IDS must be template IDs for code, confirmation and"),
        ("SMS_TEMPLATE_IDS", "greeting:1107160000000000001", "SMS_TEMPLATE_IDS must be template IDs for code"),
        ("SMS_TEMPLATE_IDS", "code:", "SMS_TEMPLATE_IDS must be template IDs for code"),
        ("SMS_TEMPLATE_IDS", "code:١١٠٧", "SMS_TEMPLATE_IDS must be template IDs for code"),
    ],
    ids=lambda value: value if len(value) <= 40 else value[:37] + "...",
)
def test_an_invalid_value_is_rejected_with_the_form_of_a_valid_one(name: str, value: str, message: str) -> None:
    with pytest.raises(SettingsError) as error_info:
        read_settings({name: value})
    assert str(error_info.value).startswith(message)


@pytest.mark.parametrize("key", ["a\nb", "schlüssel"])
def test_the_upstream_key_is_in_no_error_and_no_repr(key: str) -> None:
    with pytest.raises(SettingsError) as error_info:
        read_settings({"X_Mashape_Key": key})
    assert key not in str(error_info.value)
    assert "hidden-key" not in repr(read_settings({"X_Mashape_Key": "hidden-key"}))
    with pytest.raises(SettingsError) as error_info:
        read_settings({"Mashape_API_Endpoint": "ftp://example.org?key=hidden-key"})
    assert "hidden-key" not in str(error_info.value)


def test_each_sms_setting_is_typed() -> None:
    settings = read_settings(
        {
            "SMS_GATEWAY": "SNS",
            "PUBLIC_URL": "https://example.org/quotes/",
            "SMS_ALLOWED_REGIONS": "in, US,,GB",
            "SMS_DAILY_CAP": "0",
            "DAILY_SMS_AT": "07:30",
            "QUIET_HOURS": "22:00-07:00",
            "DEFAULT_TIME_ZONE": "asia/calcutta",
            "CODES_PER_NUMBER": "1/30s, 3/10m",
            "CODES_PER_ADDRESS": "999/9999d",
            "WRONG_TRIES_PER_NUMBER": "4/2h",
            "WRONG_TRIES_PER_ADDRESS": "20/1h,40/1d",
            "TRUSTED_PROXIES": "127.0.0.1, 10.0.0.0/8, ::1",
            "SNS_TOPIC": "daily_Quote-1",
            "SNS_REGION": "ap-south-1",
            "aws_access_key_id": "an id",
            "aws_secret_access_key": "a key",
            "SMS_SENDER_ID": "QuoteAPI1",
            "SMS_MAX_PRICE": "0.05",
            "SMS_ENTITY_ID": "1101234567890123456",
            "SMS_TEMPLATE_IDS": "code:1107160000000000001, quote:1107160000000000002",
        }
    )
    assert settings.gateway == "sns"
    assert settings.unsubscribe_url == "https://example.org/quotes/u"
    assert settings.sms_allowed_regions == {"IN", "US", "GB"}
    assert settings.sms_daily_cap == 0
    assert (settings.daily_sms_at, settings.quiet_hours) == (time(7, 30), QuietHours(time(22), time(7)))
    assert settings.default_time_zone == "Asia/Kolkata"
    assert settings.codes_per_number == (RateLimit(1, 30), RateLimit(3, 600))
    assert settings.codes_per_client_ip == (RateLimit(999, 9_999 * 86_400),)
    assert settings.wrong_tries_per_number == RateLimit(4, 7_200)
    assert settings.wrong_tries_per_client_ip == (RateLimit(20, 3_600), RateLimit(40, 86_400))
    assert settings.trusted_proxies == tuple(map(ip_network, ("127.0.0.1/32", "10.0.0.0/8", "::1/128")))
    assert (settings.sns_topic, settings.sns_region) == ("daily_Quote-1", "ap-south-1")
    assert (settings.aws_access_key_id, settings.aws_secret_access_key) == ("an id", "a key")
    assert (settings.sms_sender_id, settings.sms_max_price) == ("QuoteAPI1", "0.05")
    assert settings.sms_entity_id == "1101234567890123456"
    assert settings.sms_template_ids == (("code", "1107160000000000001"), ("quote", "1107160000000000002"))


@pytest.mark.parametrize(
    ("word", "value"), [("true", True), ("Yes", True), ("1", True), ("ON", True), ("false", False), ("no", False)]
)
def test_a_boolean_is_written_as_a_word(word: str, value: bool) -> None:
    assert read_settings({"UNSUBSCRIBE_REQUIRES_OTP": word}).unsubscribe_requires_otp is value


@pytest.mark.parametrize(
    ("text", "limit"),
    [("off", None), ("OFF", None), ("1/1s", RateLimit(1, 1)), ("999999999/2d", RateLimit(999_999_999, 172_800))],
)
def test_the_read_limit_is_one_rate_limit_or_none(text: str, limit: RateLimit | None) -> None:
    assert read_settings({"READ_LIMIT": text}).read_limit == limit


@pytest.mark.parametrize("region", ["us-gov-west-1", "ap-southeast-2", "mx-central-1"])
def test_an_aws_region_may_have_any_number_of_words(region: str) -> None:
    assert read_settings({"SNS_REGION": region}).sns_region == region


@pytest.mark.parametrize(
    ("secret", "message"),
    [
        (
            "hidden-" + "k" * 24,
            "SECRET_KEY must be at least 32 random characters; to create one, run `python3",
        ),
        ("hidden-" + "0123456789abcdef" * 2 + "\udcff", "SECRET_KEY must be"),
    ],
    ids=["too short", "undecodable bytes"],
)
def test_an_invalid_secret_key_is_rejected_and_not_shown(secret: str, message: str) -> None:
    with pytest.raises(SettingsError) as error_info:
        read_settings({"SECRET_KEY": secret})
    assert str(error_info.value).startswith(message)
    assert "hidden" not in f"{error_info.value} {error_info.value.__cause__!r}"


def test_a_repetitive_secret_key_is_rejected() -> None:
    with pytest.raises(SettingsError, match=r"^SECRET_KEY must be at least 32 random characters"):
        read_settings({"SECRET_KEY": "password" * 5})


def test_a_network_of_all_addresses_is_no_trusted_proxy() -> None:
    for network in ("0.0.0.0/0", "127.0.0.1,::/0"):
        with pytest.raises(SettingsError, match=r"^TRUSTED_PROXIES must be IP addresses or networks"):
            read_settings({"TRUSTED_PROXIES": network})


def test_a_secret_key_of_32_characters_is_valid() -> None:
    assert read_settings({"SECRET_KEY": "0123456789abcdef" * 2}).secret_key == "0123456789abcdef" * 2


PUBLIC_KEY = """-----BEGIN PUBLIC KEY-----
MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAKj34GkxFhD90vcNLYLInFEX6Ppy1tPf
9Cnzj4p4WGeKLs1Pt8QuKUpRKfFLfRYC9AIKjbJTWit+CqvjWYzvQwECAwEAAQ==
-----END PUBLIC KEY-----
"""


@pytest.mark.parametrize("ends", ["\n", "\\n", "\r\n", " "])
def test_a_public_key_may_be_written_on_one_line(ends: str) -> None:
    issuer = {"JWT_ISSUER": "https://login.example.org", "JWT_AUDIENCE": "quotes"}
    assert read_settings({**issuer, "JWT_PUBLIC_KEY": PUBLIC_KEY.replace("\n", ends)}).jwt_public_key == PUBLIC_KEY


@pytest.mark.parametrize("key", ["x", PUBLIC_KEY.replace("PUBLIC", "PRIVATE"), PUBLIC_KEY.replace("MFww", "MF*w")])
def test_an_invalid_public_key_is_rejected_and_not_shown(key: str) -> None:
    with pytest.raises(SettingsError, match=r"^JWT_PUBLIC_KEY must be a public key in PEM") as error_info:
        read_settings({"JWT_PUBLIC_KEY": key, "JWT_ISSUER": "me", "JWT_AUDIENCE": "you"})
    assert key not in str(error_info.value).replace("x", "x" * len(key))


def test_origins_are_compared_as_browsers_send_them() -> None:
    settings = read_settings(
        {"CORS_ORIGINS": "https://Example.org:443, http://example.org:80/,http://example.org:8080"}
    )
    assert settings.cors_origins == ("https://example.org", "http://example.org", "http://example.org:8080")


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://Quotes.example.org./daily", "https://quotes.example.org"),
        ("https://[2001:DB8::7]:443", "https://[2001:db8::7]"),
        ("http://localhost:", "http://localhost"),
        ("http://localhost:443", "http://localhost:443"),
        ("https://user@example.org", "https://user@example.org"),
        *dict.fromkeys(("null", "*", "", "://", "https://", "ftp://example.org", "x" * 400_000), "").items(),
    ],
    ids=lambda text: repr(text)[:40],
)
def test_the_origin_of_a_url(url: str, origin: str) -> None:
    assert normalize_origin(url) == origin
