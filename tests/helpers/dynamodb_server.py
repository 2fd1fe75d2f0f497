"""moto's DynamoDB in a process of its own, which handles one request at a time, so that each request is atomic.

`python -m tests.helpers.dynamodb_server` writes its port to stdout. It exits when its stdin is closed, which also
happens when the parent process dies.
"""

import atexit
import io
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from itertools import count
from threading import Thread
from typing import TYPE_CHECKING

import pytest

from quoteapi.settings import ROOT
from quoteapi.storage import dynamodb_table
from quoteapi.storage.dynamodb import Table

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

REGION = "us-east-1"
on_every_engine = pytest.mark.parametrize("database_url", ["sqlite", "postgresql", "dynamodb"], indirect=True)
"""For tests of what SQLite, PostgreSQL and DynamoDB have in common."""
_numbers = count()


class RawBody(io.BytesIO):
    """The body of a response that a test makes in place of the server."""

    def stream(self, **_: object) -> Iterator[bytes]:
        """Yield the body, as urllib3 does."""
        yield self.read()


@cache
def environment() -> dict[str, str]:
    """Start the server of this process. Return the environment variables with which boto3 uses it."""
    command = [sys.executable, "-m", "tests.helpers.dynamodb_server"]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert server.stdin is not None
    assert server.stdout is not None
    atexit.register(server.wait)
    atexit.register(server.stdin.close)
    return {
        "AWS_ENDPOINT_URL_DYNAMODB": f"http://127.0.0.1:{int(server.stdout.readline())}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
    }


@cache
def client() -> "DynamoDBClient":
    """Return a client that the tests share."""
    return Table("-", REGION).client


def new_table() -> Table:
    """Return a table that does not exist yet."""
    table = Table(f"test-{os.getpid()}-{next(_numbers)}", REGION)
    table.__dict__["client"] = client()  # as if it were created on first use, which takes longer
    return table


def create_table() -> Table:
    """Create a table, as `set_up_table` does, but with few requests."""
    table = new_table()
    dynamodb_table._create_table(table)
    dynamodb_table._create_first_items(table)
    return table


def _serve() -> None:
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app  # noqa: PLC0415 takes long
    from werkzeug.serving import make_server  # noqa: PLC0415

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=False)
    Thread(target=server.serve_forever, daemon=True).start()
    print(server.port, flush=True)  # noqa: T201
    sys.stdin.read()


if __name__ == "__main__":
    _serve()
