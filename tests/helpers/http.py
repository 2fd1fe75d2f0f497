"""HTTP servers for tests, and assertions on responses."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.validate import validator

import pytest
import requests

from quoteapi.http.middleware import App


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


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 its name
        pass


@contextmanager
def serve_app(app: App) -> Iterator[str]:
    """Serve an app over real HTTP, with a check of WSGI's rules. Answer its address."""
    with make_server("127.0.0.1", 0, validator(app), _Server, _Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def serve_under_prefix(monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
    """Have `serving` put apps under a prefix, as Zappa names the stage of an API Gateway."""
    set_up = WSGIServer.setup_environ

    def with_stage(server: WSGIServer) -> None:
        set_up(server)
        server.base_environ["SCRIPT_NAME"] = stage

    monkeypatch.setattr(WSGIServer, "setup_environ", with_stage)
