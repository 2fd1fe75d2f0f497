import json
from pathlib import Path
from typing import Any

import pytest

from quoteapi.deploy.checks import zappa_settings_checks
from quoteapi.deploy.checks.zappa_settings_checks import check_stage, find_problems
from quoteapi.deploy.runtimes import how_to_run_on
from tests.deploy.conftest import REMOTE, STAGE_NAMES, STAGES, TOKENS, ProblemsOf, describe, write_project_settings
from tests.helpers.processes import python


@pytest.mark.parametrize("stage", STAGE_NAMES)
def test_each_stage_of_the_project_is_ok_once_it_is_set_up(stage: str, tmp_path: Path) -> None:
    path, remote = write_project_settings(tmp_path), tmp_path / "remote.json"
    remote.write_text(json.dumps(REMOTE | (TOKENS if "authorizer" in STAGES[stage] else {})))
    remote.chmod(0o600)
    assert [describe(check) for check in check_stage(path, stage, remote) if check.state != "ok"] == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"debug": True}, "wrong: debug is on"),
        ({"log_level": "INFO"}, "wrong: log_level is too low: whole requests"),
        ({"log_level": "QUIET"}, "wrong: log_level is too low: whole requests"),
        ({"runtime": "python3.8"}, "wrong: runtime is python3.8, but zappa runs on"),
        ({"apigateway_version": "v2"}, "wrong: apigateway_version is not v1"),
        ({"cache_cluster_enabled": True}, "wrong: cache_cluster_enabled"),
        ({"exception_handler": None}, "advice: no exception_handler"),
        ({"api_key": "abc"}, "advice: api_key is set, but not required"),
        ({"domain": "q.example.org"}, "wrong: domain has no certificate"),
        ({"certificate_arn": "arn:aws:acm:eu-west-1:1:certificate/1"}, "wrong: certificate_arn is in another region"),
        ({"domain": "https://q.example.org", "certificate": "x"}, "wrong: domain is https://"),
        ({"authorizer": {"type": "TOKEN", "arn": "x"}}, "wrong: authorizer.type makes the deploy fail"),
        ({"authorizer": {"result_ttl": 1}}, "wrong: authorizer has no function"),
        ({"authorizer": {"arn": "x"}, "iam_authorization": True}, "wrong: authorizer is ignored"),
        ({"slim_handler": True}, "wrong: slim_handler splits the package"),
        ({"django_settings": "mine.settings"}, "wrong: django_settings is set: Zappa ignores app_function"),
        ({"app_type": "asgi"}, "wrong: app_type is asgi, but the app is WSGI"),
        ({"lambda_handler": "mine.handler"}, "wrong: lambda_handler is mine.handler"),
        ({"app_function": ""}, "wrong: app_function is not set"),
        ({"callbacks": {}}, "wrong: callbacks.settings is not set"),
        ({"callbacks": {"settings": "quoteapi.deploy.zappa_callbacks.prepare"}}, "wrong: callbacks.zip is not set"),
        (
            {"base_path": "quotes"},
            "wrong: base_path is quotes: Zappa removes /quotes from the beginning of /quotes and",
        ),
        ({"events": {}}, "wrong: events has the wrong type Write it as a list"),
        (
            {"environment_variables": "A=1"},
            "wrong: environment_variables has the wrong type Write it as an object",
        ),
    ],
)
def test_an_unsuitable_value_is_reported(problems_of: ProblemsOf, changes: dict[str, Any], expected: str) -> None:
    assert [check for check in problems_of(**changes) if describe(check).startswith(expected)]
    assert not [check for check in problems_of() if describe(check).startswith(expected)]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"memory_size": "512"}, 'memory_size is "512" Write a number, without quotes.'),
        ({"keep_warm": "no"}, 'keep_warm is "no" Write true or false.'),
        ({"aws_region": "eu-central"}, "aws_region is eu-central Write a region"),
        ({"s3_bucket": "My_Bucket"}, "s3_bucket is My_Bucket Write a bucket name of lower-case letters"),
        (
            {"dead_letter_arn": "arn:aws:sqs:us-east-1:12345:failures"},
            "Write an ARN, with the 12 digits of the account",
        ),
        ({"architecture": "aarch64"}, "architecture is aarch64 Write x86_64 or arm64."),
        ({"cors": True}, "cors allows all origins"),
    ],
)
def test_a_value_of_a_wrong_type_or_format_is_reported(
    problems_of: ProblemsOf, changed: dict[str, Any], message: str
) -> None:
    (check,) = problems_of(**changed)
    assert check.state == "wrong"
    assert message in describe(check)


@pytest.mark.parametrize("runtime", ["python3.11", "python3.13"])
def test_a_runtime_other_than_this_python_is_reported_with_both_ways_out(
    problems_of: ProblemsOf, runtime: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = {"python3.11": "python3.13", "python3.13": "python3.11"}[runtime]
    monkeypatch.setattr(zappa_settings_checks, "running_runtime", lambda: running)
    (check,) = problems_of(runtime=runtime)
    assert check.found == f"runtime is {runtime}, but zappa runs on {running}"
    setup = f"To deploy for {running}, run `quoteapi setup STAGE`."
    assert check.to_do == f"{setup} To deploy for {runtime}: {how_to_run_on(runtime)}"


def test_arm64_needs_a_runtime_with_a_recent_glibc(problems_of: ProblemsOf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zappa_settings_checks, "running_runtime", lambda: "python3.11")
    (check,) = problems_of(architecture="arm64")
    assert check.found.startswith("architecture is arm64, and python3.11 has a glibc that is too old")
    assert check.to_do.endswith('Set "runtime": "python3.13", and deploy again. Or set "architecture": "x86_64".')
    monkeypatch.setattr(zappa_settings_checks, "running_runtime", lambda: "python3.13")
    assert problems_of(architecture="arm64") == []


def test_an_unsuitable_default_of_zappa_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "zappa_settings.json"
    path.write_text('{"dev": {}}')
    assert [check.found.split()[0] for check in find_problems(path, "dev")] == [
        *("dev", "debug", "log_level", "no", "app_function", "callbacks.settings", "callbacks.zip", "callbacks.post")
    ]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"app_function": "quoteapi.app.app"}, "app_function: quoteapi.app has no app"),
        ({"app_function": "app"}, "app_function: it does not name a function"),
        (
            {"exception_handler": "quoteapi.aws.error_reports.everything"},
            "exception_handler: quoteapi.aws.error_reports has no everything",
        ),
        (
            {"authorizer": {"function": "quoteapi.auth.authorize"}},
            "authorizer.function: quoteapi.auth cannot be imported",
        ),
        (
            {"callbacks": {"zip": "quoteapi.deploy.zappa_callbacks.zap"}},
            "callbacks.zip: quoteapi.deploy.zappa_callbacks has no zap",
        ),
        ({"events": [{"expression": "rate(1 day)"}]}, "events[0].function: it does not name a function"),
        ({"exception_handler": "broken.at_once"}, "exception_handler: broken cannot be imported (ZeroDivisionError: "),
    ],
)
def test_a_function_that_cannot_be_imported_is_reported(
    problems_of: ProblemsOf, changes: dict[str, Any], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    (check,) = [check for check in problems_of(**changes) if check.name == "function"]
    assert check.state == "wrong"
    assert check.found.startswith(expected)


def test_checking_the_app_function_does_not_create_the_app(tmp_path: Path) -> None:
    script = (
        "import pathlib, sys; from quoteapi.deploy.checks.zappa_settings_checks import find_problems;"
        "find_problems(pathlib.Path('zappa_settings.json'), 'dev');"
        "print('api' in vars(sys.modules['quoteapi.app']))"
    )
    ran = python("-c", script)
    assert ran.stdout == "False\n", ran.stderr


def test_importing_the_checks_imports_neither_falcon_nor_boto3_nor_the_models() -> None:
    script = (
        "import quoteapi.deploy.checks.zappa_settings_checks, sys;"
        "print(sorted({'falcon', 'boto3', 'quoteapi.storage.models'} & set(sys.modules)))"
    )
    assert python("-c", script).stdout == "[]\n"
