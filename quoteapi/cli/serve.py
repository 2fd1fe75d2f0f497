"""The command `quoteapi serve`: its port, its signals, and the workers that granian forks."""

import os
import shlex
import signal
import socket
from typing import TYPE_CHECKING

import click

from quoteapi.cli.output import as_started, print_lines
from quoteapi.cli.root import CannotStart, connect_database, main, one_line
from quoteapi.cli.schedule_thread import start_schedule
from quoteapi.container import Container
from quoteapi.settings import Settings, load_settings, local_url, misspelt_name_warnings
from quoteapi.storage.database import UNAVAILABLE_ERRORS

if TYPE_CHECKING:
    from quoteapi.http.rsgi import RsgiApp

HEADER_SECONDS = 10
"""How long a client may take to send headers, also those of the next request on a connection."""
MAX_CONNECTIONS = 512
"""How many connections a worker takes; more wait. A process may usually have 1,024 open files."""
WORKER_SHUTDOWN_SECONDS = 10
"""How long a worker may take to finish its requests and a run of the schedule before it is killed."""


@main.command()
@click.option("--host", help="Listen on this address.  [setting HOST; default: 127.0.0.1]")
@click.option(
    "--port", type=click.IntRange(1, 65_535), metavar="N", help="Listen on this port.  [setting PORT; default: 8000]"
)
@click.option(
    "--workers",
    type=click.IntRange(1, 1_024),
    metavar="N",
    help="Run N worker processes.  [setting WORKERS; default: one per core]",
)
def serve(host: str | None, port: int | None, workers: int | None) -> None:
    """Serve quotes over HTTP until you press Ctrl-C."""
    print_lines(*misspelt_name_warnings(), err=True)
    settings = load_settings(os.environ)
    host, port = host or settings.host, port or settings.port
    try:
        connect_database(settings, may_create=True).close()  # before any worker starts: it may be misconfigured
    except UNAVAILABLE_ERRORS as error:  # may be temporary, and quotes can be served from the bundled catalogue
        reason = one_line(error)
        print_lines("The database is unavailable. Until it is back, only the bundled quotes are served.", err=True)
        print_lines(f"Reason: {as_started(reason)}", err=True)
    ip_address = find_free_address(host, port)
    os.environ.update(HOST=host, PORT=str(port))  # workers read them for the URLs in SMS
    _print_welcome(settings, host, port)
    run_server(ip_address, port, workers or settings.workers or os.cpu_count() or 1)


def _print_welcome(settings: Settings, host: str, port: int) -> None:
    base = local_url(host, port)
    print_lines(
        f"QuoteAPI is running at {base}. To stop it, press Ctrl-C.",
        "Open the URL in a browser or, in another terminal, run:",
        "",
    )
    example = "919028000001" if settings.gateway == "console" else "<your number>"
    for words, meaning in (
        ([f"{base}/daily"], "the quote of the day"),
        ([f"{base}/random"], "a random quote"),
        ([f"{base}/quotes?q=hope"], "a search in the catalogue"),
        (["-d", f"mobile={example}", f"{base}/subscribe"], "subscribe to the daily SMS"),
        ([f"{base}/health"], "the state of the service"),
    ):
        print_lines(f"  curl {shlex.join(words):<58}  {meaning}")
    sms = "SMS are printed here and not sent. To read them again, run `quoteapi sms inbox`."
    if settings.gateway == "sns":
        sms = "Amazon SNS sends the SMS, which cost money. To check the set-up, run `quoteapi doctor`."
    print_lines("", as_started(sms), "")


def find_free_address(host: str, port: int) -> str:
    """Return the IP address of a host. Raises `CannotStart` if the host is unknown or the port is taken."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "unknown host"
        message = f"Cannot listen on {host} port {port}: {reason}. Set HOST or PORT, for example PORT=8001."
        raise CannotStart(message) from error
    return str(address[0])


def run_server(address: str, port: int, workers: int) -> None:
    """Serve the app in worker processes until SIGINT or SIGTERM."""
    _handle_signals_in_parent_only()
    from granian import Granian, constants, http, log  # noqa: PLC0415 large, and no other command needs it

    Granian(
        "quoteapi.app:api",
        address=address,
        port=port,
        interface=constants.Interfaces.RSGI,
        workers=workers,
        http=constants.HTTPModes.http1,
        http1_settings=http.HTTP1Settings(header_read_timeout=HEADER_SECONDS * 1_000),
        websockets=False,
        backpressure=MAX_CONNECTIONS,
        workers_kill_timeout=WORKER_SHUTDOWN_SECONDS,
        log_level=log.LogLevels.warning,
    ).serve(target_loader=_load_app, wrap_loader=False)


def _load_app() -> "RsgiApp":
    """Build the app, in a worker, and start its schedule."""
    from quoteapi.app import load_app  # noqa: PLC0415 other commands need neither
    from quoteapi.http.rsgi import RsgiApp  # noqa: PLC0415

    app = RsgiApp(load_app())
    container = Container(load_settings(os.environ))
    start_schedule(container, container.randomness)
    return app


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
