"""An upstream quote API on loopback."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.helpers.data import ALCOTT
from tests.helpers.waiting import LIMIT_SECONDS


class UpstreamApi:
    """A quote API on loopback that sends what a test sets, and records the headers of each request."""

    def __init__(self) -> None:
        self.hanging = 0
        """How many requests `hang` handles."""
        self._is_stopping = threading.Event()
        self.requests: list[dict[str, str]] = []
        self.respond: Callable[[BaseHTTPRequestHandler], None] = self.json_response([ALCOTT._asdict()])
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                api.requests.append(dict(self.headers))
                api.respond(self)

            do_POST = do_GET  # noqa: N815 the name in the base class

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the name in the base class
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, request: object, client_address: object) -> None:
                pass  # some tests are about clients that disconnect

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self.host = f"127.0.0.1:{self._server.server_port}"
        self.address = f"http://{self.host}/quotes"

    def stop(self) -> None:
        """Stop the server. A second call does nothing."""
        self._is_stopping.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @staticmethod
    def json_response(document: Any, status: int = 200) -> Callable[[BaseHTTPRequestHandler], None]:  # noqa: ANN401
        return UpstreamApi.bytes_response(json.dumps(document).encode(), status)

    @staticmethod
    def bytes_response(
        body: bytes, status: int = 200, headers: dict[str, str] | None = None
    ) -> Callable[[BaseHTTPRequestHandler], None]:
        def respond(request: BaseHTTPRequestHandler) -> None:
            request.send_response(status)
            request.send_header("Content-Length", str(len(body)))
            for name, value in (headers or {}).items():
                request.send_header(name, value)
            request.end_headers()
            request.wfile.write(body)

        return respond

    def hang(self, request: BaseHTTPRequestHandler) -> None:
        """Send no response until the API stops."""
        self.hanging += 1
        self._is_stopping.wait(LIMIT_SECONDS)
        self.hanging -= 1
        request.close_connection = True
