"""The checks of a rehearsal, whose messages name what was found and what was expected."""

from collections.abc import Container, Sized


class CheckFailed(Exception):
    """A check that failed; the message says what was found and what was expected."""


def check_equal(what: str, found: object, expected: object) -> None:
    """Raise `CheckFailed` unless both values are equal."""
    if found != expected:
        raise CheckFailed(f"{what}: found {_shorten(found)}, expected {_shorten(expected)}")


def check_contains(what: str, found: Container[str] | str, *expected: str) -> None:
    """Raise `CheckFailed` unless all expected strings are in the found value."""
    if missing := [part for part in expected if part not in found]:
        raise CheckFailed(f"{what}: {missing} is not in {_shorten(found)}")


def check_excludes(what: str, found: Container[str] | str, *unwanted: str) -> None:
    """Raise `CheckFailed` if any unwanted string is in the found value."""
    if present := [part for part in unwanted if part in found]:
        raise CheckFailed(f"{what}: {present} is in {_shorten(found)}")


def check_count(what: str, found: Sized, expected: int) -> None:
    """Raise `CheckFailed` unless the found collection has the expected size."""
    if len(found) != expected:
        raise CheckFailed(f"{what}: found {len(found)}, expected {expected}: {_shorten(found)}")


def _shorten(value: object) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 1_500 else f"{text[:700]} … {text[-700:]}"
