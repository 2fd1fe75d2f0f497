"""The command `quoteapi serve`."""

import os

import click
from peewee import OperationalError

from quoteapi.cli.root import main, one_line
from quoteapi.cli.server_process import find_free_address, run_server
from quoteapi.settings import Settings, load_settings, local_url
from quoteapi.storage import database


@main.command()
@click.option("--host", help="The address to listen on [setting HOST; default: 127.0.0.1].")
@click.option("--port", type=click.IntRange(1, 65_535), help="The port to listen on [setting PORT; default: 8000].")
@click.option("--workers", type=click.IntRange(1, 1_024), help="Processes [setting WORKERS; default: one a core].")
def serve(host: str | None, port: int | None, workers: int | None) -> None:
    """Serve the quotes over HTTP, until Ctrl-C."""
    settings = load_settings(os.environ)
    host, port = host or settings.host, port or settings.port
    cores = os.cpu_count() or 1
    try:
        database.connect(settings).close()  # fail here, before any worker starts, if it is misconfigured
    except OperationalError as error:  # may be temporary, and quotes can be served from the bundled catalogue
        reason = one_line(error)
        click.echo(f"The database is away, so there are only the quotes of the shipped catalogue: {reason}", err=True)
    address = find_free_address(host, port)
    os.environ.update(HOST=host, PORT=str(port))  # workers read them for the URLs in SMS
    _print_welcome(settings, host, port)
    run_server(address, port, workers or settings.workers or cores, thread_count(cores))


def thread_count(cores: int) -> int:
    """Return the threads of a worker: more than the cores, because some wait for the database."""
    return min(8, max(5, 2 * cores + 1))


def _print_welcome(settings: Settings, host: str, port: int) -> None:
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
