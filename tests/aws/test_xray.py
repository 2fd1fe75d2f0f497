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
from tests.helpers.data import MIRA, SECRET_KEY, sqlite_only
from tests.helpers.processes import python
from tests.helpers.upstream_api import UpstreamApi

TRACE = "1-5f84c7a1-f9b2c3d4e5f60718293a4b5c"
INVOCATION = "53995c3f42cd8ad8"
HEADER = f"Root={TRACE};Parent={INVOCATION};Sampled=1"

Subsegment = dict[str, Any]


class Daemon:
    """X-Ray's daemon, as Lambda has it: it takes what comes, and never answers."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(0.2)
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"

    def close(self) -> None:
        self._socket.close()

    def got(self) -> list[Subsegment]:
        """Answer what came; whoever sent it has ended."""
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


def on_lambda(settings: Settings, daemon: str, **more: str) -> dict[str, str]:
    """Answer the environment of a function of Lambda that traces, in the middle of an invocation."""
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
    """Run a script in a process of its own. Answer what it printed, which wrote no log line but our own."""
    done = python("-c", script, *words, **settings)
    assert done.returncode == 0, done.stderr
    for line in done.stderr.splitlines():
        assert re.match(r"[-0-9T:]+Z (INFO|WARNING|ERROR) |\t", line), done.stderr
    return done.stdout


ASK = """
import os
from wsgiref.util import setup_testing_defaults
from quoteapi import app
def ask(path):
    environ, answers = {"PATH_INFO": path}, []
    setup_testing_defaults(environ)
    b"".join(app.api(environ, lambda status, *_: answers.append(status)))
    print(answers[0])
"""

SEND = """
import sys
from quoteapi.aws.job_context import job_context
from quoteapi.sms.gateway import GatewayError
mobile, odd = sys.argv[1:]
with job_context() as service:
    service.gateway.send_sms(mobile, "654321 is your code.", "code")
    service.gateway.subscribe(mobile)
    service.gateway.publish("Hope and keep busy.")
    try:
        service.gateway.send_sms(odd, "654321 is your code.", "code")
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


def assert_discreet(got: list[Subsegment], *secrets: str) -> None:
    """Assert that nothing was told that could not be in a log."""
    for text in texts_of(got):
        assert not leaks_personal_data(text)
        assert not any(secret in text for secret in (*secrets, SECRET_KEY, "is your code", "Hope", "?", "192.0.2"))
        assert not re.search(r"\b(FROM|WHERE|VALUES)\b|=|:/", text)


def texts_of(told: object) -> Iterator[str]:
    if isinstance(told, dict):
        for name, value in told.items():
            if name not in {"id", "parent_id", "trace_id", "request_id", "topic_arn", "working_directory"}:
                yield from texts_of(value)
    elif isinstance(told, list):
        for value in told:
            yield from texts_of(value)
    elif isinstance(told, str):
        yield told


def words(got: list[Subsegment]) -> list[str]:
    return [one["sql"]["sanitized_query"] for one in got if "sql" in one]


@pytest.fixture
def aws(tmp_path: Path) -> Iterator[str]:
    """Serve an AWS of moto's. Answers its address."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.mark.usefixtures("open_database")
def test_each_statement_is_a_subsegment_with_its_first_word_and_the_name_of_the_database(
    settings: Settings, daemon: Daemon
) -> None:
    assert run(f"{ASK}\nask('/random')", **on_lambda(settings, daemon.address)) == "200 OK\n"
    got = daemon.got()
    assert words(got) == ["CONNECT", "SELECT"]
    for one in got:
        assert (one["trace_id"], one["type"], one["namespace"]) == (TRACE, "subsegment", "remote")
        assert len(one["name"]) > 5
        assert (settings.database_url or "").partition("?")[0].endswith(one["name"])
        assert one["end_time"] >= one["start_time"]
    assert got[-1]["parent_id"] == INVOCATION
    assert_discreet(got)


@pytest.mark.usefixtures("open_database")
@pytest.mark.parametrize(("end", "word"), [("pass", "COMMIT"), ("transaction.rollback()", "ROLLBACK")])
def test_a_transaction_shows_how_it_begins_and_ends(settings: Settings, daemon: Daemon, end: str, word: str) -> None:
    run(TRANSACTION.format(end=end), **on_lambda(settings, daemon.address))
    got = daemon.got()
    assert [word for word in words(got) if word != "CONNECT"][:3] == ["BEGIN", "SELECT", word]
    assert {one["parent_id"] for one in got} == {INVOCATION}
    assert_discreet(got)


@pytest.mark.usefixtures("open_database")
def test_a_statement_that_fails_is_a_fault_without_what_the_error_says(settings: Settings, daemon: Daemon) -> None:
    told = run(INCOMPLETE, MIRA, **on_lambda(settings, daemon.address))
    assert told == f"refused {settings.database_path is None}\n"  # SQLite's error has no number to tell
    got = daemon.got()
    failed = [one for one in got if one.get("fault")]
    assert words(failed) == ["INSERT"]
    assert [error["type"] for error in failed[0]["cause"]["exceptions"]] == ["IntegrityError"]
    assert "message" not in failed[0]["cause"]["exceptions"][0]
    assert_discreet(got, MIRA)


@sqlite_only
def test_each_call_to_sns_is_a_subsegment_without_the_number_and_the_message(
    settings: Settings, daemon: Daemon, aws: str
) -> None:
    odd = "+91-90280-00001-000001"
    assert run(SEND, MIRA, odd, **on_lambda(settings, daemon.address, AWS_ENDPOINT_URL=aws)) == "NumberRejected\n"
    got = [one for one in daemon.got() if one["namespace"] == "aws"]
    assert [(one["name"], one["aws"]["operation"], one["http"]["response"]["status"]) for one in got] == [
        ("sns", "Publish", 200),
        ("sns", "CreateTopic", 200),
        ("sns", "Subscribe", 200),
        ("sns", "Publish", 200),
        ("sns", "Publish", 400),
    ]
    assert got[-1]["cause"]["exceptions"][0]["type"] == "InvalidParameterException"
    assert {one["trace_id"] for one in got} == {TRACE}
    assert_discreet(got, MIRA, odd)


@sqlite_only
@pytest.mark.parametrize("answers", [True, False])
def test_a_call_of_the_upstream_api_is_a_subsegment_with_its_host_and_nothing_else_of_its_address(
    settings: Settings,
    daemon: Daemon,
    upstream_api: UpstreamApi,
    answers: bool,
) -> None:
    if not answers:
        upstream_api.stop()
    endpoint = f"http://mira:opensesame@{upstream_api.host}/of-a-tenant/quotes?key=opensesame"
    more = {"Mashape_API_Endpoint": endpoint, "X_Mashape_Key": "opensesame"}
    assert run(f"{ASK}\nask('/random')", **on_lambda(settings, daemon.address, **more)) == "200 OK\n"
    (got,) = (one for one in daemon.got() if "http" in one)
    assert (got["name"], got["namespace"], got["parent_id"]) == ("127.0.0.1", "remote", INVOCATION)
    assert got["http"]["request"] == {"method": "GET"}
    if answers:
        assert got["http"]["response"] == {"status": 200}
    else:
        assert got["fault"]
        assert [error["type"] for error in got["cause"]["exceptions"]] == ["ConnectionError"]
    assert_discreet([got], "opensesame", "of-a-tenant")


@sqlite_only
def test_an_error_that_comes_out_of_two_subsegments_is_told_once(settings: Settings, daemon: Daemon) -> None:
    script = INCOMPLETE.replace("    try:", "    try:\n      with xray_recorder.in_subsegment('outer'):", 1)
    run(f"from aws_xray_sdk.core import xray_recorder\n{script}", MIRA, **on_lambda(settings, daemon.address))
    *_, inner, outer = daemon.got()
    assert outer["cause"] == inner["cause"]["exceptions"][0]["id"]


@sqlite_only
def test_a_database_that_is_away_is_a_fault_without_what_the_error_says(settings: Settings, daemon: Daemon) -> None:
    address = "postgresql://mira:opensesame@127.0.0.1:1/quotes"
    told = on_lambda(settings, daemon.address, DATABASE_URL=address)
    assert run(f"{ASK}\nask('/quotes')", **told) == "503 Service Unavailable\n"
    got = daemon.got()
    assert {one["name"] for one in got} == {"127.0.0.1:1/quotes"}
    assert words(got)[:2] == ["CONNECT", "SELECT"]
    assert all(one["fault"] for one in got)
    assert_discreet(got, "opensesame", "mira", "refused")


@sqlite_only
def test_what_comes_before_the_first_request_is_not_told_and_the_next_one_is(
    settings: Settings, daemon: Daemon
) -> None:
    script = f"{ASK}\nask('/random')\nos.environ['_X_AMZN_TRACE_ID'] = {HEADER!r}\nask('/health')\nask('/quotes')"
    environment = on_lambda(settings, daemon.address)
    del environment["_X_AMZN_TRACE_ID"]
    run(script, **environment)
    assert {one["trace_id"] for one in daemon.got()} == {TRACE}


@sqlite_only
@pytest.mark.parametrize("header", [f"Root={TRACE};Parent={INVOCATION};Sampled=0", "nonsense", "Root=;;=;Sampled=7"])
def test_a_request_that_lambda_does_not_trace_is_not_told(settings: Settings, daemon: Daemon, header: str) -> None:
    run(f"{ASK}\nask('/random')", **on_lambda(settings, daemon.address, _X_AMZN_TRACE_ID=header))
    assert daemon.got() == []


@sqlite_only
def test_a_daemon_that_is_not_there_changes_nothing(settings: Settings) -> None:
    with closing(Daemon()) as gone:
        pass
    assert run(f"{ASK}\nask('/random')\nask('/quotes')", **on_lambda(settings, gone.address)) == "200 OK\n200 OK\n"


@sqlite_only
def test_starting_twice_tells_each_call_once(settings: Settings, daemon: Daemon) -> None:
    work = "from quoteapi.aws import job_context\nwith job_context.job_context(): pass"
    script = f"{ASK}\nask('/random')\n{work}\nask('/quotes/1')"
    run(script, **on_lambda(settings, daemon.address))
    assert words(daemon.got()).count("SELECT") == 2


@sqlite_only
def test_where_it_is_not_asked_for_nothing_of_it_is_loaded(settings: Settings, daemon: Daemon) -> None:
    environment = on_lambda(settings, daemon.address)
    del environment["XRAY_TRACING"]
    script = f"{ASK}\nask('/random')\nimport sys; print({{'aws_xray_sdk', 'wrapt'}} & sys.modules.keys())"
    assert run(script, **environment) == "200 OK\nset()\n"
    assert daemon.got() == []


@sqlite_only
def test_requests_is_loaded_only_where_there_is_an_upstream_api(settings: Settings, daemon: Daemon) -> None:
    script = f"{ASK}\nask('/random')\nimport sys; print('aws_xray_sdk' in sys.modules, 'requests' in sys.modules)"
    assert run(script, **on_lambda(settings, daemon.address)) == "200 OK\nTrue False\n"


def test_a_database_is_named_without_who_asks_and_by_what_password() -> None:
    names = {
        "postgresql://mira:p%40ss@db.example.org:5432/quotes?sslmode=require": "db.example.org:5432/quotes",
        "postgresql:///quotes?host=/var/run": "/quotes",
        "postgresql://?dbname=quotes&password=p": "database",
        "file:///srv/quoteapi.db?mode=rw": "/srv/quoteapi.db",
    }
    script = "import sys; from quoteapi.aws.xray import _name_of; from peewee import Database"
    told = run(f"{script}; print(*(_name_of(Database(one)) for one in sys.argv[1:]))", *names)
    assert told.split() == list(names.values())
