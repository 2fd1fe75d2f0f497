"""HTTP servers and assertions on responses."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.validate import validator

import pytest
import requests

from quoteapi.http.middleware import App


def assert_problem(response: requests.Response, status: int, title: str, detail_with: str = "") -> None:
    """Assert that a response is a problem document (RFC 9457) with this title and a detail that contains a text."""
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Request-ID"]
    problem = response.json()
    assert set(problem) == {"title", "status", "detail"}
    assert problem["title"] == title
    assert problem["status"] == status
    assert detail_with in problem["detail"]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the name in the base class
        pass


@contextmanager
def serve_app(app: App) -> Iterator[str]:
    """Serve an app over HTTP, validated against PEP 3333. Yields its URL."""
    with make_server("127.0.0.1", 0, validator(app), _Server, _QuietHandler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def serve_under_prefix(monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
    """Serve apps below a prefix (`SCRIPT_NAME`), as Zappa does with the stage of an API Gateway."""
    setup_environ = WSGIServer.setup_environ

    def add_prefix(server: WSGIServer) -> None:
        setup_environ(server)
        server.base_environ["SCRIPT_NAME"] = stage

    monkeypatch.setattr(WSGIServer, "setup_environ", add_prefix)
