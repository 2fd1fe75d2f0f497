import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from quoteapi.deploy import remote_environment
from quoteapi.deploy.checks.check import Check, CheckFailed
from quoteapi.deploy.checks.zappa_settings_checks import check_stage
from quoteapi.deploy.remote_environment import MAX_ATTEMPTS, add_secret_key
from tests.deploy.conftest import GOOD, REMOTE, describe
from tests.helpers.data import SECRET_KEY
from tests.helpers.upstream_api import UpstreamApi

ChecksOfStage = Callable[..., list[Check]]
URL = "s3://the-bucket/quoteapi-dev.json"
STAGE = {"aws_region": "us-east-1", "remote_env": URL}


@pytest.fixture
def checks_of_stage_on_s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ChecksOfStage:
    """Return a function that checks a stage whose remote environment is on S3, in moto."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)

    def check(url: str = URL) -> list[Check]:
        (tmp_path / "zappa_settings.json").write_text(
            json.dumps({"dev": {**GOOD, "aws_region": "us-east-1", "remote_env": url}})
        )
        return list(check_stage(tmp_path / "zappa_settings.json", "dev"))[2:]

    return check


def upload(content: bytes) -> None:
    s3 = boto3.client("s3", region_name="us-east-1")
    s3.create_bucket(Bucket="the-bucket")
    s3.put_object(Bucket="the-bucket", Key="quoteapi-dev.json", Body=content)


@mock_aws
def test_the_remote_environment_is_read_from_s3(checks_of_stage_on_s3: ChecksOfStage) -> None:
    upload(json.dumps(REMOTE).encode())
    assert [(check.name, check.state) for check in checks_of_stage_on_s3()] == [
        ("remote env", "ok"),
        ("settings", "ok"),
        ("database", "ok"),
    ]


@mock_aws
@pytest.mark.parametrize("content", [b"", b"A=1", b'{"A": "1",}', b"\xff\xff"])
def test_a_remote_environment_that_is_not_json_is_reported(
    checks_of_stage_on_s3: ChecksOfStage, content: bytes
) -> None:
    upload(content)
    (check,) = checks_of_stage_on_s3()
    assert describe(check).startswith(f"wrong: {URL} is not valid JSON")


@mock_aws
def test_a_missing_remote_environment_is_reported(checks_of_stage_on_s3: ChecksOfStage) -> None:
    (check,) = checks_of_stage_on_s3()
    assert describe(check).startswith(
        "wrong: there is no bucket the-bucket To create it, run `quoteapi setup` for the stage."
    )
    upload(b"{}")
    missing, *others = checks_of_stage_on_s3("s3://the-bucket/other.json")
    assert describe(missing).startswith("advice: s3://the-bucket/other.json does not exist yet: `zappa deploy` and")
    assert [check.name for check in others] == ["secret key", "settings", "database"]


@pytest.mark.parametrize(
    "url", ["quoteapi-dev.json", "s3://the-bucket", "s3:///quoteapi-dev.json", "s3://<your-bucket>/quoteapi-dev.json"]
)
def test_a_url_that_zappa_ignores_is_reported(checks_of_stage_on_s3: ChecksOfStage, url: str) -> None:
    (check,) = checks_of_stage_on_s3(url)
    assert describe(check).startswith(f"wrong: remote_env is {url}, which Zappa ignores without a warning")


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (403, "AccessDenied", "wrong: S3 does not allow you to read"),
        (500, "InternalError", "advice: S3 returned"),
    ],
)
def test_an_error_of_s3_is_reported(
    checks_of_stage_on_s3: ChecksOfStage, monkeypatch: pytest.MonkeyPatch, status: int, code: str, expected: str
) -> None:
    s3 = UpstreamApi()
    s3.respond = s3.bytes_response(f"<Error><Code>{code}</Code></Error>".encode(), status)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{s3.host}")
    try:
        (check,) = checks_of_stage_on_s3()
    finally:
        s3.stop()
    assert describe(check).startswith(expected)


def test_a_missing_network_and_missing_credentials_are_told_apart(
    checks_of_stage_on_s3: ChecksOfStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = UpstreamApi()
    gone.stop()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{gone.host}")
    (away,) = checks_of_stage_on_s3()
    assert describe(away).startswith("wrong: S3 cannot be reached")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    (no_credentials,) = checks_of_stage_on_s3()
    assert describe(no_credentials).startswith(
        "wrong: no usable AWS credentials (NoCredentialsError) Run `aws configure`"
    )
    assert "--env-file" in no_credentials.to_do


# ---- a secret key


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Return the client of an emulated S3 with an empty bucket."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket="the-bucket")
        yield client


def put(bucket: Any, content: str, **parameters: str) -> None:  # noqa: ANN401
    bucket.put_object(Bucket="the-bucket", Key="quoteapi-dev.json", Body=content.encode(), **parameters)


def stored(bucket: Any) -> Any:  # noqa: ANN401
    return bucket.get_object(Bucket="the-bucket", Key="quoteapi-dev.json")


def test_a_stage_without_a_file_gets_one_with_a_secret_key(bucket: Any) -> None:  # noqa: ANN401
    assert add_secret_key(STAGE) == URL
    found = stored(bucket)
    values = json.load(found["Body"])
    assert (list(values), len(values["SECRET_KEY"])) == (["SECRET_KEY"], 64)
    assert found["ServerSideEncryption"] == "AES256"
    assert add_secret_key(STAGE) is None
    assert json.load(stored(bucket)["Body"]) == values


def test_all_other_values_and_their_order_stay(bucket: Any) -> None:  # noqa: ANN401
    before = '{"Z": "2", "SECRET_KEY": "", "PUBLIC_URL": "https://bücher.example", "number": 5, "A": "1"}'
    put(bucket, before, ServerSideEncryption="aws:kms", SSEKMSKeyId="our-key")
    assert add_secret_key(STAGE) == URL
    found = stored(bucket)
    values = json.load(found["Body"])
    assert list(values) == list(json.loads(before))
    assert values | {"SECRET_KEY": ""} == json.loads(before)
    assert (found["ServerSideEncryption"], found["SSEKMSKeyId"]) == ("aws:kms", "our-key")


@pytest.mark.parametrize(
    ("name", "owner"), [("quoteapi-123456789012-us-east-1", b"123456789012"), ("the-bucket", None)]
)
def test_secrets_go_only_to_a_bucket_of_the_account_that_its_name_has(
    bucket: Any,  # noqa: ANN401
    name: str,
    owner: bytes | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def record(params: dict[str, Any], **_: object) -> None:
        owners.append(params["headers"].get("x-amz-expected-bucket-owner"))

    def create_client(stage: dict[str, Any]) -> Any:  # noqa: ANN401
        created = original(stage)
        created.meta.events.register("before-call", record)
        return created

    owners: list[bytes | None] = []
    original = remote_environment._client
    monkeypatch.setattr(remote_environment, "_client", create_client)
    if owner is not None:
        bucket.create_bucket(Bucket=name)
    add_secret_key({"aws_region": "us-east-1", "remote_env": f"s3://{name}/quoteapi-dev.json"})
    assert owners == [owner and owner.decode()] * 2, "reading and writing"


@pytest.mark.parametrize("place", ["remote", "environment_variables", "aws_environment_variables"])
def test_a_secret_key_that_is_set_anywhere_is_kept(bucket: Any, place: str) -> None:  # noqa: ANN401
    values = {"SECRET_KEY": SECRET_KEY}
    put(bucket, json.dumps(values if place == "remote" else {}))
    etag = stored(bucket)["ETag"]
    assert add_secret_key(STAGE | {place: values}) is None
    assert stored(bucket)["ETag"] == etag


def test_a_secret_key_of_the_file_stays_if_the_stage_overrides_it_by_an_empty_one(bucket: Any) -> None:  # noqa: ANN401
    put(bucket, json.dumps({"SECRET_KEY": SECRET_KEY}))
    assert add_secret_key(STAGE | {"environment_variables": {"SECRET_KEY": ""}}) is None
    assert json.load(stored(bucket)["Body"]) == {"SECRET_KEY": SECRET_KEY}


@pytest.mark.parametrize("before", [None, "{}"])
@pytest.mark.parametrize("other", ["SECRET_KEY", "SMS_DAILY_CAP"])
def test_a_value_that_another_operator_writes_meanwhile_stays(
    bucket: Any,  # noqa: ANN401
    before: str | None,
    other: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def write_first(_: int) -> str:
        if len(generated) == 0:
            put(bucket, json.dumps({other: "5"}))
        generated.append(f"key-{len(generated)}")
        return generated[-1]

    generated: list[str] = []
    if before is not None:
        put(bucket, before)
    monkeypatch.setattr("secrets.token_urlsafe", write_first)
    is_key = other == "SECRET_KEY"
    assert add_secret_key(STAGE) == (None if is_key else URL)
    assert json.load(stored(bucket)["Body"]) == {other: "5"} | ({} if is_key else {"SECRET_KEY": "key-1"})


def test_a_file_that_changes_all_the_time_is_given_up(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ANN401
    def write_first(_: int) -> str:
        writes.append("again")
        put(bucket, json.dumps({"writes": writes}))
        return SECRET_KEY

    writes: list[str] = []
    monkeypatch.setattr("secrets.token_urlsafe", write_first)
    with pytest.raises(CheckFailed, match="changes all the time"):
        add_secret_key(STAGE)
    assert json.load(stored(bucket)["Body"]) == {"writes": ["again"] * MAX_ATTEMPTS}
