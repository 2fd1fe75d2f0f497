"""AWS Lambda's runtime: a process with AWS's runtime client, and the Runtime API that it polls for events."""

import importlib.metadata
import json
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import Any, NamedTuple

from tests.rehearsal.checks import CheckFailed

ASYNC_ATTEMPTS = 3
"""How often Lambda runs an asynchronous invocation that fails."""
TIMEOUT_SECONDS = 30
"""The longest wait for an invocation; the slowest one loads every module."""

RUNTIME_DISTRIBUTIONS = ("awslambdaric", "simplejson", "snapshot-restore-py")
"""The distributions that Lambda itself provides; they come after the package on the path."""

START = """
import sys
package, runtime, folder, clock, handler = sys.argv[1:]
sys.path[:0] = [package, runtime]
import datetime, pathlib, quoteapi.clock, quoteapi.settings.model
quoteapi.settings.model.LAMBDA_FOLDER = pathlib.Path(folder)  # on Lambda each container has its own /tmp
if clock:
    quoteapi.clock.now = lambda: datetime.datetime.fromisoformat(pathlib.Path(clock).read_text())
from awslambdaric.__main__ import main
main(["awslambdaric", handler])
"""


class Outcome(NamedTuple):
    """The outcome of an invocation: a result, or an error as the runtime client reports it."""

    result: Any
    error: dict[str, Any] | None


class _RuntimeApiServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Report an error, but not that a container that is killed resets its connection."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class LambdaFunction:
    """A deployed Lambda function with one container."""

    def __init__(
        self,
        package: Path,
        configuration: Mapping[str, Any],
        folder: Path,
        environment: Mapping[str, str],
        clock: Path | None = None,
    ) -> None:
        """Start a container with the unzipped `package`, as `configuration` says; `folder` has its log and `/tmp`.

        The time of the service is the one in the file `clock`, if given.
        """
        self.log = folder / "log"
        self.folder = folder / "tmp"
        self.folder.mkdir(parents=True, exist_ok=True)
        self._arn = configuration["FunctionArn"]
        self._timeout = configuration["Timeout"]
        self._events: Queue[tuple[str, bytes]] = Queue()
        self._outcomes: Queue[Outcome] = Queue()
        self._api = _RuntimeApiServer(("127.0.0.1", 0), self._make_api_handler())
        self._thread = Thread(target=self._api.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self._process = self._start(package, configuration, environment, clock)

    def stop(self) -> None:
        """Stop the container."""
        self._process.kill()
        self._process.wait()
        self._api.shutdown()
        self._thread.join()
        self._api.server_close()

    def invoke(self, event: object) -> Outcome:
        """Invoke the function and return the outcome. Raises `CheckFailed` if there is none in time."""
        self._send(event)
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            try:
                return self._outcomes.get(timeout=0.1)
            except Empty:
                if self._process.poll() is not None and self._outcomes.empty():
                    break
        raise CheckFailed(f"the function did not finish (its process {self._state()}); its log:\n{self.read_log()}")

    def kill_while_it_handles(self, event: object, has_begun: Callable[[], bool]) -> None:
        """Invoke the function, and kill its process once it has begun something. Raises `CheckFailed` if it did not."""
        self._send(event)
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while not has_begun():
            if time.monotonic() > deadline or not self._outcomes.empty() or self._process.poll() is not None:
                raise CheckFailed(f"the function was not killed in time; its log:\n{self.read_log()}")
            time.sleep(0.01)
        self._process.kill()
        self._process.wait()

    def invoke_event(self, event: object) -> list[Outcome]:
        """Invoke asynchronously, as Lambda does: a failure is retried twice. Return the outcome of each attempt."""
        outcomes: list[Outcome] = []
        while len(outcomes) < ASYNC_ATTEMPTS and (not outcomes or outcomes[-1].error is not None):
            outcomes.append(self.invoke(event))
        return outcomes

    def wait_for_exit(self) -> int:
        """Wait until a container that cannot start exits. Return its exit code."""
        try:
            return self._process.wait(TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            raise CheckFailed("the function started, although its settings are wrong") from None

    def read_log(self) -> str:
        """Return everything that the function logged."""
        return self.log.read_text()

    def _send(self, event: object) -> None:
        self._events.put((str(uuid.uuid4()), json.dumps(event).encode()))

    def _state(self) -> str:
        code = self._process.poll()
        return "is running" if code is None else f"exited with {code}"

    def _start(
        self, package: Path, configuration: Mapping[str, Any], environment: Mapping[str, str], clock: Path | None
    ) -> subprocess.Popen[bytes]:
        variables = {
            **environment,
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self._api.server_port}",
            "AWS_LAMBDA_FUNCTION_NAME": configuration["FunctionName"],
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(configuration["MemorySize"]),
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_EXECUTION_ENV": f"AWS_Lambda_{configuration['Runtime']}",
            "LAMBDA_TASK_ROOT": str(package),
            "TZ": ":UTC",
            **configuration.get("Environment", {}).get("Variables", {}),
        }
        folders = [str(package), str(_runtime_folder(self.folder.parent)), str(self.folder)]
        arguments = [*folders, str(clock or ""), configuration["Handler"]]
        with self.log.open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", START, *arguments],
                cwd=package,
                env=variables,
                stdout=log,
                stderr=log,
            )

    def _make_api_handler(self) -> type[BaseHTTPRequestHandler]:
        function = self

        class RuntimeApi(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # else the body waits for the client's delayed ACK of the headers

            def do_GET(self) -> None:
                request_id, event = function._events.get()
                self.send_response(200)
                self.send_header("Lambda-Runtime-Aws-Request-Id", request_id)
                self.send_header("Lambda-Runtime-Deadline-Ms", str(round((time.time() + function._timeout) * 1_000)))
                self.send_header("Lambda-Runtime-Invoked-Function-Arn", function._arn)
                trace = (
                    f"Root=1-{int(time.time()):08x}-{uuid.uuid4().hex[:24]};Parent={uuid.uuid4().hex[:16]};Sampled=1"
                )
                self.send_header("Lambda-Runtime-Trace-Id", trace)
                self._finish(event)

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"null")
                if self.path.endswith("/response"):
                    function._outcomes.put(Outcome(body, None))
                else:
                    function._outcomes.put(Outcome(None, body))
                self.send_response(202)
                self._finish(b"{}")

            def _finish(self, body: bytes) -> None:
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the name in the base class
                pass

        return RuntimeApi


def _runtime_folder(folder: Path) -> Path:
    """Create a folder with only the runtime client, as `/var/runtime` on Lambda. Return it."""
    runtime = folder / "runtime"
    if not runtime.is_dir():
        runtime.mkdir()
        for name in RUNTIME_DISTRIBUTIONS:
            distribution = importlib.metadata.distribution(name)
            for top in {file.parts[0] for file in distribution.files or []} - {"__pycache__", ".."}:
                (runtime / top).symlink_to(str(distribution.locate_file(top)))
    return runtime
