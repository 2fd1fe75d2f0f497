import importlib.metadata
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest
from click.testing import CliRunner, Result
from moto import mock_aws
from zappa.cli import ZappaCLI
from zappa.core import Zappa

from quoteapi.cli.root import main
from quoteapi.deploy import zappa_settings
from quoteapi.deploy.check import Check, CheckFailed
from quoteapi.deploy.zappa_settings import (
    PLACEHOLDER,
    ZAPPA_SETTINGS,
    check_stage,
    find_problems,
    known_keys,
    read_stage,
)
from quoteapi.settings import ROOT, SETTING_NAMES
from tests.helpers.data import SECRET_KEY
from tests.helpers.processes import python
from tests.helpers.upstream_api import UpstreamApi

STAGES = json.loads(ZAPPA_SETTINGS.read_text())
STAGES["base"]["runtime"] = f"python{sys.version_info.major}.{sys.version_info.minor}"  # whichever runs the tests
TEMPLATE = ROOT / "docs/remote-env.json"
REMOTE = {
    "DATABASE_URL": "postgresql://me:pw@db.example.org:5432/quoteapi",
    "SECRET_KEY": SECRET_KEY,
    "SMS_ALLOWED_REGIONS": "IN",
    "PUBLIC_URL": "https://quotes.example.org",
}
TOKENS = {"JWT_SECRET": SECRET_KEY, "JWT_ISSUER": "us", "JWT_AUDIENCE": "you"}
GOOD = {
    "debug": False,
    "log_level": "WARNING",
    "app_function": "quoteapi.app.api",
    "exception_handler": "quoteapi.aws.error_reports.unhandled_exceptions",
}

Looked = Callable[..., list[Check]]


def without_brackets(value: Any) -> Any:  # noqa: ANN401 a JSON document
    """Fill in every placeholder, with its own words."""
    return json.loads(re.sub(r"<([^<>\"]+)>", r"\1", json.dumps(value).replace("<account-id>", "123456789012")))


@pytest.fixture
def looked(tmp_path: Path) -> Looked:
    """Look at a good stage with changes, and with a remote environment from a file. Answers what is not well."""

    def look(remote: Any = None, **changes: Any) -> list[Check]:  # noqa: ANN401
        (tmp_path / "zappa_settings.json").write_text(json.dumps({"dev": GOOD | changes}))
        (tmp_path / "remote.json").write_text(json.dumps(REMOTE if remote is None else remote))
        found = check_stage(tmp_path / "zappa_settings.json", "dev", tmp_path / "remote.json")
        return [check for check in found if check.state != "ok"]

    return look


def told(check: Check) -> str:
    return f"{check.state}: {check.found} {check.to_do}"


# ---- the stage


@pytest.mark.parametrize("stage", STAGES)
def test_what_is_in_the_project_is_well_once_it_is_filled_in(stage: str, tmp_path: Path) -> None:
    path, remote = tmp_path / "zappa_settings.json", tmp_path / "remote.json"
    filled = without_brackets(STAGES)
    path.write_text(json.dumps(filled))
    remote.write_text(json.dumps(REMOTE | (TOKENS if "authorizer" in filled[stage] else {})))
    assert [told(check) for check in check_stage(path, stage, remote) if check.state != "ok"] == []


def test_every_placeholder_of_the_project_is_named(tmp_path: Path) -> None:
    for stage in STAGES:
        named = " ".join(check.found for check in find_problems(ZAPPA_SETTINGS, stage))
        settings = json.dumps(read_stage(ZAPPA_SETTINGS, stage))
        assert sorted(set(PLACEHOLDER.findall(named))) == sorted(set(PLACEHOLDER.findall(settings)))


def test_a_stage_is_what_zappa_makes_of_it(tmp_path: Path) -> None:
    path = tmp_path / "zappa_settings.json"
    path.write_text(
        json.dumps(
            {
                "a": {"debug": True, "tags": {"a": "1"}, "memory_size": 128},
                "b": {"extends": "a", "tags": {"b": "2"}, "debug": None},
                "c": {"extends": "b", "memory_size": 512},
                "d": {"extends": ""},
            }
        )
    )
    for stage in "abcd":
        zappa = ZappaCLI()
        zappa.api_stage = stage
        zappa.load_settings_file(str(path))
        assert read_stage(path, stage) == zappa.stage_config


@pytest.mark.parametrize(
    ("text", "stage", "found", "to_do"),
    [
        ("{}", "dev", "there is no stage dev", "There are none."),
        ('{"prod": {}, "test": {}}', "prd", "there is no stage prd", "Did you mean prod?"),
        ('{"a": {"extends": "b"}}', "a", "there is no stage b, which a extends", "There are a."),
        ('{"a": {"extends": "b"}, "b": {"extends": "a"}}', "a", "a extends itself: a extends b extends a", ""),
        ('{"a": []}', "a", "there is no stage a", ""),
        ("[]", "a", "zappa_settings.json has no stages", ""),
        ('{"a": {},}', "a", "zappa_settings.json is no JSON: ", "Mend it"),
        ("[" * 100_000, "a", "zappa_settings.json is no JSON: ", "Mend it"),
    ],
)
def test_a_stage_that_cannot_be_read_is_told(text: str, stage: str, found: str, to_do: str, tmp_path: Path) -> None:
    path = tmp_path / "zappa_settings.json"
    path.write_text(text)
    (check,) = find_problems(path, stage)
    assert check.state == "wrong"
    assert check.found.startswith(found)
    assert check.to_do.startswith(to_do)
    assert list(check_stage(path, stage)) == [check]
    with pytest.raises(CheckFailed):
        read_stage(tmp_path / "nowhere.json", stage)


# ---- placeholders


def test_a_placeholder_is_named_by_its_path(looked: Looked) -> None:
    found = looked(
        s3_bucket="<your-bucket>",
        vpc_config={"SubnetIds": ["subnet-1", "<subnet>"], "SecurityGroupIds": []},
        environment_variables={"CORS_ORIGINS": "https://<a.example>,https://<b.example>"},
        tags={"team": {"of": ["<us>"]}},
    )
    assert [(check.name, check.state, check.found) for check in found] == [
        ("placeholder", "wrong", "s3_bucket still has <your-bucket>"),
        ("placeholder", "wrong", "vpc_config.SubnetIds[1] still has <subnet>"),
        ("placeholder", "wrong", "environment_variables.CORS_ORIGINS still has <a.example>, <b.example>"),
        ("placeholder", "wrong", "tags.team.of[0] still has <us>"),
    ]
    assert "aws s3 mb" in found[0].to_do
    assert "aws ec2 describe-subnets" in found[1].to_do
    assert "whose web pages may call the API" in found[2].to_do


def test_a_named_group_of_an_expression_is_no_placeholder(looked: Looked) -> None:
    authorizer = {"function": "quoteapi.aws.authorizer.authorize", "validation_expression": "^(?<a>B)(?P<b>.*)$"}
    assert looked(REMOTE | TOKENS, authorizer=authorizer) == []


# ---- keys


def test_every_key_that_zappa_documents_is_known() -> None:
    manual = importlib.metadata.metadata("zappa").get_payload()  # type: ignore[attr-defined]
    advanced = manual.split("## Advanced Settings")[1].split("```\n")[0]
    documented = re.findall(r'^ {8}"(\w+)" ?:', advanced, re.MULTILINE)
    assert len(documented) > 80
    assert set(documented) <= known_keys()["stage"]
    of_authorizer = re.split(r'^ {8}"authorizer": \{', advanced, flags=re.MULTILINE)[1].split("}")[0]
    assert set(re.findall(r'^ +"(\w+)":', of_authorizer, re.MULTILINE)) <= known_keys()["authorizer"]


def test_the_keys_of_events_and_their_sources_are_known() -> None:
    assert known_keys()["event"] >= {"name", "function", "expression", "expressions", "event_source", "kwargs"}
    assert known_keys()["event_source"] >= {"arn", "events", "batch_size", "enabled", "filters", "prefix"}
    assert "debug" not in known_keys()["event_source"]
    assert known_keys()["callbacks"] == {"settings", "zip", "post"}


@pytest.mark.parametrize(
    ("changes", "found", "to_do"),
    [
        ({"log_levle": "ERROR"}, "log_levle", "Did you mean log_level?"),
        ({"Timeout_Seconds": 9}, "Timeout_Seconds", "Did you mean timeout_seconds?"),
        ({"frobnicate": 1}, "frobnicate", "Remove it: Zappa ignores it in silence."),
        ({"vpc_config": {"SubnetIDs": []}}, "vpc_config.SubnetIDs", "Did you mean SubnetIds?"),
        ({"callbacks": {"zipped": "quoteapi.deploy.package.finish"}}, "callbacks.zipped", "Did you mean zip?"),
        (
            {"events": [{"functoin": "quoteapi.aws.schedulers.x", "expression": "rate(1 day)"}]},
            "events[0].functoin",
            "Did you mean function?",
        ),
        (
            {"events": [{"function": "quoteapi.aws.error_reports.unhandled_exceptions", "event_source": {"arm": "x"}}]},
            "events[0].event_source.arm",
            "Did you mean arn?",
        ),
    ],
)
def test_a_misspelt_key_is_found_and_what_was_meant(
    looked: Looked, changes: dict[str, Any], found: str, to_do: str
) -> None:
    check = next(check for check in looked(**changes) if check.name == "key")
    assert check == ("key", "wrong", f"{found} is no key that Zappa knows", to_do)


@pytest.mark.parametrize(
    ("place", "name", "expected"),
    [
        ("environment_variables", "CORS_ORIGIN", "wrong: .* Did you mean CORS_ORIGINS?"),
        ("aws_environment_variables", "mashape_api_endpoint", "wrong: .* Did you mean Mashape_API_Endpoint?"),
        ("environment_variables", "FROBNICATE", "advice: .* Remove it"),
        ("environment_variables", "STAGE", "wrong: .* is set by itself Remove it."),
        ("environment_variables", "INSTANTIATE_LAMBDA_HANDLER_ON_IMPORT", "wrong: .* too late Move it"),
    ],
)
def test_a_setting_that_is_none_is_found(looked: Looked, place: str, name: str, expected: str) -> None:
    (check,) = [check for check in looked(**{place: {name: "true"}}) if check.name == "name"]
    assert check.found.startswith(f"{place}: {name}")
    assert re.match(expected.replace("?", r"\?"), told(check))


def test_what_aws_and_zappa_read_may_be_set(looked: Looked) -> None:
    names = ("INSTANTIATE_LAMBDA_HANDLER_ON_IMPORT", "AWS_XRAY_CONTEXT_MISSING", "PYTHONUTF8", "TZ")
    assert looked(aws_environment_variables=dict.fromkeys(names, "1")) == []


def test_a_secret_does_not_belong_in_a_file_that_is_committed(looked: Looked) -> None:
    found = looked({}, environment_variables=REMOTE, aws_environment_variables={"X_Mashape_Key": "s3cret"})
    secrets = [check for check in found if check.name == "secret"]
    assert [check.found.split(" is ")[0] for check in secrets] == [
        "environment_variables: DATABASE_URL",
        "environment_variables: SECRET_KEY",
        "aws_environment_variables: X_Mashape_Key",
    ]
    assert {check.state for check in secrets} == {"wrong"}
    assert not any(secret in told(check) for check in found for secret in ("s3cret", SECRET_KEY, "pw@"))


def test_a_file_on_a_disk_is_no_secret(looked: Looked) -> None:
    on_disk = {"DATABASE_URL": "sqlite:////mnt/efs/quotes.db"}
    assert [check.name for check in looked(environment_variables=on_disk)] == ["database"]


# ---- values


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"debug": True}, "wrong: debug is on"),
        ({"log_level": "INFO"}, "wrong: log_level lets whole requests"),
        ({"log_level": "QUIET"}, "wrong: log_level lets whole requests"),
        ({"runtime": "python3.8"}, "wrong: runtime is python3.8, and this is"),
        ({"apigateway_version": "v2"}, "wrong: apigateway_version is not v1"),
        ({"cache_cluster_enabled": True}, "wrong: cache_cluster_enabled"),
        ({"exception_handler": None}, "advice: no exception_handler"),
        ({"api_key": "abc"}, "advice: api_key: nobody is asked for it"),
        ({"domain": "q.example.org"}, "wrong: domain has no certificate"),
        ({"certificate_arn": "arn:aws:acm:eu-west-1:1:certificate/1"}, "wrong: certificate_arn is of another region"),
        ({"domain": "https://q.example.org", "certificate": "x"}, "wrong: domain is https://"),
        ({"authorizer": {"type": "TOKEN", "arn": "x"}}, "wrong: authorizer.type breaks the deploy"),
        ({"authorizer": {"result_ttl": 1}}, "wrong: authorizer names no function"),
        ({"authorizer": {"arn": "x"}, "iam_authorization": True}, "wrong: authorizer is ignored"),
        ({"events": {}}, "wrong: events is not what Zappa reads Write it as a list"),
        (
            {"environment_variables": "A=1"},
            "wrong: environment_variables is not what Zappa reads Write it as an object",
        ),
    ],
)
def test_a_value_that_does_not_fit_is_told(looked: Looked, changes: dict[str, Any], expected: str) -> None:
    assert [check for check in looked(**changes) if told(check).startswith(expected)]
    assert not [check for check in looked() if told(check).startswith(expected)]


def test_what_zappa_does_by_default_is_told_too(tmp_path: Path) -> None:
    path = tmp_path / "zappa_settings.json"
    path.write_text('{"dev": {}}')
    assert [check.found.split()[0] for check in find_problems(path, "dev")] == ["debug", "log_level", "no"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"app_function": "quoteapi.app.app"}, "app_function: quoteapi.app has no app"),
        ({"app_function": "app"}, "app_function: it names no function"),
        (
            {"exception_handler": "quoteapi.aws.error_reports.everything"},
            "exception_handler: quoteapi.aws.error_reports has no everything",
        ),
        (
            {"authorizer": {"function": "quoteapi.auth.authorize"}},
            "authorizer.function: quoteapi.auth cannot be imported",
        ),
        ({"callbacks": {"zip": "quoteapi.deploy.package.zap"}}, "callbacks.zip: quoteapi.deploy.package has no zap"),
        ({"events": [{"expression": "rate(1 day)"}]}, "events[0].function: it names no function"),
        ({"exception_handler": "broken.at_once"}, "exception_handler: broken cannot be imported (ZeroDivisionError: "),
    ],
)
def test_a_function_that_cannot_be_imported_is_told(
    looked: Looked, changes: dict[str, Any], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    (check,) = [check for check in looked(**changes) if check.name == "function"]
    assert check.state == "wrong"
    assert check.found.startswith(expected)


def test_looking_at_the_app_does_not_make_it(tmp_path: Path) -> None:
    script = "import sys; from quoteapi.deploy.zappa_settings import *; find_problems(ZAPPA_SETTINGS, 'dev')"
    ran = python("-c", f"{script}; print('api' in vars(sys.modules['quoteapi.app']))")
    assert ran.stdout == "False\n", ran.stderr


def test_neither_falcon_nor_the_database_is_needed_to_be_asked() -> None:
    script = (
        "import quoteapi.deploy.zappa_settings, sys;"
        "print(sorted({'falcon', 'boto3', 'quoteapi.storage.models'} & set(sys.modules)))"
    )
    assert python("-c", script).stdout == "[]\n"


# ---- events


def event(**changes: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"function": "quoteapi.aws.schedulers.reconcile_subscriptions", "expression": "rate(1 hour)", **changes}


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([event(), event()], "events[1] has the name of events[0]"),
        ([event(name="a"), event(name="b"), event(name="a")], "events[2] has the name of events[0]"),
        ([event(name="a" * 16)], "events[0]: its name and function are 64 characters together"),
        ([event(name="a b")], "events[0].name has a character"),
        ([event(function="quoteapi.re-do")], "events[0].function has a character"),
        ([event(expression="rate(1 hours)")], "events[0]: EventBridge does not understand rate(1 hours)"),
        ([event(expression="cron(0 2 * * *)")], "events[0]: EventBridge does not understand cron(0 2 * * *)"),
        (
            [event(expression=None, expressions=["rate(1 day)", "daily"])],
            "events[0]: EventBridge does not understand daily",
        ),
        ([event(expression=None)], "events[0] never happens"),
        (["daily"], "events[0] never happens"),
    ],
)
def test_an_event_that_loses_the_schedules_is_told(looked: Looked, events: list[Any], expected: str) -> None:
    found = [check for check in looked(events=events) if check.name == "event"]
    assert found
    assert {check.state for check in found} == {"wrong"}
    assert found[0].found.startswith(expected)


def test_good_events_are_good(looked: Looked) -> None:
    twice = event(name="b", expression=None, expressions=["rate(2 days)", "cron(0 2 ? * MON-FRI *)"])
    stream = {
        "function": "quoteapi.aws.schedulers.reconcile_subscriptions",
        "event_source": {"arn": "arn:aws:sqs:x:1:q"},
    }
    assert looked(events=[event(), event(name="a" * 9), twice, stream]) == []


@pytest.mark.parametrize("changes", [{}, {"name": "a"}, {"name": "a" * 19}, {"name": "quoteapi.x"}])
@pytest.mark.parametrize("index", [0, 1, 11])
def test_a_rule_is_named_as_zappa_names_it(changes: dict[str, str], index: int) -> None:
    rule = zappa_settings._rule_name(event(**changes), index)
    named: Callable[[], str] = lambda: Zappa(load_credentials=False).get_scheduled_event_name(  # noqa: E731
        event(**changes), event()["function"], "q", index
    )
    if len(rule) > 63:
        with pytest.raises(OSError, match="too long"):
            named()
    else:
        assert named().endswith(f"-{rule}")


# ---- the remote environment


def test_the_template_names_settings_only_and_is_well_once_it_is_filled_in(looked: Looked) -> None:
    template = json.loads(TEMPLATE.read_text())
    assert set(template) <= set(SETTING_NAMES)
    found = looked(template, authorizer={"arn": "x"})
    assert {check.found.split()[0] for check in found} == {name for name, value in template.items() if "<" in value}
    assert all(check.to_do.startswith('"" leaves it out. ') for check in found)
    words = {"SMS_ALLOWED_REGIONS": "IN,US", "SECRET_KEY": SECRET_KEY, "JWT_SECRET": SECRET_KEY}
    assert looked(without_brackets(template) | words, authorizer={"arn": "x"}) == []
    assert [told(check)[:20] for check in looked(dict.fromkeys(template, ""))] == ["advice: quotes only:"]


@pytest.mark.parametrize(
    ("remote", "expected"),
    [
        (["a"], "wrong: remote.json is not one JSON object"),
        (REMOTE | {"SMS_DAILY_CAP": 5}, "wrong: remote env: SMS_DAILY_CAP is no text, and Zappa drops it"),
        (REMOTE | {"UNSUBSCRIBE_REQUIRES_OTP": True}, "wrong: remote env: UNSUBSCRIBE_REQUIRES_OTP is no text"),
        (
            REMOTE | {"SMS_SENDER": "QUOTES"},
            "wrong: remote env: SMS_SENDER is no setting of QuoteAPI Did you mean SMS_S",
        ),
        (REMOTE | {"SMS_DAILY_CAP": "many"}, "wrong: remote env: SMS_DAILY_CAP must be a whole number"),
        (REMOTE | {"SECRET_KEY": ""}, "wrong: SECRET_KEY must be set on Lambda"),
        (REMOTE | {"SMS_ALLOWED_REGIONS": ""}, "wrong: SMS_ALLOWED_REGIONS must be set"),
        (REMOTE | {"SMS_ALLOWED_REGIONS": "IN,XX"}, "wrong: SMS_ALLOWED_REGIONS has XX, which is no country"),
        (REMOTE | {"aws_access_key_id": "a"}, "wrong: aws_access_key_id and aws_secret_access_key go together"),
        (REMOTE | {"Mashape_API_Endpoint": "https://a.example"}, "advice: Mashape_API_Endpoint has no key"),
        (REMOTE | {"X_Mashape_Key": "a"}, "advice: X_Mashape_Key is for nothing"),
        (REMOTE | TOKENS | {"JWT_ISSUER": ""}, "wrong: Bearer tokens need JWT_ISSUER"),
        (REMOTE | {"XRAY_TRACING": "true"}, "wrong: XRAY_TRACING without xray_tracing"),
        ({}, "advice: quotes only: every container"),
    ],
)
def test_what_is_wrong_with_the_remote_environment_is_told(looked: Looked, remote: Any, expected: str) -> None:  # noqa: ANN401
    (check,) = looked(remote)
    assert told(check).startswith(expected)


def test_the_stages_own_settings_win_over_the_remote_ones(looked: Looked) -> None:
    wrong, right = {"SMS_GATEWAY": "console"}, {"SMS_GATEWAY": "sns"}
    assert looked(REMOTE | wrong, environment_variables=right) == []
    assert looked(REMOTE | right, aws_environment_variables=wrong) == []
    assert [check.name for check in looked(REMOTE | right, environment_variables=wrong)] == ["settings"]


def test_the_address_people_know_must_be_the_domain(looked: Looked) -> None:
    at = {"domain": "q.example.org", "certificate_arn": "arn:aws:acm:us-east-1:123456789012:certificate/1"}
    assert [told(check) for check in looked(REMOTE | {"PUBLIC_URL": ""}, **at)] == [
        "advice: SMS do not say where to leave Set PUBLIC_URL to https://q.example.org."
    ]
    (other,) = looked(REMOTE | {"PUBLIC_URL": "https://other.example.org"}, **at)
    assert other.state == "wrong"
    assert looked(REMOTE | {"PUBLIC_URL": "https://q.example.org/"}, **at) == []
    assert looked(REMOTE | {"PUBLIC_URL": "https://q.example.org/v1"}, base_path="v1", **at) == []


def test_an_authorizer_needs_something_to_check_tokens_by(looked: Looked) -> None:
    (check,) = looked(authorizer={"function": "quoteapi.aws.authorizer.authorize"})
    assert told(check).startswith("wrong: the authorizer has nothing to check tokens by")


def test_no_secret_of_the_remote_environment_is_shown(looked: Looked) -> None:
    secrets = {
        "SECRET_KEY": "s3cret",
        "DATABASE_URL": "s3cret://<host>",
        "JWT_SECRET": "s3cret",
        "X_Mashape_Ke": "s3cret",
    }
    for name, value in secrets.items():
        assert not any("s3cret" in told(check) for check in looked(REMOTE | {name: value}))


# ---- S3

URL = "s3://the-bucket/quoteapi-dev.json"


@pytest.fixture
def on_s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Looked:
    """Look at a stage whose remote environment is on S3, as moto has it."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)

    def look(url: str = URL) -> list[Check]:
        (tmp_path / "zappa_settings.json").write_text(
            json.dumps({"dev": {**GOOD, "aws_region": "us-east-1", "remote_env": url}})
        )
        return list(check_stage(tmp_path / "zappa_settings.json", "dev"))[2:]

    return look


def upload(content: bytes) -> None:
    s3 = boto3.client("s3", region_name="us-east-1")
    s3.create_bucket(Bucket="the-bucket")
    s3.put_object(Bucket="the-bucket", Key="quoteapi-dev.json", Body=content)


@mock_aws
def test_the_remote_environment_is_read_from_s3(on_s3: Looked) -> None:
    upload(json.dumps(REMOTE).encode())
    assert [(check.name, check.state) for check in on_s3()] == [
        ("remote env", "ok"),
        ("settings", "ok"),
        ("database", "ok"),
    ]


@mock_aws
@pytest.mark.parametrize("content", [b"", b"A=1", b'{"A": "1",}', b"\xff\xff"])
def test_a_remote_environment_that_is_no_json_is_told(on_s3: Looked, content: bytes) -> None:
    upload(content)
    (check,) = on_s3()
    assert told(check).startswith(f"wrong: {URL} is no JSON")


@mock_aws
def test_a_remote_environment_that_is_not_there_is_told(on_s3: Looked) -> None:
    (check,) = on_s3()
    assert told(check).startswith(f"wrong: there is no {URL}: the service would start without it")
    upload(b"{}")
    (check,) = on_s3("s3://the-bucket/other.json")
    assert check.to_do.startswith("aws s3 cp FILE s3://the-bucket/other.json")


@pytest.mark.parametrize("url", ["quoteapi-dev.json", "s3://the-bucket", "s3:///quoteapi-dev.json"])
def test_an_address_that_zappa_ignores_is_told(on_s3: Looked, url: str) -> None:
    (check,) = on_s3(url)
    assert told(check).startswith(f"wrong: remote_env is {url}, which Zappa ignores in silence")


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (403, "AccessDenied", "wrong: S3 lets you not read"),
        (500, "InternalError", "advice: not looked at: S3 answered"),
    ],
)
def test_what_s3_refuses_is_told(
    on_s3: Looked, monkeypatch: pytest.MonkeyPatch, status: int, code: str, expected: str
) -> None:
    s3 = UpstreamApi()
    s3.answer = s3.with_bytes(f"<Error><Code>{code}</Code></Error>".encode(), status)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{s3.host}")
    try:
        (check,) = on_s3()
    finally:
        s3.stop()
    assert told(check).startswith(expected)


def test_without_a_network_or_credentials_the_rest_is_looked_at(on_s3: Looked, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = UpstreamApi()
    gone.stop()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{gone.host}")
    (away,) = on_s3()
    assert told(away).startswith("wrong: not looked at: S3 cannot be reached")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    (nobody,) = on_s3()
    assert told(nobody).startswith(
        "wrong: not looked at: no AWS credentials can be used (NoCredentialsError) Run `aws configure`"
    )
    assert "--env-file" in nobody.to_do


# ---- the command


def doctor(*words: str) -> Result:
    return CliRunner().invoke(main, ["doctor", *words])


def test_the_doctor_names_what_is_to_be_filled_in() -> None:
    looked = doctor("--stage", "prod")
    assert looked.exit_code == 1
    assert looked.stdout.startswith("✓ stage        prod of zappa_settings.json\n✗ placeholder  s3_bucket still has <")
    as_json = json.loads(doctor("--stage", "prod", "--json").stdout)
    assert {check["state"] for check in as_json} == {"ok", "wrong", "advice"}


def test_the_doctor_looks_at_a_file_before_it_is_uploaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remote, settings = tmp_path / "remote.json", tmp_path / "zappa_settings.json"
    remote.write_text(json.dumps(REMOTE))
    settings.write_text(json.dumps(without_brackets(STAGES)))
    monkeypatch.setattr(zappa_settings, "ZAPPA_SETTINGS", settings)
    well = doctor("--stage", "dev", "--env-file", str(remote))
    assert well.exit_code == 0, well.stdout
    assert re.findall(r"^(.) (\w+)", well.stdout, re.MULTILINE) == [
        *(("✓", "stage"), ("✓", "file"), ("✓", "remote"), ("✓", "settings"), ("✓", "database"))
    ]
    remote.write_text(json.dumps(REMOTE | {"SECRET_KEY": "short"}))
    assert doctor("--stage", "dev", "--env-file", str(remote)).exit_code == 1


def test_an_environment_goes_with_a_stage() -> None:
    alone = doctor("--env-file", str(TEMPLATE))
    assert alone.exit_code == 2
    assert "goes with --stage" in alone.stderr


@pytest.mark.parametrize("name", ["PGPASSWORD", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"])
def test_what_others_keep_secret_does_not_belong_there_either(looked: Looked, name: str) -> None:
    (check,) = looked(environment_variables={name: "hunter2horse"})
    assert told(check).startswith(f"wrong: environment_variables: {name} is a secret")
    assert "hunter2horse" not in told(check)


def test_of_a_secret_that_looks_like_a_placeholder_nothing_is_shown(looked: Looked) -> None:
    (check,) = looked(REMOTE | {"SECRET_KEY": "begin<hunter2horse>end"})
    assert told(check).startswith("wrong: SECRET_KEY still has <…>")
    assert "hunter2horse" not in told(check)


def test_failures_on_purpose_are_not_for_everybody(looked: Looked) -> None:
    settings = {"domain": "quotes.example.org", "certificate_arn": "arn:aws:acm:us-east-1:123456789012:certificate/a"}
    remote = REMOTE | {"ASYNC_FAILURE": "true", "PUBLIC_URL": "https://quotes.example.org"}
    (check,) = looked(remote, **settings)
    assert told(check).startswith("advice: ASYNC_FAILURE is on")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"memory_size": "512"}, 'memory_size is "512" Write a number, without quotes.'),
        ({"keep_warm": "no"}, 'keep_warm is "no" Write true or false.'),
        ({"aws_region": "eu-central"}, "aws_region is eu-central Write a region"),
        ({"s3_bucket": "My_Bucket"}, "s3_bucket is My_Bucket Write small letters"),
        ({"dead_letter_arn": "arn:aws:sqs:us-east-1:12345:failures"}, "Write an ARN, with the account's 12 digits"),
        ({"architecture": "arm64"}, "architecture is not x86_64"),
        ({"cors": True}, "cors answers for all origins"),
    ],
)
def test_a_value_that_zappa_or_aws_would_choke_on_is_named(looked: Looked, changed: dict[str, Any], said: str) -> None:
    (check,) = looked(**changed)
    assert check.state == "wrong"
    assert said in told(check)


@pytest.mark.parametrize("place", ["environment_variables", "remote env"])
def test_each_setting_that_cannot_be_read_is_named_at_once(looked: Looked, place: str) -> None:
    wrong = {"PUBLIC_URL": "quotes.example.org", "CORS_ORIGINS": "www.example.org"}
    found = looked(REMOTE | wrong) if place == "remote env" else looked(environment_variables=wrong)
    told_of = [check.found for check in found if check.found.startswith(place)]
    assert [said.split(" must be ")[0] for said in told_of] == [f"{place}: PUBLIC_URL", f"{place}: CORS_ORIGINS"]


def test_where_nobody_said_at_what_address_the_service_is_sms_do_not_say_where_to_leave(looked: Looked) -> None:
    (check,) = looked(REMOTE | {"PUBLIC_URL": ""})
    assert told(check).startswith("advice: SMS do not say where to leave Set PUBLIC_URL")


def test_traces_that_show_no_calls_are_told(looked: Looked) -> None:
    (check,) = looked(xray_tracing=True)
    assert told(check).startswith("advice: xray_tracing without XRAY_TRACING")
