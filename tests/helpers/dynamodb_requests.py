"""Records requests to DynamoDB, and loses answers to them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.exceptions import ReadTimeoutError
from botocore.httpsession import URLLib3Session

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


@contextmanager
def lose_answers(table: Table) -> Iterator[list[str]]:
    """Lose the first answer to each write inside the block, which boto3 then makes again. Record these operations.

    As AWS does, and moto does not, answer a transaction with a known `ClientRequestToken` without making it again.
    """
    operations: list[str] = []
    transactions: dict[str, AWSResponse] = {}

    def lose(event_name: str, request: AWSPreparedRequest, **_: object) -> AWSResponse | None:
        operation = event_name.rpartition(".")[2]
        token = json.loads(cast("bytes", request.body)).get("ClientRequestToken", "")
        if not cast("bytes", request.headers["amz-sdk-request"]).startswith(b"attempt=1;"):
            return transactions.get(token)
        if operation in {"GetItem", "Query", "Scan"}:
            return None
        operations.append(operation)
        response = URLLib3Session().send(request)
        if token:
            transactions[token] = response
        raise ReadTimeoutError(endpoint_url="")

    register: Any = table.client.meta.events.register_last
    register("before-send.dynamodb", lose)
    try:
        yield operations
    finally:
        table.client.meta.events.unregister("before-send.dynamodb", cast("Any", lose))
