"""The settings: read once from the environment, typed, and refused with a clear message if invalid."""

from quoteapi.settings.loader import WrongSetting, from_dotenv, load_settings, read_settings, settings_of
from quoteapi.settings.model import SETTING_NAMES, Settings, address_of
from quoteapi.settings.parsers import ANY_REGION, AWS_REGION, MAKE_ONE, Window
from quoteapi.settings.paths import DOTENV, LAMBDA_FOLDER, ROOT, SHIPPED_DATABASE

__all__ = [
    "ANY_REGION",
    "AWS_REGION",
    "DOTENV",
    "LAMBDA_FOLDER",
    "MAKE_ONE",
    "ROOT",
    "SETTING_NAMES",
    "SHIPPED_DATABASE",
    "Settings",
    "Window",
    "WrongSetting",
    "address_of",
    "from_dotenv",
    "load_settings",
    "read_settings",
    "settings_of",
]
