"""A DynamoDB table: conditional writes of single items, transactions, and the errors of AWS as our own.

In expressions, `#name` is an attribute and `:name` a value; both are passed to AWS as placeholders, since many names
are reserved words. Datetimes are stored as Unix times in microseconds, dates as text in ISO format, and None as no
attribute.
"""

import random
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from itertools import chain, islice
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from quoteapi.storage.state import StateUnavailable

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

CONNECT_TIMEOUT_SECONDS = 2
READ_TIMEOUT_SECONDS = 3
MAX_ATTEMPTS = 3
MAX_CONFLICTS = 12
"""How often a write is tried that conflicts with transactions of others: enough for 200 confirmations at once."""
BATCH_SIZE = 25
"""How many items one request of `Table.write_batches` writes: the limit of AWS."""
CONFLICT_DELAY_SECONDS = 0.05
"""The longest wait before the second try; it doubles with each further one."""
Item = dict[str, Any]
Key = tuple[str, str]
"""The partition key and the sort key of an item."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class ConditionFailed(Exception):
    """The condition of a write does not hold, so nothing was written. `item` is the stored item, if there is one."""

    def __init__(self, item: Item | None) -> None:
        super().__init__()
        self.item = item


class TransactionFailed(Exception):
    """A condition of a transaction does not hold. `failed` says of each write, in order, whether it was the reason."""

    def __init__(self, failed: list[bool]) -> None:
        super().__init__()
        self.failed = failed


class Table:
    """A table whose items have a partition key `pk` and a sort key `sk`. Methods raise `StateUnavailable`."""

    def __init__(
        self,
        name: str,
        region: str | None,
        *,
        sleep: Callable[[float], None] = time.sleep,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """Create no client before the first use."""
        self.name, self.region = name, region
        self._sleep, self._uniform = sleep, uniform

    @cached_property
    def client(self) -> "DynamoDBClient":
        """The boto3 client."""
        import boto3  # noqa: PLC0415 large, and requests for quotes do not need it
        from botocore.config import Config  # noqa: PLC0415

        retries: Any = {"total_max_attempts": MAX_ATTEMPTS, "mode": "standard"}
        config = Config(connect_timeout=CONNECT_TIMEOUT_SECONDS, read_timeout=READ_TIMEOUT_SECONDS, retries=retries)
        with translated_errors(self.name):
            return boto3.client("dynamodb", region_name=self.region, config=config)

    def get(self, key: Key) -> Item | None:
        """Return an item, read consistently; None if there is none."""
        with translated_errors(self.name):
            found = self.client.get_item(TableName=self.name, Key=_key(key), ConsistentRead=True)
        return _decode_item(found.get("Item"))

    def update(self, key: Key, update: str, when: str | None = None, /, **values: object) -> Item:
        """Update or create an item if `when` holds. Return it as it is afterwards. Raises `ConditionFailed`.

        If the response to an update is lost, boto3 sends the update again. With `when`, the item has the random id of
        the update, by which the second request finds that the update was made.
        """
        write_id = token_hex(8)
        if when is not None:
            values["write_id"] = write_id
            update = (
                f"SET #write_id = :write_id{', ' if update.startswith('SET ') else ' '}{update.removeprefix('SET ')}"
            )
            when = f"({when}) AND (attribute_not_exists(#write_id) OR #write_id <> :write_id)"
        parameters = {"UpdateExpression": update, "ReturnValues": "ALL_NEW"}
        try:
            return _decode_item(self._write(self._client_call("update_item"), key, parameters, when, values)) or {}
        except ConditionFailed as failed:
            if failed.item is None or failed.item.get("write_id") != write_id:
                raise
            return failed.item

    def delete(self, key: Key, when: str | None = None, /, **values: object) -> bool:
        """Delete an item if `when` holds. Return whether there was one. Raises `ConditionFailed`."""
        parameters = {"ReturnValues": "ALL_OLD"}
        return self._write(self._client_call("delete_item"), key, parameters, when, values) is not None

    def transact(self, *writes: Item) -> None:
        """Make all writes, from `update_in_transaction`, or none. Raises `TransactionFailed`."""
        items: Any = [{"Update": {"TableName": self.name, **write}} for write in writes]
        for delay in self._delays():
            try:
                with translated_errors(self.name):
                    self.client.transact_write_items(TransactItems=items)
            except _Canceled as canceled:
                if "ConditionalCheckFailed" in canceled.reasons:
                    raise TransactionFailed([r == "ConditionalCheckFailed" for r in canceled.reasons]) from None
                if "TransactionConflict" not in canceled.reasons:
                    codes = ", ".join(sorted({*canceled.reasons} - {"None"}))
                    raise StateUnavailable(f"the DynamoDB table {self.name} refused a transaction: {codes}") from None
            else:
                return
            self._sleep(delay)
        raise StateUnavailable(f"too many conflicting transactions on the DynamoDB table {self.name}")

    def write_batches(self, items: Iterable[Item] = (), deleted: Iterable[Key] = ()) -> None:
        """Put items, and delete those with the keys `deleted`, without conditions, in batches."""
        puts: Iterator[Any] = ({"PutRequest": {"Item": _encode_item(item)}} for item in items)
        deletes: Iterator[Any] = ({"DeleteRequest": {"Key": _key(key)}} for key in deleted)
        writes = chain(puts, deletes)
        while batch := list(islice(writes, BATCH_SIZE)):
            self._write_batch(batch)

    def _write_batch(self, writes: Any) -> None:  # noqa: ANN401
        for delay in self._delays():
            with translated_errors(self.name):
                result = self.client.batch_write_item(RequestItems={self.name: writes})
            writes = result["UnprocessedItems"].get(self.name)
            if not writes:
                return
            self._sleep(delay)
        raise StateUnavailable(f"the DynamoDB table {self.name} has no capacity for so many writes now")

    def query(self, *, index: str | None = None, count: bool = False, **conditions: Any) -> Iterator[Any]:  # noqa: ANN401
        """Yield the items of a query or, with `count`, the number in each page.

        `conditions`: `when`, the key condition; `only`, a filter; `descending`; `limit`; and the values of both.
        """
        when, only = conditions.pop("when"), conditions.pop("only", None)
        descending, limit = conditions.pop("descending", False), conditions.pop("limit", None)
        parameters: Item = {"TableName": self.name, "KeyConditionExpression": when, "ScanIndexForward": not descending}
        parameters |= {"IndexName": index} if index else {"ConsistentRead": True}
        parameters |= {"FilterExpression": only} if only else {}
        parameters |= {"Limit": limit} if limit else {}
        parameters |= {"Select": "COUNT"} if count else {}
        parameters |= _placeholders(conditions, when, only)
        yield from self._pages(self._client_call("query"), parameters, count=count)

    def scan(self, only: str, *, count: bool = False, **values: object) -> Iterator[Any]:
        """Yield all items that match a filter or, with `count`, the number in each page. It reads the whole table."""
        parameters: Item = {"TableName": self.name, "FilterExpression": only, "ConsistentRead": True}
        parameters |= {"Select": "COUNT"} if count else {}
        yield from self._pages(self._client_call("scan"), parameters | _placeholders(values, only), count=count)

    def _client_call(self, operation: str) -> Callable[..., Any]:
        call: Callable[..., Any] = getattr(self.client, operation)
        return call

    def _pages(self, call: Callable[..., Any], parameters: Item, *, count: bool) -> Iterator[Any]:
        while True:
            with translated_errors(self.name):
                page = call(**parameters)
            yield from [page["Count"]] if count else map(_decode_item, page["Items"])
            if "LastEvaluatedKey" not in page or ("Limit" in parameters and page["Items"]):
                return
            parameters["ExclusiveStartKey"] = page["LastEvaluatedKey"]

    def _write(
        self, call: Callable[..., Any], key: Key, parameters: Item, when: str | None, values: Mapping[str, object]
    ) -> Any:  # noqa: ANN401
        """Write an item, again if that conflicts with a transaction. Return the attributes that AWS returns, if any."""
        parameters = {"TableName": self.name, "Key": _key(key), **parameters}
        if when is not None:
            parameters |= {"ConditionExpression": when, "ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
        parameters |= _placeholders(values, parameters.get("UpdateExpression"), when)
        for delay in self._delays():
            try:
                with translated_errors(self.name):
                    return call(**parameters).get("Attributes")
            except _Conflict:
                self._sleep(delay)
        raise StateUnavailable(f"too many conflicting transactions on the DynamoDB table {self.name}")

    def _delays(self) -> Iterator[float]:
        """Yield the seconds to wait after each try that conflicts with a transaction ("full jitter")."""
        for tries in range(MAX_CONFLICTS):
            yield self._uniform(0, CONFLICT_DELAY_SECONDS * 2 ** min(tries, 5))


class _Canceled(Exception):
    def __init__(self, reasons: list[str]) -> None:
        super().__init__()
        self.reasons = reasons


class _Conflict(Exception):
    pass


@contextmanager
def translated_errors(table: str) -> Iterator[None]:
    """Raise the errors of boto3 as our own, without their texts, which may have a phone number."""
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 boto3 is large

    try:
        yield
    except ClientError as error:
        raise _translate(error, table) from None
    except BotoCoreError as error:  # timeouts, connections, credentials
        raise StateUnavailable(f"the DynamoDB table {table} cannot be reached: {type(error).__name__}") from None


def _translate(error: Any, table: str) -> Exception:  # noqa: ANN401 botocore's class is imported late
    code = error.response.get("Error", {}).get("Code", "")
    if code == "ConditionalCheckFailedException":
        return ConditionFailed(_decode_item(error.response.get("Item")))
    if code == "TransactionCanceledException":
        return _Canceled([reason.get("Code", "") for reason in error.response.get("CancellationReasons", [])])
    if code == "TransactionConflictException":
        return _Conflict()
    if code == "ResourceNotFoundException":
        return StateUnavailable(f"there is no DynamoDB table {table}; `quoteapi db migrate` creates it")
    return StateUnavailable(f"the DynamoDB table {table} refused a request: {code}")


def update_in_transaction(key: Key, update: str, when: str, /, **values: object) -> Item:
    """Return an update of one item, with its condition, for `Table.transact`."""
    return {
        "Key": _key(key),
        "UpdateExpression": update,
        "ConditionExpression": when,
        **_placeholders(values, update, when),
    }


def assign(**values: object) -> str:
    """Return an update expression that sets each name to the value of that name, and removes those that are None."""
    assigned = ", ".join(f"#{name} = :{name}" for name, value in values.items() if value is not None)
    removed = ", ".join(f"#{name}" for name, value in values.items() if value is None)
    return " ".join(filter(None, (assigned and f"SET {assigned}", removed and f"REMOVE {removed}")))


def _placeholders(values: Mapping[str, object], *expressions: str | None) -> Item:
    """Return the names and values that expressions refer to; AWS refuses others."""
    text = " ".join(filter(None, expressions))
    names = {f"#{name}": name for name in re.findall(r"#(\w+)", text)}
    used = {f":{name}": encode(values[name]) for name in re.findall(r":(\w+)", text)}
    return {"ExpressionAttributeNames": names} | ({"ExpressionAttributeValues": used} if used else {})


def _key(key: Key) -> Item:
    return {"pk": {"S": key[0]}, "sk": {"S": key[1]}}


def encode(value: object) -> dict[str, str]:
    """Return a value in the form of AWS."""
    if isinstance(value, datetime):
        return {"N": str((value - _EPOCH) // _MICROSECOND)}
    return {"N": str(value)} if isinstance(value, int) else {"S": str(value)}


def _encode_item(item: Item) -> Item:
    return {name: encode(value) for name, value in item.items() if value is not None}


def _decode_item(item: Mapping[str, Any] | None) -> Item | None:
    return None if item is None else {name: _decode(name, value) for name, value in item.items()}


def _decode(name: str, value: Mapping[str, str]) -> object:
    """Return a value of AWS. By their names, some attributes are dates, and some are datetimes."""
    if "S" in value:
        is_date = name == "date" or name.endswith("_date")
        return date.fromisoformat(value["S"]) if is_date else value["S"]
    number = int(value["N"])
    return _EPOCH + number * _MICROSECOND if name.endswith(("_at", "_until")) else number
