import os
import pty
import signal
import socket

import pytest
import requests

from tests.cli.conftest import Command
from tests.helpers.servers import Servers


def test_a_taken_port_is_an_error(quoteapi_process: Command) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        stopped = quoteapi_process("serve", "--port", str(port))
    assert stopped.returncode == 3
    assert f"Cannot listen on 127.0.0.1 port {port}: Address already in use. Set HOST or PORT" in stopped.stderr


def test_an_unknown_host_is_an_error(quoteapi: Command) -> None:
    for host in ("a..b", "x" * 70):
        stopped = quoteapi("serve", HOST=host)
        assert (stopped.returncode, stopped.stdout) == (3, "")
        assert f"Cannot listen on {host}" in stopped.stderr


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_server_cleanly(servers: Servers, stop: signal.Signals) -> None:
    base = servers.start("quoteapi", "serve")
    requests.get(f"{base}/daily", headers={"X-Request-ID": "the-last"}, timeout=5)
    (process,) = servers.processes
    process.send_signal(stop)
    assert process.wait(20) == 0
    assert "Traceback" not in servers.output()
    assert "[the-last]" in servers.output(), "buffered log lines are written at the end"


def test_ctrl_c_on_a_terminal_stops_the_server(servers: Servers) -> None:
    leader, terminal = pty.openpty()
    base = servers.start("quoteapi", "serve", "--workers", "2", terminal=terminal)
    assert requests.get(f"{base}/daily", timeout=5).status_code == 200
    os.write(leader, b"\x03")
    (process,) = servers.processes
    assert process.wait(5) == 0
    os.close(terminal)
    os.close(leader)


def test_the_host_can_be_a_name(servers: Servers) -> None:
    base = servers.start("quoteapi", "serve", HOST="localhost")
    assert requests.get(f"{base}/health", timeout=5).status_code == 200
