"""Queries of subscribers."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from peewee import Expression

from quoteapi.storage.database import iterate_in_batches
from quoteapi.storage.models import ACTIVE, OPTED_OUT, UNSUBSCRIBED, Subscriber

if TYPE_CHECKING:
    from peewee import ModelSelect

STATES = (ACTIVE, UNSUBSCRIBED, OPTED_OUT)
OUT_OF_SYNC = Subscriber.sync_needed_since.is_null(is_null=False)


def newest_subscribers(state: str | None, limit: int) -> list[Subscriber]:
    """Return subscribers, newest first; `state` selects those in one state."""
    return list(_in_state(state).order_by(Subscriber.id.desc()).limit(limit))


def iterate_subscribers(state: str | None) -> Iterator[Subscriber]:
    """Return subscribers, oldest first, in constant memory; `state` selects those in one state."""
    return iterate_in_batches(_in_state(state))


def count_subscribers(state: str | None) -> int:
    """Return the number of subscribers; `state` counts those in one state."""
    return _in_state(state).count()


def _in_state(state: str | None) -> "ModelSelect[Subscriber]":
    rows = Subscriber.select()
    return rows if state is None else rows.where(Subscriber.state == state)


def on_another_topic(topic: str) -> Expression:
    """Return the condition for active subscribers on another topic than this one."""
    # `<` and `>`, since `!=` could not use the index.
    active = Subscriber.state == ACTIVE
    return (active & (Subscriber.topic < topic)) | (active & (Subscriber.topic > topic))


def count_out_of_sync() -> int:
    """Return the number of subscribers whose state may differ from the topic."""
    return Subscriber.select().where(OUT_OF_SYNC).count()


def iterate_out_of_sync() -> Iterator[int]:
    """Return the ids of subscribers whose state may differ from the topic, each once."""
    return (row.id for row in iterate_in_batches(Subscriber.select(Subscriber.id).where(OUT_OF_SYNC)))
