from pathlib import Path

import pytest

from quoteapi.config import ROOT, Settings, WrongSetting, load_settings, read_settings


def test_without_settings_there_are_defaults_for_a_laptop() -> None:
    settings = read_settings({})
    assert (settings.host, settings.port, settings.workers) == ("127.0.0.1", 8000, None)
    assert settings.database_path == ROOT / "quoteapi.db"
    assert settings.upstream_endpoint is None
    assert settings.state_is_shared
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
    ],
)
def test_a_wrong_setting_is_refused_with_a_right_one(name: str, value: str, said: str) -> None:
    with pytest.raises(WrongSetting) as refusal:
        read_settings({name: value})
    assert str(refusal.value).startswith(said)


@pytest.mark.parametrize("key", ["a\nb", "schlüssel"])
def test_a_key_is_shown_neither_when_wrong_nor_when_right(key: str) -> None:
    with pytest.raises(WrongSetting) as refusal:
        read_settings({"X_Mashape_Key": key})
    assert key not in str(refusal.value)
    assert "hidden-key" not in repr(read_settings({"X_Mashape_Key": "hidden-key"}))
    with pytest.raises(WrongSetting) as refusal:
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


def test_a_container_of_lambda_has_state_of_its_own_unless_a_database_is_named() -> None:
    container = read_settings({"AWS_LAMBDA_FUNCTION_NAME": "quotes"})
    assert container.database_path == Path("/tmp/quoteapi.db")  # noqa: S108
    assert not container.state_is_shared
    own = read_settings({"AWS_LAMBDA_FUNCTION_NAME": "quotes", "DATABASE_URL": "sqlite:////tmp/quotes.db"})
    assert not own.state_is_shared, "no other container sees that folder"
    named = {"AWS_LAMBDA_FUNCTION_NAME": "quotes", "DATABASE_URL": "sqlite:////mnt/quotes.db"}
    assert read_settings({**named, "SECRET_KEY": "k" * 32, "SMS_ALLOWED_REGIONS": "IN"}).state_is_shared
