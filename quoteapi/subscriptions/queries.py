"""Queries of subscribers."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, cast

from peewee import Expression

from quoteapi.storage import database
from quoteapi.storage.models import ACTIVE, STOPPED, UNSUBSCRIBED, Subscriber

if TYPE_CHECKING:
    from peewee import ModelSelect

STATES = (ACTIVE, UNSUBSCRIBED, STOPPED)
BATCH = 100
OUT_OF_SYNC = Subscriber.unsettled_since.is_null(is_null=False)


def newest_subscribers(state: str | None, limit: int) -> list[Subscriber]:
    """Answer subscribers, in one state if one is named, the newest first."""
    return list(_in_state(state).order_by(Subscriber.id.desc()).limit(limit))


def iterate_subscribers(state: str | None) -> Iterator[Subscriber]:
    """Answer subscribers in the order in which they first came, in constant memory."""
    yield from database.iterate_in_batches(_in_state(state), Subscriber.id)


def count_subscribers(state: str | None) -> int:
    """Answer how many subscribers there are."""
    return _in_state(state).count()


def _in_state(state: str | None) -> "ModelSelect[Subscriber]":
    rows = Subscriber.select()
    return rows if state is None else rows.where(Subscriber.state == state)


def on_another_topic(topic: str) -> Expression:
    """Whether a subscriber is active, but was put on another topic than this one."""
    # Not as "is another", which no index can answer: as two stretches of one.
    before = (Subscriber.state == ACTIVE) & (Subscriber.topic < topic)
    return before | ((Subscriber.state == ACTIVE) & (Subscriber.topic > topic))


def count_out_of_sync() -> int:
    """Answer with how many the topic may not agree."""
    return Subscriber.select().where(OUT_OF_SYNC).count()


def iterate_out_of_sync() -> Iterator[int]:
    """Answer the ids of those with whom the topic may not agree, each once."""
    last = 0
    while True:
        behind = OUT_OF_SYNC & (Subscriber.id > last)
        ids = [row.id for row in Subscriber.select(Subscriber.id).where(behind).order_by(Subscriber.id).limit(BATCH)]
        yield from ids
        if len(ids) < BATCH:
            return
        last = ids[-1]


def is_active(mobile: str) -> bool:
    return Subscriber.select().where((Subscriber.mobile == mobile) & (Subscriber.state == ACTIVE)).exists()


def holds_lease(row: Subscriber) -> Expression:
    return cast("Expression", (Subscriber.id == row.id) & (Subscriber.settling_since == row.settling_since))


def first_id(rows: Iterable[Subscriber]) -> int | None:
    return next((row.id for row in rows), None)
