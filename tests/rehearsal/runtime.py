"""What AWS Lambda does with a package: a process that AWS's own client drives, and the API that it asks for work."""

import importlib.metadata
import json
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import Any, NamedTuple

from tests.rehearsal.wrong import Wrong

API = "/2018-06-01/runtime"
TRIES = 3
"""How often Lambda runs what nobody waits for."""
SECONDS = 30
"""What an answer may take; the slowest one has to load all."""

DRIVEN = ("awslambdaric", "simplejson", "snapshot-restore-py")
"""The distributions that are Lambda's own, and stand behind the package on its path."""

START = """
import sys
package, runtime, folder, handler = sys.argv[1:]
sys.path[:0] = [package, runtime]
import pathlib, quoteapi.settings.model
quoteapi.settings.model.LAMBDA_FOLDER = pathlib.Path(folder)  # on Lambda nobody shares /tmp
from awslambdaric.__main__ import main
main(["awslambdaric", handler])
"""


class Outcome(NamedTuple):
    """What became of an invocation: an answer, or an error as Lambda's client sees it."""

    answer: Any
    error: dict[str, Any] | None


class Function:
    """A function of Lambda, as it was deployed, with one container."""

    def __init__(
        self, package: Path, configuration: Mapping[str, Any], folder: Path, environment: Mapping[str, str]
    ) -> None:
        """Run `package`, an unzipped one, as `configuration` of `GetFunction` says; `folder` is its `/tmp`."""
        self.log = folder / "log"
        self.folder = folder / "tmp"
        self.folder.mkdir(parents=True, exist_ok=True)
        self._arn = configuration["FunctionArn"]
        self._timeout = configuration["Timeout"]
        self._waiting: Queue[tuple[str, bytes]] = Queue()
        self._outcomes: Queue[Outcome] = Queue()
        self._api = ThreadingHTTPServer(("127.0.0.1", 0), self._answering())
        self._api.daemon_threads = True
        self._thread = Thread(target=self._api.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self._process = self._started(package, configuration, environment)

    def stop(self) -> None:
        """End the container."""
        self._process.kill()
        self._process.wait()
        self._api.shutdown()
        self._thread.join()
        self._api.server_close()

    def invoke(self, event: object) -> Outcome:
        """Run the function, and wait for what becomes of it."""
        self._waiting.put((str(uuid.uuid4()), json.dumps(event).encode()))
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            try:
                return self._outcomes.get(timeout=0.1)
            except Empty:
                if self._process.poll() is not None and self._outcomes.empty():
                    break
        raise Wrong(f"the function did not answer (its process {self._state()}); it said:\n{self.said()}")

    def invoke_event(self, event: object) -> list[Outcome]:
        """Run the function as Lambda does where nobody waits: a failure is tried twice more. Answer each outcome."""
        outcomes: list[Outcome] = []
        while len(outcomes) < TRIES and (not outcomes or outcomes[-1].error is not None):
            outcomes.append(self.invoke(event))
        return outcomes

    def exit_code(self) -> int:
        """Wait for a container that cannot start. Answer what its process ended with."""
        try:
            return self._process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            raise Wrong("the function started, although its settings are wrong") from None

    def said(self) -> str:
        """Answer what the function wrote to its log."""
        return self.log.read_text()

    def _state(self) -> str:
        code = self._process.poll()
        return "is running" if code is None else f"ended with {code}"

    def _started(
        self, package: Path, configuration: Mapping[str, Any], environment: Mapping[str, str]
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
        words = [str(package), str(_runtime_folder(self.folder.parent)), str(self.folder), configuration["Handler"]]
        with self.log.open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", START, *words], cwd=package, env=variables, stdout=log, stderr=log
            )

    def _answering(self) -> type[BaseHTTPRequestHandler]:
        function = self

        class RuntimeApi(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                request_id, event = function._waiting.get()
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
                said = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"null")
                if self.path.endswith("/response"):
                    function._outcomes.put(Outcome(said, None))
                else:
                    function._outcomes.put(Outcome(None, said))
                self.send_response(202)
                self._finish(b"{}")

            def _finish(self, body: bytes) -> None:
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 its name
                pass

        return RuntimeApi


def _runtime_folder(folder: Path) -> Path:
    """Make a folder with Lambda's own part and nothing else, as `/var/runtime` is."""
    runtime = folder / "runtime"
    if not runtime.is_dir():
        runtime.mkdir()
        for name in DRIVEN:
            distribution = importlib.metadata.distribution(name)
            for top in {file.parts[0] for file in distribution.files or []} - {"__pycache__", ".."}:
                (runtime / top).symlink_to(str(distribution.locate_file(top)))
    return runtime
