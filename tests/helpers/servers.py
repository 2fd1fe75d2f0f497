"""Real servers: processes of the commands that the docs name."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import requests

from quoteapi.settings import ROOT
from tests.conftest import leaks_personal_data
from tests.helpers.waiting import LIMIT_SECONDS

GUNICORN = ("gunicorn", "--bind", "127.0.0.1:PORT", "quoteapi.app:api")
"""The command; `PORT` stands for a free port."""


def reserve_port() -> socket.socket:
    """Reserve a port for a server until the socket is closed. A server with `SO_REUSEADDR`, as usual, can take it.

    The system gives it to no other process meanwhile, such as a parallel one of the tests.
    """
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind(("127.0.0.1", 0))
    return reserved


class Servers:
    """Servers that share a working database, and their output."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []
        self._reserved_ports: list[socket.socket] = []

    def start(self, *words: str, terminal: int | None = None, **settings: str) -> str:
        """Start a server and wait until it serves requests. Returns its base URL."""
        self._reserved_ports.append(reserve_port())
        port = self._reserved_ports[-1].getsockname()[1]
        command = [
            str(Path(sys.executable).parent / words[0]),
            *(word.replace("PORT", str(port)) for word in words[1:]),
        ]
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "PORT": str(port),
            "DATABASE_URL": f"sqlite:///{self.folder}/working.db",
            **settings,
        }
        with (self.folder / f"output-{len(self.processes)}").open("wb") as output:
            command = command if terminal is None else ["setsid", "--ctty", *command]
            process = subprocess.Popen(command, env=environment, cwd=ROOT, stdin=terminal, stdout=output, stderr=output)
        self.processes.append(process)
        base = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + LIMIT_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            with suppress(requests.ConnectionError):
                requests.get(f"{base}/health", timeout=LIMIT_SECONDS)
                return base
            time.sleep(0.05)
        raise AssertionError(self.output())

    def output(self, which: int = -1) -> str:
        """Return the output of a server, by default of the last one."""
        return (self.folder / f"output-{range(len(self.processes))[which]}").read_text()

    def stop(self) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait(LIMIT_SECONDS)
        for reserved in self._reserved_ports:
            reserved.close()


@pytest.fixture(name="servers")
def servers_fixture(tmp_path: Path) -> Iterator[Servers]:
    """Start servers, stop them at the end, and check that no log line has personal data."""
    running = Servers(tmp_path)
    yield running
    running.stop()
    log_lines = [
        line for file in tmp_path.glob("output-*") for line in file.read_text().splitlines() if line[:2] == "20"
    ]
    assert not [line for line in log_lines if leaks_personal_data(line)]
