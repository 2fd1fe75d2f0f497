"""Runs the command `quoteapi`, in this process or in a new one, and opens its database beside it."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from pathlib import Path

import boto3
import pytest
import requests
from click.testing import CliRunner
from moto.server import ThreadedMotoServer

from quoteapi import clock
from quoteapi.cli import main
from quoteapi.container import Container
from quoteapi.settings import ROOT, read_settings
from quoteapi.storage import database
from quoteapi.storage.models import ConsoleSms, Subscriber, SubscriberCount
from quoteapi.subscriptions.phone import MOBILE_HINT
from tests.helpers.data import UTC_ZONE, latest_otp
from tests.helpers.servers import servers_fixture
from tests.helpers.sns_emulator import count_people

__all__ = ["servers_fixture"]

Command = Callable[..., subprocess.CompletedProcess[str]]

CLIENT_IP = "192.0.2.7"
WHOLE_NUMBER = re.compile(r"(?:91|44)\d{10}")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Return the settings of the command: its own working database, which exists, and no AWS credentials."""
    url = f"sqlite:///{tmp_path}/working.db"
    database.connect(read_settings({"DATABASE_URL": url}))
    return {
        "DATABASE_URL": url,
        "HOME": str(tmp_path),
        "AWS_EC2_METADATA_DISABLED": "true",
    }


@pytest.fixture
def quoteapi(tmp_path: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run the command in this process, in a thread because database connections belong to threads."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str, given: str | bytes = "", **settings: str) -> subprocess.CompletedProcess[str]:
        with ThreadPoolExecutor(1) as thread:
            ran = thread.submit(CliRunner().invoke, main, words, given, environment | settings).result()
        assert ran.exception is None or isinstance(ran.exception, SystemExit), ran.exception
        return checked(subprocess.CompletedProcess(words, ran.exit_code, ran.stdout, ran.stderr))

    return run


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[datetime], None]:
    """Return a function that stops the clock of commands that run in this process."""

    def set_(moment: datetime) -> None:
        for module in ("root", "doctor"):
            monkeypatch.setattr(f"quoteapi.cli.{module}.Container", partial(Container, now=lambda: moment))

    return set_


@pytest.fixture
def quoteapi_process(tmp_path: Path, environment: dict[str, str]) -> Command:
    """Run the command in a new process, as an operator does."""

    def run(*words: str, given: str = "", **settings: str) -> subprocess.CompletedProcess[str]:
        ran = subprocess.run(
            [sys.executable, "-m", "quoteapi", *words],
            input=given,
            capture_output=True,
            encoding="utf-8",
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environment, **settings},
            check=False,
            timeout=60,
        )
        return checked(ran)

    return run


def checked(ran: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    """Check that standard error has neither a traceback nor a whole phone number."""
    assert "Traceback" not in ran.stderr, ran.stderr
    assert not WHOLE_NUMBER.search(ran.stderr.replace(MOBILE_HINT, "")), ran.stderr
    return ran


@pytest.fixture
def working_database(environment: dict[str, str]) -> Iterator[Container]:
    """Open the command's database in this thread too, as a server beside it does."""
    settings = read_settings({"DATABASE_URL": environment["DATABASE_URL"]})
    with database.connect(settings).connection_context():
        yield Container(settings)


@pytest.fixture
def aws_account(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """Serve an empty AWS account on loopback, and return the settings that lead to it."""
    count_people(monkeypatch)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    requests.post(f"http://{host}:{port}/moto-api/reset", timeout=30).raise_for_status()
    yield sns_settings(f"http://{host}:{port}")
    server.stop()


@pytest.fixture
def unreachable_sns() -> Iterator[dict[str, str]]:
    """Return settings that lead to a port where connections are refused."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, but not listening
        yield sns_settings(f"http://127.0.0.1:{unused.getsockname()[1]}")


def sns_settings(endpoint: str) -> dict[str, str]:
    credentials = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
    return {"SMS_GATEWAY": "sns", "SMS_ALLOWED_REGIONS": "IN", "AWS_ENDPOINT_URL": endpoint, **credentials}


def subscribe(container: Container, *mobiles: str) -> None:
    """Subscribe numbers as a user does: request an OTP, read it in the SMS, verify it."""
    for mobile in mobiles:
        container.subscriptions.request_otp(mobile, "subscribe", CLIENT_IP, container.dispatcher)
        container.subscriptions.subscribe(mobile, latest_otp(mobile), CLIENT_IP, container.dispatcher)


def insert_subscriber(mobile: str, **columns: object) -> None:
    """Insert a subscriber, active, in UTC and on the topic unless `columns` say otherwise."""
    now = clock.now()
    row: dict[str, object] = {
        "mobile": mobile,
        "state": "active",
        "time_zone": UTC_ZONE,
        "joined_at": now,
        "topic": "console",
        "subscription_arn": f"console:{mobile}",
    }
    consent = {"asked_at": now, "asked_from": CLIENT_IP, "confirmed_at": now, "confirmed_from": CLIENT_IP}
    row |= {**consent, "welcomed_at": now, **columns}
    Subscriber.insert(row).execute()
    SubscriberCount.update(count=SubscriberCount.count + (row["state"] == "active")).execute()


def set_spend_limit(account: dict[str, str], dollars: int) -> None:
    """Set the monthly SMS spending limit of the fixture `aws_account`."""
    session = boto3.Session(account["aws_access_key_id"], account["aws_secret_access_key"], region_name="us-east-1")
    sns = session.client("sns", endpoint_url=account["AWS_ENDPOINT_URL"])
    sns.set_sms_attributes(attributes={"MonthlySpendLimit": str(dollars)})


def recipients_of_the_daily_sms() -> list[str]:
    return [row.to for row in ConsoleSms.select().where(ConsoleSms.kind == "quote").order_by(ConsoleSms.id)]
