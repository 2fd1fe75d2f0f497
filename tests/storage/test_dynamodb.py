"""The low level of DynamoDB: errors, retries, expressions and values. Responses are what AWS documents."""

import heapq
import json
import random
import re
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, cast

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.exceptions import ConnectTimeoutError, ReadTimeoutError

from quoteapi.storage import dynamodb
from quoteapi.storage.dynamodb import (
    CONFLICT_DELAY_SECONDS,
    CONNECT_TIMEOUT_SECONDS,
    MAX_ATTEMPTS,
    MAX_CONFLICTS,
    READ_TIMEOUT_SECONDS,
    ConditionFailed,
    Table,
    TransactionFailed,
    assign,
    update_in_transaction,
)
from quoteapi.storage.state import StateUnavailable
from tests.helpers.dynamodb_server import RawBody

if TYPE_CHECKING:
    from botocore.compat import HTTPHeaders

KEY = ("number#4f3c2b1a", "subscriber")
SECRET = "+919028000001 and number#4f3c2b1a are at fault"  # noqa: S105 what no error of ours may have
WRITE = update_in_transaction(KEY, "SET #a = :a", "attribute_exists(#pk)", a=1)
Response = tuple[int, dict[str, Any]] | Exception
CALLS: dict[str, Callable[[Table], object]] = {
    "get": lambda table: table.get(KEY),
    "update": lambda table: table.update(KEY, "SET #a = :a", a=1),
    "delete": lambda table: table.delete(KEY),
    "transact": lambda table: table.transact(WRITE),
    "query": lambda table: list(table.query(when="#pk = :pk", pk="a")),
    "scan": lambda table: list(table.scan("#pk = :pk", pk="a")),
}
every_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


class Aws:
    """Stands in for AWS: returns the given responses, the last one again and again, and records requests and waits."""

    def __init__(self) -> None:
        self.responses: list[Response] = []
        self.requests: list[dict[str, Any]] = []
        self.waits: list[float] = []
        self.table = Table("states", "us-east-1", sleep=self.waits.append, uniform=lambda _, longest: longest)

    def respond(self, request: AWSPreparedRequest, **_: object) -> AWSResponse:
        """Handle a request of boto3."""
        self.requests.append(json.loads(cast("bytes", request.body)))
        response = self.responses[min(len(self.requests), len(self.responses)) - 1]
        if isinstance(response, Exception):
            raise response
        status, body = response
        json_type = cast("HTTPHeaders", {"Content-Type": "application/x-amz-json-1.0"})
        return AWSResponse(request.url, status, json_type, RawBody(json.dumps(body).encode()))


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Aws:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)
    aws = Aws()
    respond: Any = aws.respond
    aws.table.client.meta.events.register("before-send.dynamodb", respond)
    return aws


def error(code: str, status: int = 400, **more: object) -> Response:
    return status, {"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": SECRET, **more}


def canceled(*codes: str) -> Response:
    reasons = [{"Code": code, "Message": SECRET, "Item": {"mobile": {"S": SECRET}}} for code in codes]
    return error("TransactionCanceledException", CancellationReasons=reasons)


@every_call
@pytest.mark.parametrize(
    ("response", "attempts"),
    [
        (error("ThrottlingException"), MAX_ATTEMPTS),
        (error("ProvisionedThroughputExceededException"), MAX_ATTEMPTS),
        (error("RequestLimitExceeded"), MAX_ATTEMPTS),
        (error("InternalServerError", 500), MAX_ATTEMPTS),
        (error("ServiceUnavailable", 503), MAX_ATTEMPTS),
        (error("AccessDeniedException"), 1),
        (error("UnrecognizedClientException"), 1),
        (error("ExpiredTokenException"), 1),
        (error("ValidationException"), 1),
        (ReadTimeoutError(endpoint_url=SECRET), MAX_ATTEMPTS),
        (ConnectTimeoutError(endpoint_url=SECRET), MAX_ATTEMPTS),
    ],
)
def test_a_refused_request_is_tried_a_few_times_and_its_error_shows_no_personal_data(
    aws: Aws, call: Callable[[Table], object], response: Response, attempts: int
) -> None:
    aws.responses = [response]
    with pytest.raises(StateUnavailable) as raised:
        call(aws.table)
    assert len(aws.requests) == attempts
    assert "DynamoDB table states" in str(raised.value)
    assert not any(part in repr(raised.value) for part in ("9028", "number#", "4f3c"))
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__


@every_call
def test_a_request_that_succeeds_after_an_error_is_no_error(aws: Aws, call: Callable[[Table], object]) -> None:
    empty: dict[str, Any] = {"Items": [], "Count": 0}
    aws.responses = [error("ThrottlingException"), error("InternalServerError", 500), (200, empty)]
    call(aws.table)
    assert len(aws.requests) == 3


def test_an_error_names_the_code_of_aws(aws: Aws) -> None:
    aws.responses = [error("AccessDeniedException")]
    with pytest.raises(StateUnavailable, match="the DynamoDB table states refused a request: AccessDeniedException"):
        aws.table.get(KEY)


@every_call
def test_a_missing_table_is_named_with_the_command_that_creates_it(aws: Aws, call: Callable[[Table], object]) -> None:
    aws.responses = [error("ResourceNotFoundException")]
    with pytest.raises(StateUnavailable, match="there is no DynamoDB table states; `quoteapi db migrate` creates it"):
        call(aws.table)


def test_a_refused_connection_is_unavailability(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", f"http://127.0.0.1:{port}")
    with pytest.raises(StateUnavailable, match="cannot be reached: EndpointConnectionError"):
        Table("states", "us-east-1").get(KEY)


def test_missing_credentials_and_region_are_unavailability(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)  # it may have credentials of another test
    with pytest.raises(StateUnavailable, match="cannot be reached: NoCredentialsError"):
        Table("states", "us-east-1").get(KEY)
    with pytest.raises(StateUnavailable, match="cannot be reached: NoRegionError"):
        Table("states", None).get(KEY)


def test_a_client_waits_for_seconds_and_makes_a_few_attempts(aws: Aws) -> None:
    config = cast("Any", aws.table.client.meta.config)
    assert (config.connect_timeout, config.read_timeout) == (CONNECT_TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS)
    assert config.retries["total_max_attempts"] == MAX_ATTEMPTS
    assert MAX_ATTEMPTS * (CONNECT_TIMEOUT_SECONDS + READ_TIMEOUT_SECONDS) < 30, "API Gateway waits for 29 seconds"


def test_a_condition_that_does_not_hold_comes_with_the_item(aws: Aws) -> None:
    item = {"pk": {"S": "a"}, "tries_left": {"N": "2"}, "claimed_at": {"N": "1"}}
    aws.responses = [error("ConditionalCheckFailedException", Item=item)]
    with pytest.raises(ConditionFailed) as raised:
        aws.table.update(KEY, "SET #a = :a", "#tries_left > :a", a=3)
    assert raised.value.item == {
        "pk": "a",
        "tries_left": 2,
        "claimed_at": datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=UTC),
    }
    assert str(raised.value) == ""
    aws.responses = [error("ConditionalCheckFailedException")]
    with pytest.raises(ConditionFailed) as raised:
        aws.table.delete(KEY, "#tries_left > :a", a=3)
    assert raised.value.item is None
    assert len(aws.requests) == 2, "it is not tried again"


@pytest.mark.parametrize("conflicts", [1, MAX_CONFLICTS - 1])
@pytest.mark.parametrize("name", ["update", "delete", "transact"])
def test_a_write_that_conflicts_with_a_transaction_is_made_again(aws: Aws, name: str, conflicts: int) -> None:
    conflict = canceled("None", "TransactionConflict") if name == "transact" else error("TransactionConflictException")
    aws.responses = [*[conflict] * conflicts, (200, {})]
    CALLS[name](aws.table)
    assert len(aws.requests) == conflicts + 1
    assert aws.waits == [CONFLICT_DELAY_SECONDS * 2 ** min(n, 5) for n in range(conflicts)]


@pytest.mark.parametrize("name", ["update", "delete", "transact"])
def test_a_write_that_always_conflicts_is_given_up(aws: Aws, name: str) -> None:
    aws.responses = [canceled("TransactionConflict") if name == "transact" else error("TransactionConflictException")]
    with pytest.raises(StateUnavailable, match="too many conflicting transactions on the DynamoDB table states"):
        CALLS[name](aws.table)
    assert len(aws.requests) == MAX_CONFLICTS
    assert sum(aws.waits) < 15, "API Gateway waits for 29 seconds"


def test_two_hundred_transactions_that_begin_at_once_and_write_one_item_succeed() -> None:
    """In a model of AWS: a transaction takes 15 ms, and one that begins meanwhile is refused after 10 ms."""
    table = Table("states", "us-east-1", uniform=random.Random(17).uniform)
    beginning = [(0.0, number, table._delays()) for number in range(200)]
    free_at = 0.0
    while beginning:
        now, number, delays = heapq.heappop(beginning)
        if now >= free_at:
            free_at = now + 0.015
        else:  # `next` fails if the transaction was given up
            heapq.heappush(beginning, (now + 0.01 + next(delays), number, delays))
    assert free_at < 15, "API Gateway waits for 29 seconds"


def test_a_transaction_that_is_made_again_is_another_one(aws: Aws) -> None:
    aws.responses = [canceled("TransactionConflict"), error("InternalServerError", 500), (200, {})]
    aws.table.transact(WRITE)
    tokens = [request["ClientRequestToken"] for request in aws.requests]
    assert tokens[0] != tokens[1] == tokens[2], "AWS makes a transaction once, however often its request is sent"


@pytest.mark.parametrize(
    ("codes", "failed"),
    [
        (["ConditionalCheckFailed", "None", "None"], [True, False, False]),
        (["None", "ConditionalCheckFailed", "ConditionalCheckFailed"], [False, True, True]),
        (["TransactionConflict", "None", "ConditionalCheckFailed"], [False, False, True]),
    ],
)
def test_a_failed_transaction_says_which_conditions_do_not_hold(aws: Aws, codes: list[str], failed: list[bool]) -> None:
    aws.responses = [canceled(*codes)]
    with pytest.raises(TransactionFailed) as raised:
        aws.table.transact(WRITE, WRITE, WRITE)
    assert raised.value.failed == failed
    assert str(raised.value) == ""
    assert len(aws.requests) == 1


@pytest.mark.parametrize("code", ["ThrottlingError", "ProvisionedThroughputExceeded", "ValidationError"])
def test_a_transaction_that_is_refused_for_another_reason_is_unavailability(aws: Aws, code: str) -> None:
    aws.responses = [canceled("None", code)]
    with pytest.raises(StateUnavailable, match=f"the DynamoDB table states refused a transaction: {code}"):
        aws.table.transact(WRITE, WRITE)
    assert len(aws.requests) == 1


def test_an_item_is_read_consistently(aws: Aws) -> None:
    aws.responses = [(200, {"Item": {"pk": {"S": "a"}}}), (200, {})]
    assert aws.table.get(KEY) == {"pk": "a"}
    assert aws.table.get(KEY) is None
    key = {"pk": {"S": KEY[0]}, "sk": {"S": KEY[1]}}
    assert aws.requests[0] == {"TableName": "states", "Key": key, "ConsistentRead": True}


def test_a_delete_says_whether_there_was_an_item(aws: Aws) -> None:
    aws.responses = [(200, {"Attributes": {"pk": {"S": "a"}}}), (200, {})]
    assert [aws.table.delete(KEY), aws.table.delete(KEY)] == [True, False]


def test_a_write_sends_only_the_placeholders_that_its_expressions_have(aws: Aws) -> None:
    aws.responses = [(200, {"Attributes": {"a": {"N": "1"}}})]
    updated = aws.table.update(KEY, "SET #a = :a REMOVE #b", "#c < :limit", a=1, b=None, limit=2, unused="x")
    assert updated == {"a": 1}
    write_id = aws.requests[0]["ExpressionAttributeValues"].pop(":write_id")["S"]
    assert re.fullmatch("[0-9a-f]{16}", write_id)
    assert aws.requests[0] == {
        "TableName": "states",
        "Key": {"pk": {"S": KEY[0]}, "sk": {"S": KEY[1]}},
        "UpdateExpression": "SET #write_id = :write_id, #a = :a REMOVE #b",
        "ConditionExpression": "(#c < :limit) AND (attribute_not_exists(#write_id) OR #write_id <> :write_id)",
        "ExpressionAttributeNames": {"#a": "a", "#b": "b", "#c": "c", "#write_id": "write_id"},
        "ExpressionAttributeValues": {":a": {"N": "1"}, ":limit": {"N": "2"}},
        "ReturnValues": "ALL_NEW",
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }


def test_a_write_without_values_sends_none(aws: Aws) -> None:
    aws.responses = [(200, {})]
    aws.table.update(KEY, "REMOVE #b")
    assert "ExpressionAttributeValues" not in aws.requests[0]
    assert "ReturnValuesOnConditionCheckFailure" not in aws.requests[0]


def pages(*items: list[str]) -> list[Response]:
    """Return pages with the given partition keys; each but the last one has a key to go on from."""
    bodies: list[dict[str, Any]] = [{"Items": [{"pk": {"S": pk}} for pk in page], "Count": len(page)} for page in items]
    for number, body in enumerate(bodies[:-1]):
        body["LastEvaluatedKey"] = {"pk": {"S": f"page {number}"}}
    return [(200, body) for body in bodies]


@pytest.mark.parametrize("name", ["query", "scan"])
def test_all_pages_are_read_and_empty_ones_too(aws: Aws, name: str) -> None:
    aws.responses = pages(["a", "b"], [], ["c"])
    assert CALLS[name](aws.table) == [{"pk": "a"}, {"pk": "b"}, {"pk": "c"}]
    starts = [request.get("ExclusiveStartKey") for request in aws.requests]
    assert starts == [None, {"pk": {"S": "page 0"}}, {"pk": {"S": "page 1"}}]


def test_pages_are_counted_without_their_items(aws: Aws) -> None:
    aws.responses = pages(["a", "b"], ["c"]) * 2
    assert list(aws.table.query(when="#pk = :pk", count=True, pk="a")) == [2, 1]
    assert list(aws.table.scan("#pk = :pk", count=True, pk="a")) == [2, 1]
    assert {request["Select"] for request in aws.requests} == {"COUNT"}


def test_a_query_with_a_limit_ends_with_the_first_page_that_has_items(aws: Aws) -> None:
    aws.responses = pages([], ["a"], ["b"])
    found = list(aws.table.query(index="topic", when="#a = :a", only="#b < :b", limit=1, descending=True, a=1, b=2))
    assert found == [{"pk": "a"}]
    assert aws.requests[0] == {
        "TableName": "states",
        "IndexName": "topic",
        "KeyConditionExpression": "#a = :a",
        "FilterExpression": "#b < :b",
        "ExpressionAttributeNames": {"#a": "a", "#b": "b"},
        "ExpressionAttributeValues": {":a": {"N": "1"}, ":b": {"N": "2"}},
        "Limit": 1,
        "ScanIndexForward": False,
    }


def test_a_query_of_the_table_is_consistent_and_ascending(aws: Aws) -> None:
    aws.responses = pages([])
    assert CALLS["query"](aws.table) == []
    assert aws.requests[0]["ConsistentRead"]
    assert aws.requests[0]["ScanIndexForward"]


def test_a_page_that_fails_ends_a_list_with_an_error(aws: Aws) -> None:
    aws.responses = [*pages(["a"], ["b"])[:1], error("AccessDeniedException")]
    items = aws.table.scan("#pk = :pk", pk="a")
    assert next(items) == {"pk": "a"}
    with pytest.raises(StateUnavailable):
        next(items)


def test_no_client_is_created_before_its_first_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("boto3.client", pytest.fail)
    Table("states", "us-east-1")


@pytest.mark.parametrize(
    ("values", "expression"),
    [
        ({"a": 1, "b": "x"}, "SET #a = :a, #b = :b"),
        ({"a": None, "b": None}, "REMOVE #a, #b"),
        ({"a": 0, "b": None, "c": ""}, "SET #a = :a, #c = :c REMOVE #b"),
    ],
)
def test_an_assignment_sets_values_and_removes_none(values: dict[str, object], expression: str) -> None:
    assert assign(**values) == expression


@pytest.mark.parametrize(
    "time",
    [
        datetime(2026, 11, 22, 12, 0, 0, 123_456, tzinfo=UTC),
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(2999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    ],
)
def test_a_time_is_stored_to_the_microsecond(time: datetime) -> None:
    elsewhere = time.astimezone(timezone(timedelta(hours=-9, minutes=-30)))
    for encoded in dynamodb.encode(time), dynamodb.encode(elsewhere):
        assert dynamodb._decode_item({"claimed_at": encoded, "sync_due_at": encoded}) == {
            "claimed_at": time,
            "sync_due_at": time,
        }


def test_texts_and_numbers_are_stored_as_they_are() -> None:
    values: dict[str, object] = {"a": "", "b": "é “काल”", "count": 10**15, "ttl": -1}
    assert dynamodb._decode_item({name: dynamodb.encode(value) for name, value in values.items()}) == values
    assert dynamodb._decode_item(None) is None


def test_times_are_ordered_as_numbers() -> None:
    times = [datetime(2026, 11, 22, tzinfo=UTC) + timedelta(microseconds=n) for n in (-1, 0, 1)]
    numbers = [int(dynamodb.encode(time)["N"]) for time in times]
    assert numbers == sorted(set(numbers))


def test_errors_that_are_not_of_aws_pass() -> None:
    with pytest.raises(KeyError), dynamodb.translated_errors("states"):
        raise KeyError
