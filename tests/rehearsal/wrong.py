"""What a rehearsal says where something is not as it should be."""

from collections.abc import Container, Sized


class Wrong(Exception):
    """Something is not as it should be; the message says what was found and what should be there."""


def same(what: str, found: object, wanted: object) -> None:
    """Raise `Wrong` unless what was found is what was wanted."""
    if found != wanted:
        raise Wrong(f"{what}: found {_short(found)}, wanted {_short(wanted)}")


def holds(what: str, found: Container[str] | str, *wanted: str) -> None:
    """Raise `Wrong` unless all that was wanted is in what was found."""
    if missing := [part for part in wanted if part not in found]:
        raise Wrong(f"{what}: {missing} is not in {_short(found)}")


def lacks(what: str, found: Container[str] | str, *unwanted: str) -> None:
    """Raise `Wrong` if anything unwanted is in what was found."""
    if there := [part for part in unwanted if part in found]:
        raise Wrong(f"{what}: {there} is in {_short(found)}")


def count(what: str, found: Sized, wanted: int) -> None:
    """Raise `Wrong` unless there are as many as wanted."""
    if len(found) != wanted:
        raise Wrong(f"{what}: found {len(found)}, wanted {wanted}: {_short(found)}")


def _short(value: object) -> str:
    shown = value if isinstance(value, str) else repr(value)
    return shown if len(shown) <= 1_500 else f"{shown[:700]} … {shown[-700:]}"
