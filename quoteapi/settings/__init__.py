"""The settings: read once from the environment, typed, and rejected with a clear message if invalid."""

from quoteapi.settings.loader import SettingsError, load_settings, read_dotenv, read_settings, settings_for_database
from quoteapi.settings.model import SETTING_NAMES, Settings, local_url
from quoteapi.settings.parsers import ANY_REGION, AWS_REGION, SECRET_KEY_HINT, RateLimit
from quoteapi.settings.paths import BUNDLED_CATALOGUE, DOTENV, LAMBDA_FOLDER, ROOT

__all__ = [
    "ANY_REGION",
    "AWS_REGION",
    "BUNDLED_CATALOGUE",
    "DOTENV",
    "LAMBDA_FOLDER",
    "ROOT",
    "SECRET_KEY_HINT",
    "SETTING_NAMES",
    "RateLimit",
    "Settings",
    "SettingsError",
    "load_settings",
    "local_url",
    "read_dotenv",
    "read_settings",
    "settings_for_database",
]
