import json
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

import boto3
import certifi
import click
import pytest
from moto import mock_aws

from quoteapi.cli import main
from quoteapi.cli.root import STAGE_COMMANDS
from quoteapi.container import Container
from quoteapi.deploy import operated_stage, zappa_settings
from quoteapi.settings import ROOT, Settings
from quoteapi.storage import database
from quoteapi.subscriptions.dispatcher import InlineDispatcher
from tests.cli.conftest import CLIENT_IP, Command
from tests.deploy.conftest import GOOD, REMOTE
from tests.helpers import postgresql_server
from tests.helpers.data import MIRA, NOON, SECRET_KEY
from tests.helpers.sns_emulator import count_people, published, sent_to, subscribed_numbers, subscribed_to

REGION = "eu-west-1"
BUCKET = "our-bucket"
PutRemote = Callable[..., None]
DYNAMODB = {"SECRET_KEY": SECRET_KEY, "SMS_ALLOWED_REGIONS": "IN"}


@pytest.fixture
def put_remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PutRemote]:
    """Return a function that writes the remote environment of the stage `test`, in an emulated AWS account."""
    stage = {
        **GOOD,
        "project_name": "quoteapi",
        "aws_region": REGION,
        "remote_env": f"s3://{BUCKET}/quoteapi-test.json",
    }
    path = tmp_path / "zappa_settings.json"
    path.write_text(json.dumps({"test": stage}))
    for module in (operated_stage, zappa_settings):
        monkeypatch.setattr(module, "ZAPPA_SETTINGS", path)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)
    count_people(monkeypatch)

    def put(**values: str) -> None:
        s3 = boto3.client("s3", region_name="us-east-1")
        s3.create_bucket(Bucket=BUCKET)
        s3.put_object(Bucket=BUCKET, Key="quoteapi-test.json", Body=json.dumps(values).encode())

    with mock_aws():
        yield put


@pytest.fixture
def table(put_remote: PutRemote, quoteapi: Command) -> Container:
    """Return the container of the stage `test`, whose state is in a new table."""
    put_remote(**DYNAMODB)
    assert quoteapi("--stage", "test", "db", "migrate").returncode == 0
    container = Container(operated_stage.load_stage_settings("test"))
    container.dispatcher = InlineDispatcher(container.subscriptions.send_otp, container.topic_sync.sync)
    return container


def subscribe(container: Container, mobile: str) -> None:
    container.subscriptions.request_otp(mobile, "subscribe", CLIENT_IP, container.dispatcher)
    container.subscriptions.subscribe(mobile, sent_to(mobile)[-1][:6], CLIENT_IP, container.dispatcher)


def leaf_commands(group: click.Group = main, prefix: str = "") -> Iterator[str]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from leaf_commands(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}"


ARGUMENTS = {
    "quotes add": ["x", "--author", "y", "--category", "z"],
    "quotes import": ["-"],
    "db copy": ["sqlite:///a.db", "sqlite:///b.db"],
    "completion": ["bash"],
    "policy": ["dev"],
    "setup": ["dev"],
    "teardown": ["dev"],
}


@pytest.mark.parametrize("command", sorted(set(leaf_commands()) - set(STAGE_COMMANDS)))
def test_a_command_that_makes_no_sense_on_a_stage_is_a_usage_error(quoteapi: Command, command: str) -> None:
    refused = quoteapi("--stage", "test", *command.split(), *ARGUMENTS.get(command, []))
    assert (refused.returncode, refused.stdout) == (2, "")
    assert f"Error: {command} does not work with --stage. These commands do: db migrate, db status" in refused.stderr


def test_the_table_of_the_stage_is_created_in_its_region(table: Container, quoteapi: Command) -> None:
    tables = [boto3.client("dynamodb", region_name=name).list_tables()["TableNames"] for name in (REGION, "us-east-1")]
    assert tables == [["quoteapi-test"], []]
    shown = quoteapi("--stage", "test", "db", "status")
    assert shown.returncode == 0
    assert shown.stdout.startswith("dynamodb://quoteapi-test\n")


def test_subscribers_of_the_stage_are_listed_exported_and_removed(
    table: Container, quoteapi: Command, tmp_path: Path
) -> None:
    subscribe(table, MIRA)
    assert (
        json.loads(quoteapi("--stage", "test", "subscribers", "list", "--json", "--unmasked").stdout)[0]["mobile"]
        == MIRA
    )
    assert quoteapi("subscribers", "list", "--json").stdout == "[]\n", "of this machine"
    assert quoteapi("--stage", "test", "subscribers", "export", str(tmp_path / "people.csv")).returncode == 0
    assert "active" in (tmp_path / "people.csv").read_text()
    removed = quoteapi("--stage", "test", "subscribers", "remove", MIRA, "--yes")
    assert (removed.returncode, subscribed_numbers()) == (0, [])
    assert "Stage test, dynamodb://quoteapi-test:\n" in removed.stderr
    assert quoteapi("--stage", "test", "subscribers", "list", "--json").stdout == "[]\n"


def test_sms_of_the_stage_are_switched_off_and_on(table: Container, quoteapi: Command) -> None:
    stopped = quoteapi("--stage", "test", "sms", "stop")
    assert stopped.stderr == "Stage test, dynamodb://quoteapi-test:\n"
    assert "quoteapi --stage test sms start`" in stopped.stdout
    assert table.state.sms_disabled_at() is not None
    assert quoteapi("--stage", "test", "sms", "start").returncode == 0
    assert table.state.sms_disabled_at() is None


def test_the_daily_sms_of_the_stage_is_sent_once(
    table: Container, quoteapi: Command, set_clock: Callable[[datetime], None]
) -> None:
    set_clock(NOON)  # no quiet hours in Kolkata
    subscribe(table, MIRA)
    assert quoteapi("--stage", "test", "reconcile").returncode == 0
    before = len(published())
    for option in ([], [], ["--due"]):
        assert quoteapi("--stage", "test", "publish", *option).returncode == 0
    assert len(published()) == before + 1
    shown = quoteapi("--stage", "test", "publish", "--status")
    assert "Asia/Kolkata  2026-11-22  sent" in shown.stdout
    assert "--stage test publish --due`) last ran on 2026-11-22 at 12:00 UTC." in shown.stdout


def test_a_subscriber_of_the_stage_is_moved_to_a_time_zone(table: Container, quoteapi: Command) -> None:
    subscribe(table, MIRA)
    moved = quoteapi("--stage", "test", "subscribers", "set-time-zone", "Pacific/Auckland", MIRA)
    assert (moved.returncode, moved.stdout[:7]) == (0, "Moved. ")
    assert subscribed_to(f"{REGION}:DailyQuoteSubscription-quoteapi-test-Pacific-Auckland") == [MIRA]


def test_nothing_comes_from_the_settings_of_this_machine(
    table: Container, quoteapi: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("SMS_ALLOWED_REGIONS=GB\nPUBLIC_URL=https://mine.example\n")
    monkeypatch.setattr("quoteapi.settings.loader.DOTENV", tmp_path / ".env")
    machine = {"PORT": "http", "SMS_GATEWAY": "console", "DATABASE_URL": "sqlite:////nowhere/at/all.db"}
    assert quoteapi("--stage", "test", "subscribers", "list", **machine).returncode == 0
    assert operated_stage.load_stage_settings("test") == Settings(
        secret_key=SECRET_KEY, sms_allowed_regions=frozenset({"IN"}), lambda_function="quoteapi-test"
    )


def test_a_profile_of_the_stage_comes_before_credentials_in_the_environment(
    table: Container, quoteapi: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "credentials").write_text("[mine]\naws_access_key_id = theirs\naws_secret_access_key = theirs\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    path = zappa_settings.ZAPPA_SETTINGS
    stages = json.loads(path.read_text())
    path.write_text(json.dumps({"test": stages["test"] | {"profile_name": "mine"}}))
    operated_stage.load_stage_settings("test")
    for session in (boto3.Session(), boto3._get_default_session()):
        found = session.get_credentials()
        assert found is not None
        assert (found.access_key, session.region_name) == ("theirs", REGION)


@pytest.mark.parametrize(
    ("stage", "values", "expected"),
    [
        ("test", {"SMS_ALLOWED_REGIONS": "IN"}, "The stage test serves quotes only, so it has no subscribers."),
        ("test", DYNAMODB | {"SMS_DAILY_CAP": "many"}, "SMS_DAILY_CAP must be a whole number"),
        ("test", DYNAMODB, "there is no DynamoDB table quoteapi-test; `quoteapi --stage test db migrate` creates it"),
        ("test", None, f"Stage test: there is no bucket {BUCKET}. To create it, run `quoteapi setup` for the stage."),
        ("tset", DYNAMODB, "Stage tset: there is no stage tset. Did you mean test?"),
    ],
)
def test_a_stage_that_cannot_be_used_stops_a_command_with_a_sentence(
    put_remote: PutRemote, quoteapi: Command, stage: str, values: dict[str, str] | None, expected: str
) -> None:
    if values is not None:
        put_remote(**values)
    stopped = quoteapi("--stage", stage, "subscribers", "list")
    assert (stopped.returncode, stopped.stdout) == (3, "")
    assert expected in stopped.stderr.replace(f"{ROOT}/.venv-dev/bin/", "")


def test_a_stage_with_postgresql_is_reached_and_migrated_only_on_demand(
    put_remote: PutRemote, quoteapi: Command
) -> None:
    with postgresql_server.create_database(with_tables=False) as url:
        put_remote(**REMOTE | {"DATABASE_URL": url})
        refused = quoteapi("--stage", "test", "subscribers", "list")
        assert (refused.returncode, "has no tables of QuoteAPI" in refused.stderr) == (3, True)
        assert quoteapi("--stage", "test", "db", "migrate").returncode == 0
        assert quoteapi("--stage", "test", "subscribers", "list", "--json").stdout == "[]\n"


def test_a_command_does_not_migrate_the_postgresql_database_of_a_stage(
    put_remote: PutRemote, quoteapi: Command
) -> None:
    with postgresql_server.create_database() as url:
        put_remote(**REMOTE | {"DATABASE_URL": url})
        with database.open_database(Settings(database_url=url)) as opened:
            opened.execute_sql("DELETE FROM schema_migration WHERE name = '0006_otp_purposes'")
        refused = quoteapi("--stage", "test", "subscribers", "list")
        assert (refused.returncode, "missing migrations: 0006_otp_purposes" in refused.stderr) == (3, True)
        assert database.missing_migrations(Settings(database_url=url)) == ["0006_otp_purposes"]


def test_certificates_of_the_package_are_those_of_this_machine(put_remote: PutRemote) -> None:
    for in_package, here in (("certifi/cacert.pem", certifi.where()), ("quoteapi/rds.pem", f"{ROOT}/quoteapi/rds.pem")):
        url = "postgresql://me:pw@db.example:5432/quoteapi?sslmode=verify-full&sslrootcert="
        put_remote(**REMOTE | {"DATABASE_URL": f"{url}/var/task/{in_package}"})
        assert operated_stage.load_stage_settings("test").database_url == f"{url}{quote(here)}"


def test_doctor_takes_the_stage_before_or_after_its_name(put_remote: PutRemote, quoteapi: Command) -> None:
    put_remote(**REMOTE)
    before, after = quoteapi("--stage", "test", "doctor"), quoteapi("doctor", "--stage", "test")
    assert (before.returncode, before.stdout) == (0, after.stdout)
    assert "PostgreSQL" in before.stdout
    assert quoteapi("--stage", "test", "doctor", "--stage", "other").returncode == 2


def test_with_a_dynamodb_table_no_quote_can_be_added_and_there_is_no_inbox(quoteapi: Command, tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text("quote,author,category\nTry again.,Me,wit\n")
    settings = {**DYNAMODB, "DATABASE_URL": "dynamodb://quoteapi-test?region=eu-west-1", "SMS_GATEWAY": "sns"}
    for words in (
        ["quotes", "add", "Try again.", "--author", "Me", "--category", "wit"],
        ["quotes", "import", "new.csv"],
    ):
        refused = quoteapi(*words, **settings)
        assert (refused.returncode, refused.stdout) == (3, "")
        assert "bundled catalogue, which is read-only. To add quotes" in refused.stderr
    refused = quoteapi("sms", "inbox", **settings)
    assert (refused.returncode, "there is no inbox" in refused.stderr) == (1, True)
