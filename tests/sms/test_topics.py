import re

from quoteapi.sms.topics import TimeZoneTopics
from quoteapi.time_zones import all_names, all_time_zones
from tests.helpers.data import KOLKATA, UTC_ZONE

TOPICS = TimeZoneTopics("us-east-1:DailyQuoteSubscription", UTC_ZONE)


def test_the_default_time_zone_has_the_topic_without_a_suffix() -> None:
    assert TOPICS.name(UTC_ZONE) == "us-east-1:DailyQuoteSubscription"
    assert TOPICS.name(KOLKATA) == "us-east-1:DailyQuoteSubscription-Asia-Kolkata"


def test_the_topic_of_every_time_zone_has_a_name_that_sns_allows_and_names_it() -> None:
    for time_zone in all_time_zones():
        name = TOPICS.name(time_zone)
        assert re.fullmatch("us-east-1:[A-Za-z0-9_-]{1,256}", name)
        assert TOPICS.time_zone(name) == time_zone
    assert TOPICS.name("Etc/GMT+5") != TOPICS.name("Etc/GMT-5")


def test_a_topic_of_other_settings_has_no_time_zone() -> None:
    for name in ("console", "eu-west-1:DailyQuoteSubscription", f"{TOPICS.base}-quoteapi-prod", f"{TOPICS.base}2"):
        assert TOPICS.time_zone(name) is None


def test_the_topic_of_a_time_zone_that_was_renamed_keeps_it() -> None:
    stored_before_2022 = TOPICS.name("Europe/Kiev")
    assert TOPICS.time_zone(stored_before_2022) == "Europe/Kyiv"
    assert len({TOPICS.name(name) for name in all_names()}) == len(all_names())
