"""Time zones, by their names in the IANA time zone database, such as Asia/Kolkata.

Names and rules come from the package `tzdata`, not from the operating system: all machines agree, and AWS Lambda, which
has no such data, works the same. The data is loaded on first use, to keep cold starts short.

A normalized name is listed in `zone.tab`, which has one country for each zone, or is not a link to another name. Not
`zone1970.tab`: it merges zones of several countries that have the same time since 1970, such as Norway's and Germany's.
"""

import math
import re
from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

MAX_NAME_LENGTH = 64
_LINK = re.compile(r"^L (\S+) (\S+)$", re.MULTILINE)
_EARLIEST_OFFSET = timedelta(hours=14)
"""The offset of Pacific/Kiritimati, the time zone in which each date begins first."""
_RENAMED = {
    "Africa/Asmera": "Africa/Asmara",
    "Africa/Timbuktu": "Africa/Bamako",
    "America/Coral_Harbour": "America/Atikokan",
    "America/Virgin": "America/St_Thomas",
    "Atlantic/Jan_Mayen": "Arctic/Longyearbyen",
    "CST6CDT": "America/Chicago",
    "EST5EDT": "America/New_York",
    "Iceland": "Atlantic/Reykjavik",
    "MST7MDT": "America/Denver",
    "PST8PDT": "America/Los_Angeles",
    "Pacific/Ponape": "Pacific/Pohnpei",
    "Pacific/Truk": "Pacific/Chuuk",
    "Pacific/Yap": "Pacific/Chuuk",
}
"""Old names, some still sent by browsers, that the database links to another country's zone or to none."""
_MOST_POPULOUS = ("Australia/Sydney",)
"""Zones that come first in their country although `zone.tab` begins with a small island, Lord Howe."""


class UnknownTimeZone(ValueError):
    """Not the name of a time zone."""


class _Database(NamedTuple):
    """What is known about names: `names` by their lower case, and the countries of `zone.tab`."""

    names: Mapping[str, str]
    links: Mapping[str, str]
    countries: Mapping[str, str]
    zones_by_country: Mapping[str, tuple[str, ...]]


@lru_cache(maxsize=1)
def _data_folder() -> Path:
    import tzdata  # noqa: PLC0415

    return Path(tzdata.__file__).with_name("zoneinfo")


@lru_cache(maxsize=1)
def _database() -> _Database:
    names = _data_folder().with_name("zones").read_text("utf-8").split()
    links = {link: target for target, link in _LINK.findall((_data_folder() / "tzdata.zi").read_text("utf-8"))}
    countries, zones_by_country = _read_zone_tab()
    by_lower_case = {name.lower(): name for name in names if name != "Factory"}
    return _Database(by_lower_case, links | _RENAMED, countries, zones_by_country)


def _read_zone_tab() -> tuple[dict[str, str], dict[str, tuple[str, ...]]]:
    """Return the country of each zone, and the zones of each country."""
    lines = (_data_folder() / "zone.tab").read_text("utf-8").splitlines()
    rows = [line.split("\t") for line in lines if not line.startswith("#")]
    countries = {name: country for country, _, name, *_ in rows}
    zones: defaultdict[str, list[str]] = defaultdict(list)
    for name, country in countries.items():
        zones[country].insert(0 if name in _MOST_POPULOUS else len(zones[country]), name)
    return countries, {country: tuple(names) for country, names in zones.items()}


def all_time_zones() -> tuple[str, ...]:
    """Return the normalized names of all time zones, sorted."""
    return tuple(sorted({normalize_time_zone(name) for name in all_names()}))


def all_names() -> tuple[str, ...]:
    """Return the names of all time zones, also those that are not normalized."""
    return tuple(_database().names.values())


def normalize_time_zone(name: str) -> str:
    """Return the normalized name of a time zone: Asia/Kolkata for asia/calcutta. Raises `UnknownTimeZone`."""
    database = _database()
    known = database.names.get(name.lower()) if len(name) <= MAX_NAME_LENGTH and name.isascii() else None
    if known is None:
        raise UnknownTimeZone("This is not the name of a time zone, such as Asia/Kolkata or America/New_York.")
    while known not in database.countries and known in database.links:
        known = database.links[known]
    return known


def country_of_time_zone(name: str) -> str | None:
    """Return the ISO 3166 code of the country of a time zone; None for one such as Etc/UTC.

    Raises `UnknownTimeZone`.
    """
    return _database().countries.get(normalize_time_zone(name))


def time_zones_of_country(country: str) -> tuple[str, ...]:
    """Return the normalized time zones of a country (an ISO 3166 code), in the order of `zone.tab`."""
    return _database().zones_by_country.get(country, ())


def place_name(name: str) -> str:
    """Return the place that a normalized time zone is named after: New York, UTC, UTC+5.

    `Etc/GMT-5` is UTC+5: such names have the sign of POSIX.
    """
    place = name.rpartition("/")[2].replace("_", " ")
    if name.startswith("Etc/GMT") and len(place) > len("GMT"):
        return place.replace("GMT", "UTC").translate(str.maketrans("+-", "-+"))
    return place


@lru_cache(maxsize=512)  # more than there are names, and only names of time zones get here
def _zone_info(name: str) -> "ZoneInfo":
    from zoneinfo import ZoneInfo  # noqa: PLC0415

    with (_data_folder() / name).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)


def zone_info(name: str) -> "ZoneInfo":
    """Return the rules of a time zone. Raises `UnknownTimeZone`."""
    return _zone_info(normalize_time_zone(name))


def local_date(moment: datetime, time_zone: str) -> date:
    """Return the date in a time zone at a moment. Raises `UnknownTimeZone`."""
    return moment.astimezone(zone_info(time_zone)).date()


def start_of_local_date(day: date, time_zone: str) -> datetime:
    """Return when a date begins in a time zone, in UTC: if clocks skip its midnight, when they change."""
    return datetime.combine(day, time(), zone_info(time_zone)).astimezone(UTC)


def last_begun_date(moment: datetime) -> date:
    """Return the last date that has begun anywhere at a moment in UTC: the date in UTC+14."""
    return (moment + _EARLIEST_OFFSET).date()


def seconds_until_local_midnight(moment: datetime, time_zone: str) -> int:
    """Return the seconds until the next date begins in a time zone, rounded up: at least 1.

    Raises `UnknownTimeZone`.
    """
    tomorrow = local_date(moment, time_zone) + timedelta(days=1)
    return math.ceil((start_of_local_date(tomorrow, time_zone) - moment).total_seconds())
