from ipaddress import ip_network
from pathlib import Path

import pytest

from quoteapi.settings import ROOT, RateLimit, Settings, SettingsError, load_settings, read_settings


def test_without_settings_there_are_defaults_for_a_laptop() -> None:
    settings = read_settings({})
    assert (settings.host, settings.port, settings.workers) == ("127.0.0.1", 8000, None)
    assert settings.database_path == ROOT / "quoteapi.db"
    assert settings.upstream_endpoint is None
    assert settings.has_shared_state
    assert settings == Settings()


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
    ("name", "value", "said"),
    [
        ("PORT", "http", "PORT must be a port number from 1 to 65535, for example 8000, not 'http'."),
        ("PORT", "0", "PORT must be a port number from 1 to 65535, for example 8000, not '0'."),
        ("PORT", "65536", "PORT must be a port number"),
        ("PORT", "-1", "PORT must be a port number"),
        ("PORT", "٨", "PORT must be a port number"),
        ("WORKERS", "0", "WORKERS must be a whole number from 1 to 1024"),
        ("DATABASE_URL", "mysql://host/db", "DATABASE_URL must be sqlite:/// and the path of a file"),
        ("DATABASE_URL", "sqlite:///:memory:", "DATABASE_URL must be sqlite:/// and the path of a file"),
        ("DATABASE_URL", "sqlite:///", "DATABASE_URL must be sqlite:/// and the path of a file"),
        ("DATABASE_URL", "quotes.db", "DATABASE_URL must be sqlite:/// and the path of a file"),
        ("CORS_ORIGINS", "example.org", "CORS_ORIGINS must be * alone, or origins with commas between"),
        ("CORS_ORIGINS", "*, https://example.org", "CORS_ORIGINS must be * alone"),
        ("CORS_ORIGINS", "https://example.org/page", "CORS_ORIGINS must be * alone"),
        ("LOG_LEVEL", "loud", "LOG_LEVEL must be one of DEBUG, INFO, WARNING, ERROR, not 'loud'."),
        (
            "Mashape_API_Endpoint",
            "quotes.example.org",
            "Mashape_API_Endpoint must be an address that starts with https://",
        ),
        ("Mashape_API_Endpoint", "file:///etc/passwd", "Mashape_API_Endpoint must be an address"),
        ("CORS_ORIGINS", "https://example.org:http", "CORS_ORIGINS must be * alone"),
        ("Mashape_API_Endpoint", "https://example.org:99999", "Mashape_API_Endpoint must be an address"),
        ("Mashape_API_Endpoint", "https://example.org/a b", "Mashape_API_Endpoint must be an address"),
        ("Mashape_API_Endpoint", "https://[", "Mashape_API_Endpoint must be"),
        ("SMS_GATEWAY", "smoke", "SMS_GATEWAY must be console or sns, not 'smoke'."),
        ("PUBLIC_URL", "quotes.example.org", "PUBLIC_URL must be an address that starts with https://"),
        ("PUBLIC_URL", "https://example.org/?page=1", "PUBLIC_URL must be an address without ? and #"),
        ("PUBLIC_URL", "https://example.org/#top", "PUBLIC_URL must be an address without ? and #"),
        ("PUBLIC_URL", "https://example.org?", "PUBLIC_URL must be an address without ? and #"),
        ("PUBLIC_URL", "https://example.org/#", "PUBLIC_URL must be an address without ? and #"),
        ("UNSUBSCRIBE_REQUIRES_OTP", "maybe", "UNSUBSCRIBE_REQUIRES_OTP must be true or false, not 'maybe'."),
        ("SMS_ALLOWED_REGIONS", "IND", "SMS_ALLOWED_REGIONS must be * alone, or countries by their two letters"),
        ("SMS_ALLOWED_REGIONS", "IN US", "SMS_ALLOWED_REGIONS must be * alone"),
        ("SMS_ALLOWED_REGIONS", "+91", "SMS_ALLOWED_REGIONS must be * alone"),
        ("SMS_ALLOWED_REGIONS", "*,IN", "SMS_ALLOWED_REGIONS must be * alone"),
        ("SMS_ALLOWED_REGIONS", ",", "SMS_ALLOWED_REGIONS must be * alone"),
        (
            "SMS_DAILY_CAP",
            "-1",
            "SMS_DAILY_CAP must be a whole number from 0 to 99999999, for example 1000, not '-1'.",
        ),
        ("SMS_DAILY_CAP", "1e3", "SMS_DAILY_CAP must be a whole number"),
        ("SMS_DAILY_CAP", "١٠", "SMS_DAILY_CAP must be a whole number"),
        ("SMS_DAILY_CAP", "100000001", "SMS_DAILY_CAP must be a whole number"),
        ("SMS_DAILY_CAP", "0000000001000000000", "SMS_DAILY_CAP must be a whole number"),
        ("SMS_DAILY_CAP", "9" * 5_000, "SMS_DAILY_CAP must be a whole number"),
        ("CODES_PER_NUMBER", "3", "CODES_PER_NUMBER must be 1 to 999 in 1 to 9999 s, m, h or d, with commas between"),
        ("CODES_PER_NUMBER", "0/1m", "CODES_PER_NUMBER must be 1 to 999 in 1 to 9999"),
        ("CODES_PER_NUMBER", "1/0m", "CODES_PER_NUMBER must be 1 to 999 in 1 to 9999"),
        ("CODES_PER_NUMBER", "1/1w", "CODES_PER_NUMBER must be 1 to 999 in 1 to 9999"),
        ("CODES_PER_NUMBER", "1/1m,,3/10m", "CODES_PER_NUMBER must be 1 to 999 in 1 to 9999"),
        ("CODES_PER_NUMBER", "1000/1d", "CODES_PER_NUMBER must be 1 to 999 in 1 to 9999"),
        ("CODES_PER_ADDRESS", "10/1٣h", "CODES_PER_ADDRESS must be 1 to 999 in 1 to 9999"),
        ("WRONG_TRIES_PER_NUMBER", "five", "WRONG_TRIES_PER_NUMBER must be 1 to 999 in 1 to 9999"),
        (
            "WRONG_TRIES_PER_NUMBER",
            "5/1h,9/1d",
            "WRONG_TRIES_PER_NUMBER must be 1 to 999 in 1 to 9999 s, m, h or d, for example 5/1h, not '5/1h,9/1d'.",
        ),
        ("WRONG_TRIES_PER_ADDRESS", "30 / 1h", "WRONG_TRIES_PER_ADDRESS must be 1 to 999 in 1 to 9999"),
        (
            "READ_LIMIT",
            "600",
            "READ_LIMIT must be off, or 1 to 999999999 in 1 to 9999 s, m, h or d, for example 600/1m, not '600'.",
        ),
        ("READ_LIMIT", "0/1m", "READ_LIMIT must be off, or 1 to 999999999 in 1 to 9999"),
        ("READ_LIMIT", "1000000000/1m", "READ_LIMIT must be off, or 1 to 999999999 in 1 to 9999"),
        ("READ_LIMIT", "600/0m", "READ_LIMIT must be off, or 1 to 999999999 in 1 to 9999"),
        ("READ_LIMIT", "600/1m,9000/1h", "READ_LIMIT must be off, or 1 to 999999999 in 1 to 9999"),
        ("READ_LIMIT", "٦٠٠/1m", "READ_LIMIT must be off, or 1 to 999999999 in 1 to 9999"),
        ("READ_LIMIT", "none", "READ_LIMIT must be off, or 1 to 999999999 in 1 to 9999"),
        ("TRUSTED_PROXIES", "proxy.example.org", "TRUSTED_PROXIES must be addresses or networks with commas between"),
        ("TRUSTED_PROXIES", "10.0.0.1/8", "TRUSTED_PROXIES must be addresses or networks"),
        ("TRUSTED_PROXIES", "10.0.0.0/33", "TRUSTED_PROXIES must be addresses or networks"),
        ("TRUSTED_PROXIES", "127.0.0.1:8000", "TRUSTED_PROXIES must be addresses or networks"),
        ("SNS_TOPIC", "arn:aws:sns:us-east-1:1:Topic", "SNS_TOPIC must be a topic's name: letters, digits, - and _"),
        ("SNS_TOPIC", "T" * 257, "SNS_TOPIC must be a topic's name"),
        ("SNS_REGION", "Virginia", "SNS_REGION must be an AWS region, for example us-east-1, not 'Virginia'."),
        ("SNS_REGION", "us-east-1a", "SNS_REGION must be an AWS region"),
        ("SMS_SENDER_ID", "12345", "SMS_SENDER_ID must be 1 to 11 letters and digits, with a letter among them"),
        ("SMS_SENDER_ID", "Quote API", "SMS_SENDER_ID must be 1 to 11 letters and digits"),
        ("SMS_SENDER_ID", "TwelveLetter", "SMS_SENDER_ID must be 1 to 11 letters and digits"),
        ("SMS_SENDER_ID", "Zitäte", "SMS_SENDER_ID must be 1 to 11 letters and digits"),
        ("SMS_MAX_PRICE", "$0.05", "SMS_MAX_PRICE must be US dollars, for example 0.05, not '$0.05'."),
        ("SMS_MAX_PRICE", "0,05", "SMS_MAX_PRICE must be US dollars"),
        ("SMS_MAX_PRICE", "-1", "SMS_MAX_PRICE must be US dollars"),
        ("SMS_ENTITY_ID", "entity-1", "SMS_ENTITY_ID must be the number of the entity"),
        ("SMS_TEMPLATE_IDS", "1107160000000000001", "SMS_TEMPLATE_IDS must be a number for code, confirmation and"),
        ("SMS_TEMPLATE_IDS", "greeting:1107160000000000001", "SMS_TEMPLATE_IDS must be a number for code"),
        ("SMS_TEMPLATE_IDS", "code:", "SMS_TEMPLATE_IDS must be a number for code"),
        ("SMS_TEMPLATE_IDS", "code:١١٠٧", "SMS_TEMPLATE_IDS must be a number for code"),
    ],
    ids=lambda value: value if len(value) <= 40 else value[:37] + "...",
)
def test_a_wrong_setting_is_refused_with_a_right_one(name: str, value: str, said: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        read_settings({name: value})
    assert str(refusal.value).startswith(said)


@pytest.mark.parametrize("key", ["a\nb", "schlüssel"])
def test_a_key_is_shown_neither_when_wrong_nor_when_right(key: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        read_settings({"X_Mashape_Key": key})
    assert key not in str(refusal.value)
    assert "hidden-key" not in repr(read_settings({"X_Mashape_Key": "hidden-key"}))
    with pytest.raises(SettingsError) as refusal:
        read_settings({"Mashape_API_Endpoint": "ftp://example.org?key=hidden-key"})
    assert "hidden-key" not in str(refusal.value)


def test_an_empty_setting_counts_as_not_set() -> None:
    assert read_settings({"PORT": "", "DATABASE_URL": " "}) == Settings()


def test_the_file_dotenv_is_read_and_the_environment_wins(tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text('PORT=8001\nX_Mashape_Key="with # and ${HOME} inside"\nHOST=localhost\nNOT_A_VALUE\n')
    settings = load_settings({"PORT": "8002"}, dotenv)
    assert (settings.port, settings.host, settings.upstream_key) == (8002, "localhost", "with # and ${HOME} inside")
    assert load_settings({}, tmp_path / "none") == Settings()


def test_a_container_of_lambda_has_state_of_its_own() -> None:
    container = read_settings({"AWS_LAMBDA_FUNCTION_NAME": "quotes"})
    assert container.database_path == Path("/tmp/quoteapi.db")  # noqa: S108
    assert not container.has_shared_state
    for url in ("sqlite:////tmp/quotes.db", "sqlite:////mnt/quotes.db"):  # SQLite cannot share a file that others mount
        named = {"AWS_LAMBDA_FUNCTION_NAME": "quotes", "DATABASE_URL": url, "SECRET_KEY": "0123456789abcdef" * 2}
        assert not read_settings({**named, "SMS_ALLOWED_REGIONS": "IN"}).has_shared_state


# ---- SMS and subscribers


def test_without_settings_sms_stay_on_the_laptop_and_are_bounded() -> None:
    settings = read_settings({})
    assert settings.gateway == "console"
    assert settings.unsubscribe_url == "http://127.0.0.1:8000/unsubscribe"
    assert settings.secret_key is None
    assert not settings.unsubscribe_requires_otp
    assert settings.sms_daily_cap == 1_000
    assert settings.codes_per_number == (RateLimit(1, 60), RateLimit(3, 600), RateLimit(5, 86_400))
    assert settings.codes_per_client_ip == (RateLimit(10, 3_600),)
    assert settings.wrong_tries_per_number == RateLimit(5, 3_600)
    assert settings.wrong_tries_per_client_ip == (RateLimit(30, 3_600),)
    assert settings.read_limit == RateLimit(600, 60)
    assert settings.trusted_proxies == ()
    assert (settings.sns_topic, settings.sns_region) == ("DailyQuoteSubscription", "us-east-1")


def test_each_setting_of_sms_is_typed() -> None:
    settings = read_settings(
        {
            "SMS_GATEWAY": "SNS",
            "PUBLIC_URL": "https://example.org/quotes/",
            "SMS_ALLOWED_REGIONS": "in, US,,GB",
            "SMS_DAILY_CAP": "0",
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
    assert settings.unsubscribe_url == "https://example.org/quotes/unsubscribe"
    assert settings.sms_allowed_regions == {"IN", "US", "GB"}
    assert settings.sms_daily_cap == 0
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
    ("word", "meaning"), [("true", True), ("Yes", True), ("1", True), ("ON", True), ("false", False), ("no", False)]
)
def test_whether_leaving_takes_a_code_is_said_in_words(word: str, meaning: bool) -> None:
    assert read_settings({"UNSUBSCRIBE_REQUIRES_OTP": word}).unsubscribe_requires_otp is meaning


@pytest.mark.parametrize(
    ("written", "meaning"),
    [("off", None), ("OFF", None), ("1/1s", RateLimit(1, 1)), ("999999999/2d", RateLimit(999_999_999, 172_800))],
)
def test_reads_have_one_window_or_none(written: str, meaning: RateLimit | None) -> None:
    assert read_settings({"READ_LIMIT": written}).read_limit == meaning


@pytest.mark.parametrize("region", ["us-gov-west-1", "ap-southeast-2", "mx-central-1"])
def test_a_region_of_aws_may_have_any_number_of_words(region: str) -> None:
    assert read_settings({"SNS_REGION": region}).sns_region == region


@pytest.mark.parametrize(
    ("environment", "url"),
    [
        ({"HOST": "0.0.0.0", "PORT": "8080"}, "http://127.0.0.1:8080/unsubscribe"),  # noqa: S104
        ({"HOST": "::1"}, "http://[::1]:8000/unsubscribe"),
        ({"PUBLIC_URL": "http://192.168.1.7:8000"}, "http://192.168.1.7:8000/unsubscribe"),
        ({"SMS_GATEWAY": "sns", "SMS_ALLOWED_REGIONS": "*", "HOST": "0.0.0.0"}, None),  # noqa: S104
    ],
)
def test_sms_say_where_to_leave_where_that_is_known(environment: dict[str, str], url: str | None) -> None:
    assert read_settings(environment).unsubscribe_url == url


@pytest.mark.parametrize(
    ("secret", "said"),
    [
        (
            "hidden-" + "k" * 24,
            "SECRET_KEY must be text of at least 32 characters that nobody can guess; make one with: python3",
        ),
        ("hidden-" + "0123456789abcdef" * 2 + "\udcff", "SECRET_KEY must be"),
    ],
    ids=["too short", "bytes that are no text"],
)
def test_a_secret_key_that_will_not_do_is_refused_and_not_shown(secret: str, said: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        read_settings({"SECRET_KEY": secret})
    assert str(refusal.value).startswith(said)
    assert "hidden" not in f"{refusal.value} {refusal.value.__cause__!r}"


def test_a_secret_key_that_anybody_could_guess_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"^SECRET_KEY must be text of at least 32 characters"):
        read_settings({"SECRET_KEY": "password" * 5})


def test_everybody_is_no_trusted_proxy() -> None:
    for everybody in ("0.0.0.0/0", "127.0.0.1,::/0"):
        with pytest.raises(SettingsError, match=r"^TRUSTED_PROXIES must be addresses or networks"):
            read_settings({"TRUSTED_PROXIES": everybody})


def test_a_secret_key_of_32_characters_will_do() -> None:
    assert read_settings({"SECRET_KEY": "0123456789abcdef" * 2}).secret_key == "0123456789abcdef" * 2


def test_what_is_secret_is_in_no_repr() -> None:
    names = ("SECRET_KEY", "aws_access_key_id", "aws_secret_access_key")
    assert "hidden" not in repr(read_settings(dict.fromkeys(names, "hidden-" + "0123456789abcdef" * 2)))


@pytest.mark.parametrize("name", ["aws_access_key_id", "aws_secret_access_key"])
def test_credentials_go_together_and_are_not_shown(name: str) -> None:
    with pytest.raises(SettingsError, match="go together: set both, or neither") as refusal:
        read_settings({name: "hidden"})
    assert "hidden" not in str(refusal.value)


def test_where_sms_cost_money_the_countries_must_be_named() -> None:
    with pytest.raises(SettingsError, match=r"^SMS_ALLOWED_REGIONS must be set where SMS cost money"):
        read_settings({"SMS_GATEWAY": "sns"})
    assert read_settings({"SMS_GATEWAY": "sns", "SMS_ALLOWED_REGIONS": "*"}).sms_allowed_regions == {"*"}


def test_on_lambda_with_a_database_for_all_the_key_and_the_countries_must_be_set() -> None:
    shared = {"AWS_LAMBDA_FUNCTION_NAME": "quotes", "DATABASE_URL": "sqlite:////mnt/quotes.db"}
    with pytest.raises(SettingsError, match=r"^SECRET_KEY must be set on Lambda, the same for every container"):
        read_settings({**shared, "SMS_ALLOWED_REGIONS": "IN"})
    with pytest.raises(SettingsError, match=r"^SMS_ALLOWED_REGIONS must be set"):
        read_settings({**shared, "SECRET_KEY": "0123456789abcdef" * 2})
    both = read_settings({**shared, "SECRET_KEY": "0123456789abcdef" * 2, "SMS_ALLOWED_REGIONS": "IN"})
    assert (both.gateway, both.unsubscribe_url) == ("sns", None)
    with pytest.raises(SettingsError, match=r"^SMS_GATEWAY must be sns on Lambda"):
        read_settings({**shared, "SECRET_KEY": "0123456789abcdef" * 2, "SMS_GATEWAY": "console"})


PUBLIC_KEY = """-----BEGIN PUBLIC KEY-----
MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAKj34GkxFhD90vcNLYLInFEX6Ppy1tPf
9Cnzj4p4WGeKLs1Pt8QuKUpRKfFLfRYC9AIKjbJTWit+CqvjWYzvQwECAwEAAQ==
-----END PUBLIC KEY-----
"""


@pytest.mark.parametrize("ends", ["\n", "\\n", "\r\n", " "])
def test_a_public_key_may_be_written_in_one_line(ends: str) -> None:
    told = {"JWT_ISSUER": "https://login.example.org", "JWT_AUDIENCE": "quotes"}
    assert read_settings({**told, "JWT_PUBLIC_KEY": PUBLIC_KEY.replace("\n", ends)}).jwt_public_key == PUBLIC_KEY


@pytest.mark.parametrize("key", ["x", PUBLIC_KEY.replace("PUBLIC", "PRIVATE"), PUBLIC_KEY.replace("MFww", "MF*w")])
def test_what_is_no_public_key_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(SettingsError, match=r"^JWT_PUBLIC_KEY must be a public key in PEM") as refused:
        read_settings({"JWT_PUBLIC_KEY": key, "JWT_ISSUER": "me", "JWT_AUDIENCE": "you"})
    assert key not in str(refused.value).replace("x", "x" * len(key))


def test_bearer_tokens_need_their_key_issuer_and_audience_together() -> None:
    secret = "0123456789abcdef" * 2
    container = {"JWT_SECRET": secret, "JWT_ISSUER": "me", "JWT_AUDIENCE": "you"}
    assert read_settings(container).jwt_audience == "you"
    for missing in container:
        with pytest.raises(SettingsError, match="JWT_ISSUER, JWT_AUDIENCE, and JWT_SECRET or JWT_PUBLIC_KEY"):
            read_settings({name: value for name, value in container.items() if name != missing})
    with pytest.raises(SettingsError, match="set one of them"):
        read_settings({**container, "JWT_PUBLIC_KEY": PUBLIC_KEY})
    with pytest.raises(SettingsError, match=r"^JWT_SECRET must be text of at least 32 characters"):
        read_settings({**container, "JWT_SECRET": "short"})


@pytest.mark.parametrize("name", ["ASYNC_FAILURE", "XRAY_TRACING"])
def test_what_only_lambda_has_is_refused_elsewhere(name: str) -> None:
    with pytest.raises(SettingsError, match="are for AWS Lambda"):
        read_settings({name: "true"})
    assert read_settings({name: "true", "AWS_LAMBDA_FUNCTION_NAME": "quotes"})
