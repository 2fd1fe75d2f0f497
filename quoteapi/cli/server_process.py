"""The process of `quoteapi serve`: its port, its signals, and the workers that granian forks."""

import os
import signal
import socket

from quoteapi.cli.root import CannotStart

WORKER_SHUTDOWN_SECONDS = 10
"""How long a worker may take to finish its requests before it is killed."""


def find_free_address(host: str, port: int) -> str:
    """Return the IP address of a host. Raises `CannotStart` if the host is unknown or the port is taken."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no such host"
        message = f"Cannot listen on {host} port {port}: {reason}. Set HOST or PORT, for example PORT=8001."
        raise CannotStart(message) from error
    return str(address[0])


def run_server(address: str, port: int, workers: int, threads: int) -> None:
    """Serve the app in worker processes until SIGINT or SIGTERM."""
    _handle_signals_in_parent_only()
    from granian import Granian, constants, log  # noqa: PLC0415 large, and no other command needs it

    Granian(
        "quoteapi.app:api",
        address=address,
        port=port,
        interface=constants.Interfaces.WSGI,
        workers=workers,
        blocking_threads=threads,
        websockets=False,
        workers_kill_timeout=WORKER_SHUTDOWN_SECONDS,
        log_level=log.LogLevels.warning,
    ).serve()


def _handle_signals_in_parent_only() -> None:
    """Block SIGINT in forked workers: a terminal sends Ctrl-C to them too, but the parent stops them.

    A worker also must not inherit the parent's handler of SIGTERM, which only sets a flag: until granian installs its
    own in the worker, the default applies, which ends the process.
    """
    interrupt = {signal.SIGINT}
    os.register_at_fork(
        before=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, interrupt),
        after_in_parent=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, interrupt),
        after_in_child=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL),
    )
