"""The names of the topics of the daily SMS. Each time zone has one: one call publishes a morning."""

from functools import cached_property

from quoteapi.time_zones import all_names, normalize_time_zone


class TimeZoneTopics:
    """Names topics by time zone: the base name for the default time zone, a suffix for each other one."""

    def __init__(self, base: str, default_time_zone: str) -> None:
        self.base = base
        """The name of the topic of the default time zone."""
        self._default = default_time_zone

    def name(self, time_zone: str) -> str:
        """Return the name of the topic of a time zone, for example DailyQuoteSubscription-Asia-Kolkata."""
        return self.base if time_zone == self._default else f"{self.base}-{_suffix(time_zone)}"

    def time_zone(self, name: str) -> str | None:
        """Return the time zone of the topic with a name; None if its base name is another."""
        if name == self.base:
            return self._default
        is_own = name.startswith(f"{self.base}-")
        return self._time_zones.get(name.removeprefix(f"{self.base}-")) if is_own else None

    @cached_property
    def _time_zones(self) -> dict[str, str]:
        # Also by names that are not normalized: topics keep their names when the database renames a time zone.
        return {_suffix(name): normalize_time_zone(name) for name in all_names()}


def _suffix(time_zone: str) -> str:
    """Return a time zone's name with the characters that SNS allows: Asia-Kolkata, Etc-GMT_5 for Etc/GMT+5."""
    return time_zone.replace("/", "-").replace("+", "_")
