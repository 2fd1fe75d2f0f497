import re
from typing import Any

import pytest

from quoteapi.deploy.zappa_settings import PLACEHOLDER, ZAPPA_SETTINGS
from tests.deploy.conftest import REMOTE, TOKENS, ProblemsOf, describe
from tests.helpers.data import SECRET_KEY


@pytest.mark.parametrize(
    ("remote", "expected"),
    [
        (["a"], "wrong: remote.json is not a JSON object"),
        (REMOTE | {"SMS_DAILY_CAP": 5}, "wrong: remote env: SMS_DAILY_CAP is not a string, so Zappa ignores it"),
        (REMOTE | {"UNSUBSCRIBE_REQUIRES_OTP": True}, "wrong: remote env: UNSUBSCRIBE_REQUIRES_OTP is not a string"),
        (
            REMOTE | {"SMS_SENDER": "QUOTES"},
            "wrong: remote env: SMS_SENDER is not a setting of QuoteAPI Did you mean SMS_S",
        ),
        (REMOTE | {"SMS_DAILY_CAP": "many"}, "wrong: remote env: SMS_DAILY_CAP must be a whole number"),
        (REMOTE | {"SECRET_KEY": ""}, "wrong: SECRET_KEY must be set on Lambda"),
        (REMOTE | {"SMS_ALLOWED_REGIONS": ""}, "wrong: SMS_ALLOWED_REGIONS must be set"),
        (REMOTE | {"SMS_ALLOWED_REGIONS": "IN,XX"}, "wrong: SMS_ALLOWED_REGIONS has XX, which is not a country"),
        (REMOTE | {"aws_access_key_id": "a"}, "wrong: Set both aws_access_key_id and aws_secret_access_key"),
        (REMOTE | {"Mashape_API_Endpoint": "https://a.example"}, "advice: Mashape_API_Endpoint is set without a key"),
        (REMOTE | {"X_Mashape_Key": "a"}, "advice: X_Mashape_Key is not used"),
        (REMOTE | TOKENS | {"JWT_ISSUER": ""}, "wrong: Bearer tokens need JWT_ISSUER"),
        (REMOTE | {"XRAY_TRACING": "true"}, "wrong: XRAY_TRACING is set without xray_tracing"),
        ({}, "advice: quotes only: nobody can subscribe For SMS, set SMS_ALLOWED_REGIONS"),
        (
            {"DATABASE_URL": "sqlite:////tmp/a.db", "SECRET_KEY": SECRET_KEY, "SMS_ALLOWED_REGIONS": "IN"},
            "advice: quotes only: nobody can subscribe For SMS, remove DATABASE_URL",
        ),
    ],
)
def test_a_problem_of_the_remote_environment_is_reported(problems_of: ProblemsOf, remote: Any, expected: str) -> None:  # noqa: ANN401
    (check,) = problems_of(remote)
    assert describe(check).startswith(expected)


def test_environment_variables_override_the_remote_environment_and_that_the_rest(problems_of: ProblemsOf) -> None:
    wrong, right = {"SMS_GATEWAY": "console"}, {"SMS_GATEWAY": "sns"}
    assert problems_of(REMOTE | wrong, environment_variables=right) == []
    assert problems_of(REMOTE | right, aws_environment_variables=wrong) == []
    assert [check.name for check in problems_of(REMOTE | right, environment_variables=wrong)] == ["settings"]


def test_public_url_must_be_the_url_of_the_domain(problems_of: ProblemsOf) -> None:
    at = {"domain": "q.example.org", "certificate_arn": "arn:aws:acm:us-east-1:123456789012:certificate/1"}
    assert [describe(check) for check in problems_of(REMOTE | {"PUBLIC_URL": ""}, **at)] == [
        "advice: SMS do not link to the unsubscribe page Set PUBLIC_URL to https://q.example.org."
    ]
    (other,) = problems_of(REMOTE | {"PUBLIC_URL": "https://other.example.org"}, **at)
    assert other.state == "wrong"
    assert problems_of(REMOTE | {"PUBLIC_URL": "https://q.example.org/"}, **at) == []
    assert problems_of(REMOTE | {"PUBLIC_URL": "https://q.example.org/v1"}, base_path="v1", **at) == []


def test_a_missing_public_url_is_reported(problems_of: ProblemsOf) -> None:
    (check,) = problems_of(REMOTE | {"PUBLIC_URL": ""})
    assert describe(check).startswith("advice: SMS do not link to the unsubscribe page Set PUBLIC_URL")


def test_an_authorizer_without_settings_for_tokens_is_reported(problems_of: ProblemsOf) -> None:
    (check,) = problems_of(authorizer={"function": "quoteapi.aws.authorizer.authorize"})
    assert describe(check).startswith("wrong: the authorizer rejects all requests: no JWT settings")


def test_deliberate_failures_on_a_public_domain_are_reported(problems_of: ProblemsOf) -> None:
    settings = {"domain": "quotes.example.org", "certificate_arn": "arn:aws:acm:us-east-1:123456789012:certificate/a"}
    remote = REMOTE | {"ASYNC_FAILURE": "true", "PUBLIC_URL": "https://quotes.example.org"}
    (check,) = problems_of(remote, **settings)
    assert describe(check).startswith("advice: ASYNC_FAILURE is on")


def test_tracing_without_its_setting_is_reported(problems_of: ProblemsOf) -> None:
    (check,) = problems_of(xray_tracing=True)
    assert describe(check).startswith("advice: xray_tracing is set without XRAY_TRACING")


def test_the_settings_of_the_project_have_no_placeholder() -> None:
    assert PLACEHOLDER.findall(ZAPPA_SETTINGS.read_text()) == []


def test_a_placeholder_is_reported_with_its_path(problems_of: ProblemsOf) -> None:
    found = problems_of(
        project_name="<your-name>",
        vpc_config={"SubnetIds": ["subnet-1", "<subnet>"], "SecurityGroupIds": ["sg-1"]},
        environment_variables={"CORS_ORIGINS": "https://<a.example>,https://<b.example>"},
        tags={"team": {"of": ["<us>"]}},
    )
    assert [(check.name, check.state, check.found) for check in found] == [
        ("placeholder", "wrong", "project_name still has <your-name>"),
        ("placeholder", "wrong", "vpc_config.SubnetIds[1] still has <subnet>"),
        ("placeholder", "wrong", "environment_variables.CORS_ORIGINS still has <a.example>, <b.example>"),
        ("placeholder", "wrong", "tags.team.of[0] still has <us>"),
    ]
    assert found[0].to_do == "Write your value."
    assert "whose web pages may call the API" in found[2].to_do


def test_a_named_group_of_a_regular_expression_is_no_placeholder(problems_of: ProblemsOf) -> None:
    authorizer = {"function": "quoteapi.aws.authorizer.authorize", "validation_expression": "^(?<a>B)(?P<b>.*)$"}
    assert problems_of(REMOTE | TOKENS, authorizer=authorizer) == []


def test_a_secret_that_looks_like_a_placeholder_is_not_shown(problems_of: ProblemsOf) -> None:
    (check,) = problems_of(REMOTE | {"SECRET_KEY": "begin<hunter2horse>end"})
    assert describe(check).startswith("wrong: SECRET_KEY still has <…>")
    assert "hunter2horse" not in describe(check)


@pytest.mark.parametrize(
    ("place", "name", "expected"),
    [
        ("environment_variables", "CORS_ORIGIN", "wrong: .* Did you mean CORS_ORIGINS?"),
        ("aws_environment_variables", "mashape_api_endpoint", "wrong: .* Did you mean Mashape_API_Endpoint?"),
        ("environment_variables", "FROBNICATE", "advice: .* Remove it"),
        ("environment_variables", "STAGE", "wrong: .*: Lambda or Zappa sets STAGE itself Remove it."),
        ("environment_variables", "INSTANTIATE_LAMBDA_HANDLER_ON_IMPORT", "wrong: .* too late here Move it"),
    ],
)
def test_an_unknown_or_misplaced_variable_is_reported(
    problems_of: ProblemsOf, place: str, name: str, expected: str
) -> None:
    (check,) = [check for check in problems_of(**{place: {name: "true"}}) if check.name == "name"]
    assert check.found.startswith(f"{place}: ")
    assert name in check.found
    assert re.match(expected.replace("?", r"\?"), describe(check))


def test_variables_that_aws_zappa_or_python_read_are_allowed(problems_of: ProblemsOf) -> None:
    names = ("INSTANTIATE_LAMBDA_HANDLER_ON_IMPORT", "AWS_XRAY_CONTEXT_MISSING", "PYTHONUTF8", "TZ")
    assert problems_of(aws_environment_variables=dict.fromkeys(names, "1")) == []


@pytest.mark.parametrize("place", ["environment_variables", "remote env"])
def test_every_invalid_setting_is_reported_at_once(problems_of: ProblemsOf, place: str) -> None:
    wrong = {"PUBLIC_URL": "quotes.example.org", "CORS_ORIGINS": "www.example.org"}
    found = problems_of(REMOTE | wrong) if place == "remote env" else problems_of(environment_variables=wrong)
    reported = [check.found.split(" must be ")[0] for check in found if check.found.startswith(place)]
    assert reported == [f"{place}: PUBLIC_URL", f"{place}: CORS_ORIGINS"]


def test_a_secret_in_a_committed_file_is_reported(problems_of: ProblemsOf) -> None:
    found = problems_of({}, environment_variables=REMOTE, aws_environment_variables={"X_Mashape_Key": "s3cret"})
    secrets = [check for check in found if check.name == "secret"]
    assert [check.found.split(" is ")[0] for check in secrets] == [
        "environment_variables: DATABASE_URL",
        "environment_variables: SECRET_KEY",
        "aws_environment_variables: X_Mashape_Key",
    ]
    assert {check.state for check in secrets} == {"wrong"}
    assert not any(secret in describe(check) for check in found for secret in ("s3cret", SECRET_KEY, "pw@"))


@pytest.mark.parametrize("name", ["PGPASSWORD", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"])
def test_a_secret_of_libpq_or_aws_in_a_committed_file_is_reported(problems_of: ProblemsOf, name: str) -> None:
    (check,) = problems_of(environment_variables={name: "hunter2horse"})
    assert describe(check).startswith(f"wrong: environment_variables: {name} is a secret")
    assert "hunter2horse" not in describe(check)


def test_the_url_of_a_sqlite_file_is_no_secret(problems_of: ProblemsOf) -> None:
    on_disk = {"DATABASE_URL": "sqlite:////mnt/efs/quotes.db"}
    assert [check.name for check in problems_of(environment_variables=on_disk)] == ["database"]


def test_no_secret_of_the_remote_environment_is_shown(problems_of: ProblemsOf) -> None:
    secrets = {
        "SECRET_KEY": "s3cret",
        "DATABASE_URL": "s3cret://<host>",
        "JWT_SECRET": "s3cret",
        "X_Mashape_Ke": "s3cret",
    }
    for name, value in secrets.items():
        assert not any("s3cret" in describe(check) for check in problems_of(REMOTE | {name: value}))
