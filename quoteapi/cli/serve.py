"""The command `quoteapi serve`."""

import os
import signal
import socket

import click
from peewee import OperationalError

from quoteapi.cli.root import EXIT_SETTINGS, CommandFailed, main, one_line
from quoteapi.settings import Settings, load_settings, local_url
from quoteapi.storage import database

KILL_SECONDS = 10
"""How long a worker may take to end what it is at."""


@main.command()
@click.option("--host", help="The address to listen on [setting HOST; default: 127.0.0.1].")
@click.option("--port", type=click.IntRange(1, 65_535), help="The port to listen on [setting PORT; default: 8000].")
@click.option("--workers", type=click.IntRange(1, 1_024), help="Processes [setting WORKERS; default: one a core].")
def serve(host: str | None, port: int | None, workers: int | None) -> None:
    """Serve the quotes over HTTP, until Ctrl-C."""
    settings = load_settings(os.environ)
    host, port = host or settings.host, port or settings.port
    cores = os.cpu_count() or 1
    workers = workers or settings.workers or cores
    try:
        database.connect(settings).close()  # an operator's mistake is told before a worker starts
    except OperationalError as error:  # which may pass, and quotes need not wait for it
        reason = one_line(error)
        click.echo(f"The database is away, so there are only the quotes of the shipped catalogue: {reason}", err=True)
    address = _free_address(host, port)
    os.environ.update(HOST=host, PORT=str(port))  # by which the workers name the service in SMS
    _say_what_to_open(settings, host, port)
    _leave_interrupts_to_the_parent()
    from granian import Granian  # noqa: PLC0415 only this command needs it, and it is large
    from granian.constants import Interfaces  # noqa: PLC0415
    from granian.log import LogLevels  # noqa: PLC0415

    Granian(
        "quoteapi.app:api",
        address=address,
        port=port,
        interface=Interfaces.WSGI,
        workers=workers,
        blocking_threads=thread_count(cores),
        websockets=False,
        workers_kill_timeout=KILL_SECONDS,
        log_level=LogLevels.warning,
    ).serve()


def thread_count(cores: int) -> int:
    """Answer the threads of a serving process: those that wait for the database do not hold up the others."""
    return min(8, max(5, 2 * cores + 1))


def _free_address(host: str, port: int) -> str:
    """Answer the address of a host, where the port is free."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no such host"
        message = f"Cannot listen on {host} port {port}: {reason}. Set HOST or PORT, for example PORT=8001."
        raise CommandFailed(message, EXIT_SETTINGS) from error
    return str(address[0])


def _leave_interrupts_to_the_parent() -> None:
    """Have workers born deaf to Ctrl-C, which the terminal sends to them too: the parent ends them, once."""
    interrupt = {signal.SIGINT}
    os.register_at_fork(
        before=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, interrupt),
        after_in_parent=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, interrupt),
        # Nor may one that is not ready yet do with the parent's word to end what the parent does: note it, and go on.
        after_in_child=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL),
    )


def _say_what_to_open(settings: Settings, host: str, port: int) -> None:
    base = local_url(host, port)
    click.echo(f"QuoteAPI is at {base}, until Ctrl-C. Open in a browser, or in another terminal:\n")
    example = "919028000001" if settings.gateway == "console" else "<your number>"
    for request, meaning in (
        (f"{base}/daily", "the quote of the day"),
        (f"{base}/random", "another one each time"),
        (f"{base}/quotes?q=hope", "the catalogue, searched"),
        (f"-d mobile={example} {base}/subscribe", "the quote of the day by SMS"),
        (f"{base}/health", "whether all is well"),
    ):
        click.echo(f"  curl {request:<58}  {meaning}")
    if settings.gateway == "console":
        click.echo("\nNo SMS leaves this machine: each is printed here, and kept for `.venv/bin/quoteapi sms inbox`.")
    else:
        click.echo("\nSMS go out by Amazon SNS, and cost money. `quoteapi doctor` tells whether all is well.")
    click.echo()
