"""The settings: read once from the environment, typed, and rejected with a clear message if invalid."""

from quoteapi.settings.loader import (
    DOTENV,
    SettingsError,
    find_unknown_names,
    load_settings,
    misspelt_name_warnings,
    read_settings,
    settings_for_database,
)
from quoteapi.settings.model import BUNDLED_CATALOGUE, ROOT, SETTING_NAMES, Settings, local_url
from quoteapi.settings.parsers import ANY_REGION, SECRET_KEY_HINT, RateLimit
from quoteapi.settings.quiet_hours import QuietHours

__all__ = [
    "ANY_REGION",
    "BUNDLED_CATALOGUE",
    "DOTENV",
    "ROOT",
    "SECRET_KEY_HINT",
    "SETTING_NAMES",
    "QuietHours",
    "RateLimit",
    "Settings",
    "SettingsError",
    "find_unknown_names",
    "load_settings",
    "local_url",
    "misspelt_name_warnings",
    "read_settings",
    "settings_for_database",
]
