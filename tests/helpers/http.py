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


def get(url: str, **headers: str) -> requests.Response:
    """Send a GET request with headers, whose names have underscores here."""
    return requests.get(url, headers={name.replace("_", "-"): value for name, value in headers.items()}, timeout=30)


def assert_problem(response: requests.Response, status: int, title: str, detail_with: str = "") -> None:
    """Assert that a response is a problem document of the form that all errors have."""
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


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 its name
        pass


@contextmanager
def serve_app(app: App) -> Iterator[str]:
    """Serve an app over HTTP, and check that it follows the rules of WSGI. Yields its base URL."""
    with make_server("127.0.0.1", 0, validator(app), _Server, _Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def serve_under_prefix(monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
    """Have `serve_app` serve apps under a prefix, as API Gateway and Zappa do under the stage."""
    set_up = WSGIServer.setup_environ

    def with_stage(server: WSGIServer) -> None:
        set_up(server)
        server.base_environ["SCRIPT_NAME"] = stage

    monkeypatch.setattr(WSGIServer, "setup_environ", with_stage)
