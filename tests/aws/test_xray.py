import json
import re
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from moto.server import ThreadedMotoServer

from quoteapi.settings import Settings
from tests.conftest import leaks_personal_data
from tests.helpers import dynamodb_server
from tests.helpers.data import MIRA, SECRET_KEY, sqlite_only
from tests.helpers.processes import python
from tests.helpers.upstream_api import UpstreamApi

TRACE = "1-5f84c7a1-f9b2c3d4e5f60718293a4b5c"
INVOCATION = "53995c3f42cd8ad8"
HEADER = f"Root={TRACE};Parent={INVOCATION};Sampled=1"

Subsegment = dict[str, Any]


class Daemon:
    """The X-Ray daemon of Lambda: receives subsegments by UDP, and never responds."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(0.2)
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"

    def close(self) -> None:
        self._socket.close()

    def received(self) -> list[Subsegment]:
        """Return the subsegments that were received from processes that have ended."""
        documents = []
        try:
            while True:
                header, _, document = self._socket.recv(65_536).decode().partition("\n")
                assert json.loads(header) == {"format": "json", "version": 1}
                documents.append(json.loads(document))
        except TimeoutError:
            return documents


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    with closing(Daemon()) as daemon:
        yield daemon


def lambda_environment(settings: Settings, daemon: str, **more: str) -> dict[str, str]:
    """Return the environment of a traced Lambda function during an invocation."""
    return {
        "AWS_LAMBDA_FUNCTION_NAME": "quoteapi-dev-xray",
        "LAMBDA_TASK_ROOT": "/var/task",
        "AWS_XRAY_DAEMON_ADDRESS": daemon,
        "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
        "_X_AMZN_TRACE_ID": HEADER,
        "XRAY_TRACING": "true",
        "DATABASE_URL": settings.database_url or "",
        "SMS_ALLOWED_REGIONS": "*",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_EC2_METADATA_DISABLED": "true",
        "SECRET_KEY": SECRET_KEY,
        **more,
    }


def run(script: str, *words: str, **settings: str) -> str:
    """Run a script in another process and return its output; assert that only we wrote log lines."""
    done = python("-c", script, *words, **settings)
    assert done.returncode == 0, done.stderr
    for line in done.stderr.splitlines():
        assert re.match(r"[-0-9T:]+Z (INFO|WARNING|ERROR) |  ", line), done.stderr
    return done.stdout


ASK = """
import os
from wsgiref.util import setup_testing_defaults
from quoteapi import app
def ask(path):
    environ, statuses = {"PATH_INFO": path}, []
    setup_testing_defaults(environ)
    b"".join(app.api(environ, lambda status, *_: statuses.append(status)))
    print(statuses[0])
"""

SEND = """
import sys
from quoteapi.aws.job_context import job_context
from quoteapi.sms.gateway import GatewayError
mobile, invalid_mobile = sys.argv[1:]
with job_context() as container:
    container.gateway.send_sms(mobile, "654321 is your code.", "code")
    container.gateway.subscribe(mobile, container.gateway.topics.base)
    container.gateway.publish("Hope and keep busy.", container.gateway.topics.base)
    try:
        container.gateway.send_sms(invalid_mobile, "654321 is your code.", "code")
    except GatewayError as error:
        print(type(error).__name__)
"""

TRANSACTION = """
from quoteapi.storage.models import database
from quoteapi.aws.job_context import job_context
with job_context(), database.atomic() as transaction:
    database.execute_sql("SELECT 654321")
    {end}
"""

FIND_SUBSCRIBER = """
import sys
from quoteapi.aws.job_context import job_context
with job_context() as container:
    container.state.find_subscriber(sys.argv[1])
    container.state.deactivate(sys.argv[1], now=container.clock())
    container.state.claim_confirmation("no subscriber", container.clock())
"""

INCOMPLETE = """
import sys
from peewee import IntegrityError
from quoteapi.storage.models import Subscriber
from quoteapi.aws.job_context import job_context
with job_context():
    try:
        Subscriber.insert(mobile=sys.argv[1]).execute()
    except IntegrityError as error:
        print("refused", sys.argv[1] in str(error))
"""


def assert_redacted(subsegments: list[Subsegment], *secrets: str) -> None:
    """Assert that no subsegment contains personal data, SQL, a message or a secret."""
    for text in texts_of(subsegments):
        assert not leaks_personal_data(text)
        assert not any(secret in text for secret in (*secrets, SECRET_KEY, "is your code", "Hope", "?", "192.0.2"))
        assert not re.search(r"\b(FROM|WHERE|VALUES)\b|=|:/", text)


def texts_of(document: object) -> Iterator[str]:
    if isinstance(document, dict):
        for name, value in document.items():
            if name not in {"id", "parent_id", "trace_id", "request_id", "topic_arn", "working_directory"}:
                yield from texts_of(value)
    elif isinstance(document, list):
        for value in document:
            yield from texts_of(value)
    elif isinstance(document, str):
        yield document


def words(subsegments: list[Subsegment]) -> list[str]:
    return [one["sql"]["sanitized_query"] for one in subsegments if "sql" in one]


@pytest.fixture
def aws(tmp_path: Path) -> Iterator[str]:
    """Serve moto's AWS; return its URL."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.mark.usefixtures("open_database")
def test_a_statement_is_a_subsegment_with_its_first_word_and_the_name_of_the_database(
    settings: Settings, daemon: Daemon
) -> None:
    assert run(f"{ASK}\nask('/random')", **lambda_environment(settings, daemon.address)) == "200 OK\n"
    subsegments = daemon.received()
    assert words(subsegments) == ["CONNECT", "SELECT"]
    for one in subsegments:
        assert (one["trace_id"], one["type"], one["namespace"]) == (TRACE, "subsegment", "remote")
        assert len(one["name"]) > 5
        assert (settings.database_url or "").partition("?")[0].endswith(one["name"])
        assert one["end_time"] >= one["start_time"]
    assert subsegments[-1]["parent_id"] == INVOCATION
    assert_redacted(subsegments)


@pytest.mark.usefixtures("open_database")
@pytest.mark.parametrize(("end", "word"), [("pass", "COMMIT"), ("transaction.rollback()", "ROLLBACK")])
def test_the_begin_and_the_end_of_a_transaction_are_subsegments(
    settings: Settings, daemon: Daemon, end: str, word: str
) -> None:
    run(TRANSACTION.format(end=end), **lambda_environment(settings, daemon.address))
    subsegments = daemon.received()
    assert [word for word in words(subsegments) if word != "CONNECT"][:3] == ["BEGIN", "SELECT", word]
    assert {one["parent_id"] for one in subsegments} == {INVOCATION}
    assert_redacted(subsegments)


@pytest.mark.usefixtures("open_database")
def test_a_failed_statement_is_a_fault_without_the_text_of_the_error(settings: Settings, daemon: Daemon) -> None:
    output = run(INCOMPLETE, MIRA, **lambda_environment(settings, daemon.address))
    assert output == f"refused {settings.database_path is None}\n"  # SQLite's error contains no number
    subsegments = daemon.received()
    failed = [one for one in subsegments if one.get("fault")]
    assert words(failed) == ["INSERT"]
    assert [error["type"] for error in failed[0]["cause"]["exceptions"]] == ["IntegrityError"]
    assert "message" not in failed[0]["cause"]["exceptions"][0]
    assert_redacted(subsegments, MIRA)


@sqlite_only
def test_a_call_of_sns_is_a_subsegment_without_the_number_and_the_message(
    settings: Settings, daemon: Daemon, aws: str
) -> None:
    invalid_mobile = "+91-90280-00001-000001"
    assert (
        run(SEND, MIRA, invalid_mobile, **lambda_environment(settings, daemon.address, AWS_ENDPOINT_URL=aws))
        == "NumberRejected\n"
    )
    subsegments = [one for one in daemon.received() if one["namespace"] == "aws"]
    assert [(one["name"], one["aws"]["operation"], one["http"]["response"]["status"]) for one in subsegments] == [
        ("sns", "Publish", 200),
        ("sns", "CreateTopic", 200),
        ("sns", "Subscribe", 200),
        ("sns", "Publish", 200),
        ("sns", "Publish", 400),
    ]
    assert subsegments[-1]["cause"]["exceptions"][0]["type"] == "InvalidParameterException"
    assert {one["trace_id"] for one in subsegments} == {TRACE}
    assert_redacted(subsegments, MIRA, invalid_mobile)


@pytest.mark.parametrize("database_url", ["dynamodb"], indirect=True)
def test_a_request_to_dynamodb_is_a_subsegment_with_the_name_of_the_table_alone(
    settings: Settings, daemon: Daemon
) -> None:
    assert settings.dynamodb_table is not None
    more = {**dynamodb_server.environment(), "SMS_GATEWAY": "sns"}
    run(FIND_SUBSCRIBER, MIRA, **lambda_environment(settings, daemon.address, **more))
    subsegments = [one for one in daemon.received() if one["namespace"] == "aws"]
    assert [(one["name"], one["aws"]["operation"]) for one in subsegments] == [
        ("dynamodb", "GetItem"),
        ("dynamodb", "GetItem"),
        ("dynamodb", "TransactWriteItems"),
        ("dynamodb", "UpdateItem"),
    ]
    assert {one["aws"].get("table_name") for one in subsegments} <= {settings.dynamodb_table.name, None}
    assert subsegments[-1]["cause"]["exceptions"][0]["type"] == "ConditionalCheckFailedException"
    assert_redacted(subsegments, MIRA)


@sqlite_only
@pytest.mark.parametrize("is_available", [True, False])
def test_a_call_of_the_upstream_api_is_a_subsegment_with_the_host_of_the_url_alone(
    settings: Settings,
    daemon: Daemon,
    upstream_api: UpstreamApi,
    is_available: bool,
) -> None:
    if not is_available:
        upstream_api.stop()
    endpoint = f"http://mira:opensesame@{upstream_api.host}/of-a-tenant/quotes?key=opensesame"
    more = {"Mashape_API_Endpoint": endpoint, "X_Mashape_Key": "opensesame"}
    assert run(f"{ASK}\nask('/random')", **lambda_environment(settings, daemon.address, **more)) == "200 OK\n"
    (subsegment,) = (one for one in daemon.received() if "http" in one)
    assert (subsegment["name"], subsegment["namespace"], subsegment["parent_id"]) == ("127.0.0.1", "remote", INVOCATION)
    assert subsegment["http"]["request"] == {"method": "GET"}
    if is_available:
        assert subsegment["http"]["response"] == {"status": 200}
    else:
        assert subsegment["fault"]
        assert [error["type"] for error in subsegment["cause"]["exceptions"]] == ["ConnectionError"]
    assert_redacted([subsegment], "opensesame", "of-a-tenant")


@sqlite_only
def test_an_error_of_two_nested_subsegments_is_sent_once(settings: Settings, daemon: Daemon) -> None:
    script = INCOMPLETE.replace("    try:", "    try:\n      with xray_recorder.in_subsegment('outer'):", 1)
    run(f"from aws_xray_sdk.core import xray_recorder\n{script}", MIRA, **lambda_environment(settings, daemon.address))
    *_, inner, outer = daemon.received()
    assert outer["cause"] == inner["cause"]["exceptions"][0]["id"]


@sqlite_only
def test_an_unavailable_database_is_a_fault_without_the_text_of_the_error(settings: Settings, daemon: Daemon) -> None:
    address = "postgresql://mira:opensesame@127.0.0.1:1/quotes"
    environment = lambda_environment(settings, daemon.address, DATABASE_URL=address)
    assert run(f"{ASK}\nask('/quotes')", **environment) == "503 Service Unavailable\n"
    subsegments = daemon.received()
    assert {one["name"] for one in subsegments} == {"127.0.0.1:1/quotes"}
    assert words(subsegments)[:2] == ["CONNECT", "SELECT"]
    assert all(one["fault"] for one in subsegments)
    assert_redacted(subsegments, "opensesame", "mira", "refused")


@sqlite_only
def test_calls_before_the_first_request_are_not_traced(settings: Settings, daemon: Daemon) -> None:
    script = f"{ASK}\nask('/random')\nos.environ['_X_AMZN_TRACE_ID'] = {HEADER!r}\nask('/health')\nask('/quotes')"
    environment = lambda_environment(settings, daemon.address)
    del environment["_X_AMZN_TRACE_ID"]
    run(script, **environment)
    assert {one["trace_id"] for one in daemon.received()} == {TRACE}


@sqlite_only
@pytest.mark.parametrize("header", [f"Root={TRACE};Parent={INVOCATION};Sampled=0", "nonsense", "Root=;;=;Sampled=7"])
def test_a_request_that_is_not_sampled_is_not_traced(settings: Settings, daemon: Daemon, header: str) -> None:
    run(f"{ASK}\nask('/random')", **lambda_environment(settings, daemon.address, _X_AMZN_TRACE_ID=header))
    assert daemon.received() == []


@sqlite_only
def test_requests_succeed_without_a_daemon(settings: Settings) -> None:
    with closing(Daemon()) as stopped:
        pass
    assert (
        run(f"{ASK}\nask('/random')\nask('/quotes')", **lambda_environment(settings, stopped.address))
        == "200 OK\n200 OK\n"
    )


@sqlite_only
def test_tracing_enabled_twice_makes_one_subsegment_per_call(settings: Settings, daemon: Daemon) -> None:
    work = "from quoteapi.aws import job_context\nwith job_context.job_context(): pass"
    script = f"{ASK}\nask('/random')\n{work}\nask('/quotes/1')"
    run(script, **lambda_environment(settings, daemon.address))
    assert words(daemon.received()).count("SELECT") == 2


@sqlite_only
def test_without_the_setting_the_sdk_is_not_imported(settings: Settings, daemon: Daemon) -> None:
    environment = lambda_environment(settings, daemon.address)
    del environment["XRAY_TRACING"]
    script = f"{ASK}\nask('/random')\nimport sys; print({{'aws_xray_sdk', 'wrapt'}} & sys.modules.keys())"
    assert run(script, **environment) == "200 OK\nset()\n"
    assert daemon.received() == []


@sqlite_only
def test_requests_is_not_imported_without_an_upstream_api(settings: Settings, daemon: Daemon) -> None:
    script = f"{ASK}\nask('/random')\nimport sys; print('aws_xray_sdk' in sys.modules, 'requests' in sys.modules)"
    assert run(script, **lambda_environment(settings, daemon.address)) == "200 OK\nTrue False\n"


def test_the_name_of_a_database_contains_no_user_and_no_password() -> None:
    names = {
        "postgresql://mira:p%40ss@db.example.org:5432/quotes?sslmode=require": "db.example.org:5432/quotes",
        "postgresql:///quotes?host=/var/run": "/quotes",
        "postgresql://?dbname=quotes&password=p": "database",
        "file:///srv/quoteapi.db?mode=rw": "/srv/quoteapi.db",
    }
    script = "import sys; from quoteapi.aws.xray import _database_name; from peewee import Database"
    output = run(f"{script}; print(*(_database_name(Database(one)) for one in sys.argv[1:]))", *names)
    assert output.split() == list(names.values())
