"""The cast that the tests share: a clock, quotes, an upstream API that is a real server, and how to look at answers."""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.validate import validator

import pytest
import requests

from quoteapi.http.middleware import App
from quoteapi.quotes.quotation import Quotation
from quoteapi.settings import Settings
from quoteapi.storage import database
from quoteapi.storage.catalogue import insert_all, row_of
from quoteapi.storage.models import ConsoleSms, Subscriber

SECRET_KEY = "of the tests, 0123456789abcdefghijklmnop"  # noqa: S105

NOON = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)

ALCOTT = Quotation("Hope and keep busy.", "Louisa May Alcott", "hope", "Little Women, chapter 16 (1868)")
AUSTEN = Quotation("What are men to rocks and mountains?", "Jane Austen", "nature", "Pride and Prejudice (1813)")
ZOLA = Quotation("J’accuse…! — « la vérité est en marche »", "Émile Zola", "truth", "L’Aurore, 13 January 1898")
KABIR = Quotation("काल करे सो आज कर", "कबीर", "समय")


MIRA, NOOR, OMAR = "+919028000001", "+919028000002", "+919028000003"
"""Mobile numbers of people who like quotes."""


def code_for(mobile: str) -> str:
    """Read the newest code in the inbox of a laptop."""
    newest = ConsoleSms.select().where((ConsoleSms.to == mobile) & (ConsoleSms.kind == "code"))
    message: str = newest.order_by(ConsoleSms.id.desc()).first().message
    return message[:6]


def put_on_the_topic(*mobiles: str, state: str = "active") -> None:
    """Have people subscribed on a laptop, without what it takes to get there."""
    for mobile in mobiles:
        Subscriber.create(
            mobile=mobile,
            state=state,
            asked_at=NOON,
            asked_from="192.0.2.1",
            confirmed_at=NOON,
            confirmed_from="192.0.2.1",
            topic="console",
            subscription_arn=f"console:{mobile}",
        )


def wrong(code: str) -> str:
    """Answer another code than this."""
    return f"{(int(code) + 1) % 1_000_000:06}"


class Noted:
    """Work that was handed on, and is not done."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.subscribers: list[int] = []

    def send_otp(self, request: str) -> None:
        self.requests.append(request)

    def subscribe(self, subscriber_id: int) -> None:
        self.subscribers.append(subscriber_id)

    unsubscribe = subscribe


class StoppedClock:
    """A clock that goes on when it is told to."""

    def __init__(self, moment: datetime = NOON) -> None:
        self.moment = moment

    def __call__(self) -> datetime:
        return self.moment

    def monotonic(self) -> float:
        return self.moment.timestamp()

    def pass_by(self, **time_by: float) -> None:
        self.moment += timedelta(**time_by)


def numbered(count: int, first: int = 1) -> list[Quotation]:
    return [
        Quotation(f"Quote number {n} of many.", f"Author {n % 7}", f"category {n % 3}")
        for n in range(first, first + count)
    ]


def make_catalogue(path: Path, quotations: list[Quotation], added: datetime = NOON - timedelta(days=30)) -> Path:
    with database.made(path):
        if quotations:
            insert_all([{"id": n, **row_of(quotation, added)} for n, quotation in enumerate(quotations, 1)])
    return path


def environment(settings: Settings, **more: str) -> dict[str, str]:
    """Answer what an environment says for the same database, and more."""
    return {"DATABASE_URL": settings.database_url or "", "SECRET_KEY": SECRET_KEY, **more}


def file_of(settings: Settings) -> Path:
    assert settings.database_path is not None
    return settings.database_path


on_a_file = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
"""For what only a file has: it can be deleted, broken, read by others."""


def assert_problem(answer: requests.Response, status: int, title: str, detail_with: str = "") -> None:
    """Assert the one shape that every error has."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Request-ID"]
    problem = answer.json()
    assert set(problem) == {"title", "status", "detail"}
    assert problem["title"] == title
    assert problem["status"] == status
    assert detail_with in problem["detail"]


@contextmanager
def counted_statements() -> Iterator[list[str]]:
    """Collect the SQL statements that are executed meanwhile."""
    statements: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.name == "peewee":  # and not that of its pool
                statements.append(str(record.msg[0]))

    logger, collector = logging.getLogger("peewee"), Collector()
    level = logger.level
    logger.addHandler(collector)
    logger.setLevel(logging.DEBUG)
    try:
        yield statements
    finally:
        logger.removeHandler(collector)
        logger.setLevel(level)


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 its name
        pass


@contextmanager
def serving(app: App) -> Iterator[str]:
    """Serve an app over real HTTP, with a check of WSGI's rules. Answer its address."""
    with make_server("127.0.0.1", 0, validator(app), _Server, _Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def serve_under(monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
    """Have `serving` put apps under a prefix, as Zappa names the stage of an API Gateway."""
    set_up = WSGIServer.setup_environ

    def with_stage(server: WSGIServer) -> None:
        set_up(server)
        server.base_environ["SCRIPT_NAME"] = stage

    monkeypatch.setattr(WSGIServer, "setup_environ", with_stage)


class UpstreamApi:
    """A quote API on loopback that answers what it is told to, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, str]] = []
        self.answer: Callable[[BaseHTTPRequestHandler], None] = self.with_json([ALCOTT._asdict()])
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                api.asked.append(dict(self.headers))
                api.answer(self)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 its name
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, request: object, client_address: object) -> None:
                pass  # a client that gave up is what some tests are about

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self.host = f"127.0.0.1:{self._server.server_port}"
        self.address = f"http://{self.host}/quotes"

    def stop(self) -> None:
        """Stop answering; a second time does nothing."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @staticmethod
    def with_json(document: Any, status: int = 200) -> Callable[[BaseHTTPRequestHandler], None]:  # noqa: ANN401
        return UpstreamApi.with_bytes(json.dumps(document).encode(), status)

    @staticmethod
    def with_bytes(
        body: bytes, status: int = 200, headers: dict[str, str] | None = None
    ) -> Callable[[BaseHTTPRequestHandler], None]:
        def answer(request: BaseHTTPRequestHandler) -> None:
            request.send_response(status)
            request.send_header("Content-Length", str(len(body)))
            for name, value in (headers or {}).items():
                request.send_header(name, value)
            request.end_headers()
            request.wfile.write(body)

        return answer

    @staticmethod
    def that_waits(seconds: float) -> Callable[[BaseHTTPRequestHandler], None]:
        def answer(request: BaseHTTPRequestHandler) -> None:
            time.sleep(seconds)
            request.close_connection = True

        return answer
