"""A recorder of requests to DynamoDB."""

from collections.abc import Iterator
from contextlib import contextmanager

from quoteapi.storage.dynamodb import Table


@contextmanager
def record_requests(table: Table) -> Iterator[list[str]]:
    """Record the operations of a table's client inside the block, such as `GetItem`, in order."""
    operations: list[str] = []

    def record(event_name: str, **_: object) -> None:
        operations.append(event_name.rpartition(".")[2])

    table.client.meta.events.register_first("before-send.dynamodb", record)
    try:
        yield operations
    finally:
        table.client.meta.events.unregister("before-send.dynamodb", record)
