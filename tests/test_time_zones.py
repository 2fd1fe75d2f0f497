import subprocess
import sys
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
import tzdata
from hypothesis import example, given, settings
from hypothesis import strategies as st

from quoteapi import time_zones
from quoteapi.time_zones import (
    UnknownTimeZone,
    all_time_zones,
    country_of_time_zone,
    last_begun_date,
    local_date,
    normalize_time_zone,
    place_name,
    seconds_until_local_midnight,
    time_zones_of_country,
    zone_info,
)
from tests.helpers.data import NOON

DATA = Path(tzdata.__file__).with_name("zoneinfo")
MERGED_IN_ZONE1970 = {"AQ", "AU", "CA", "CD", "DE", "FM", "MH", "MY", "RU", "TF", "UM", "VN"}
"""Countries whose zones `zone1970.tab` names after those of other countries, or in another order for that reason."""


@pytest.mark.parametrize(
    ("name", "normalized"),
    [
        ("Asia/Kolkata", "Asia/Kolkata"),
        ("Asia/Calcutta", "Asia/Kolkata"),
        ("asia/CALCUTTA", "Asia/Kolkata"),
        ("US/Eastern", "America/New_York"),
        ("EST5EDT", "America/New_York"),
        ("Europe/Kiev", "Europe/Kyiv"),
        ("America/Buenos_Aires", "America/Argentina/Buenos_Aires"),
        ("Europe/Oslo", "Europe/Oslo"),
        ("Europe/Jersey", "Europe/Jersey"),
        ("Africa/Asmera", "Africa/Asmara"),
        ("Pacific/Truk", "Pacific/Chuuk"),
        ("Iceland", "Atlantic/Reykjavik"),
        ("UTC", "Etc/UTC"),
        ("Zulu", "Etc/UTC"),
        ("GMT", "Etc/GMT"),
        ("Etc/GMT+5", "Etc/GMT+5"),
    ],
)
def test_a_name_is_normalized_to_that_of_its_country(name: str, normalized: str) -> None:
    assert normalize_time_zone(name) == normalized


def test_every_name_has_the_same_rules_as_its_normalized_name() -> None:
    names = DATA.with_name("zones").read_text().split()
    for name in set(names) - {"Factory"}:
        with (DATA / name).open("rb") as file:
            zone = type(zone_info("UTC")).from_file(file)
        moments = [datetime(year, month, 1, tzinfo=UTC) for year in range(2000, 2040) for month in (1, 7)]
        normalized = zone_info(name)
        assert [moment.astimezone(zone).utcoffset() for moment in moments] == [
            moment.astimezone(normalized).utcoffset() for moment in moments
        ], name


def test_a_normalized_name_stays_and_has_a_country_unless_it_is_an_offset_from_utc() -> None:
    zones = all_time_zones()
    assert len(zones) > 440
    assert [zone for zone in zones if normalize_time_zone(zone) != zone] == []
    assert {zone.partition("/")[0] for zone in zones if country_of_time_zone(zone) is None} == {"Etc"}


@pytest.mark.parametrize(
    "name",
    [
        *("", " ", "Factory", "Mars/Olympus", "Asia", "Asia/", "Asia/Kolkata ", "/Asia/Kolkata", "Asia\\Kolkata"),
        *("../../etc/passwd", "/etc/passwd", "Asia/../Asia/Kolkata", "zone.tab", "tzdata.zi", "__init__.py"),
        *("Asia/Kolkata\0", "\0", "Asia/\N{KELVIN SIGN}olkata", "एशिया/कोलकाता", "\ud800"),
        pytest.param("Asia/Kolkata" * 1_000_000, id="ten megabytes"),
    ],
)
def test_other_text_is_no_time_zone(name: str) -> None:
    for function in (normalize_time_zone, zone_info, country_of_time_zone):
        with pytest.raises(UnknownTimeZone, match="such as Asia/Kolkata"):
            function(name)


def test_names_of_clients_are_not_kept() -> None:
    before = time_zones._zone_info.cache_info().currsize
    for number in range(1_000):
        with pytest.raises(UnknownTimeZone):
            zone_info(f"Asia/Place_{number}")
    for name in ("Asia/Kolkata", "asia/kolkata", "ASIA/KOLKATA", "Asia/Calcutta"):
        zone_info(name)
    assert time_zones._zone_info.cache_info().currsize <= before + 1


def test_the_country_of_a_time_zone() -> None:
    names = ("Asia/Kolkata", "Asia/Calcutta", "Europe/Oslo", "America/Puerto_Rico", "Etc/UTC")
    assert [country_of_time_zone(name) for name in names] == ["IN", "IN", "NO", "PR", None]


def test_the_time_zones_of_a_country_are_in_the_order_of_the_database() -> None:
    assert time_zones_of_country("US")[:2] == ("America/New_York", "America/Detroit")
    assert time_zones_of_country("RU")[:2] == ("Europe/Kaliningrad", "Europe/Moscow")
    assert time_zones_of_country("NO") == ("Europe/Oslo",)
    assert time_zones_of_country("AU")[:2] == ("Australia/Sydney", "Australia/Lord_Howe")
    assert time_zones_of_country("ZZ") == ()


def test_other_countries_have_the_order_of_zone1970_tab_too() -> None:
    """It merges zones across borders, so only countries with several zones of their own can be compared."""
    lines = [line.split("\t") for line in (DATA / "zone1970.tab").read_text().splitlines() if line[0] != "#"]
    countries = {country for codes, *_ in lines for country in codes.split(",")} - MERGED_IN_ZONE1970
    for country in countries:
        of_country = tuple(name for codes, _, name, *_ in lines if country in codes.split(","))
        if len(of_country) > 1:
            assert time_zones_of_country(country) == of_country


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("Asia/Kolkata", "Kolkata"),
        ("America/New_York", "New York"),
        ("America/Argentina/Buenos_Aires", "Buenos Aires"),
        ("America/Port-au-Prince", "Port-au-Prince"),
        ("Etc/UTC", "UTC"),
        ("Etc/GMT", "GMT"),
        ("Etc/GMT+5", "UTC-5"),
        ("Etc/GMT-14", "UTC+14"),
    ],
)
def test_the_place_of_a_time_zone(name: str, place: str) -> None:
    assert place_name(name) == place


def test_an_offset_from_utc_is_the_one_that_its_place_says() -> None:
    offset = NOON.astimezone(zone_info("Etc/GMT+5")).utcoffset()
    assert (place_name("Etc/GMT+5"), offset) == ("UTC-5", timedelta(hours=-5))


def test_the_local_date() -> None:
    evening = datetime(2026, 11, 22, 20, 0, tzinfo=UTC)
    dates = [local_date(evening, zone) for zone in ("America/New_York", "Asia/Kolkata", "Pacific/Auckland")]
    assert dates == [date(2026, 11, 22), date(2026, 11, 23), date(2026, 11, 23)]


def test_no_time_zone_is_ahead_of_the_last_date_that_has_begun() -> None:
    for hour in range(0, 24 * 365, 5):
        moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=hour)
        assert local_date(moment, "Pacific/Kiritimati") == last_begun_date(moment)
    for zone in all_time_zones():
        assert local_date(NOON, zone) <= last_begun_date(NOON)


@given(
    st.datetimes(datetime(2000, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 as it requires
    st.sampled_from(all_time_zones()),
)
@example(datetime(2011, 12, 29, 12, 0, tzinfo=UTC), "Pacific/Apia")  # the next date there was the 31st
@settings(max_examples=300)
def test_the_next_date_begins_at_local_midnight_or_when_clocks_skip_it(moment: datetime, time_zone: str) -> None:
    day, seconds = local_date(moment, time_zone), seconds_until_local_midnight(moment, time_zone)
    assert 1 <= seconds <= 26 * 3_600
    assert local_date(moment + timedelta(seconds=seconds - 1), time_zone) == day
    assert local_date(moment + timedelta(seconds=seconds), time_zone) > day


def test_the_rules_are_not_those_of_the_operating_system(tmp_path: Path) -> None:
    """A machine may have no data, as on Lambda, or old data."""
    (tmp_path / "Asia").mkdir()
    (tmp_path / "Asia/Kolkata").write_bytes((DATA / "Etc/UTC").read_bytes())
    code = "from quoteapi.time_zones import *; print(zone_info('Asia/Kolkata').utcoffset(datetime(2026, 1, 1)))"
    for folder in (tmp_path, tmp_path / "missing"):
        ran = subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONTZPATH": str(folder)}, capture_output=True, text=True, check=True
        )
        assert ran.stdout == "5:30:00\n"


def test_the_data_is_loaded_on_first_use_in_milliseconds() -> None:
    code = "import sys, quoteapi.time_zones; assert not {'tzdata', 'zoneinfo'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    time_zones._database.cache_clear()
    begun = time.thread_time()
    normalize_time_zone("Asia/Calcutta")
    assert time.thread_time() - begun < 0.1, "1.5 ms on a fast machine"
