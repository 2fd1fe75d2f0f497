from typing import Any

import pytest

from tests.deploy.conftest import REMOTE, TOKENS, ProblemsOf, describe


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
        "advice: SMS do not say where to leave Set PUBLIC_URL to https://q.example.org."
    ]
    (other,) = problems_of(REMOTE | {"PUBLIC_URL": "https://other.example.org"}, **at)
    assert other.state == "wrong"
    assert problems_of(REMOTE | {"PUBLIC_URL": "https://q.example.org/"}, **at) == []
    assert problems_of(REMOTE | {"PUBLIC_URL": "https://q.example.org/v1"}, base_path="v1", **at) == []


def test_a_missing_public_url_is_reported(problems_of: ProblemsOf) -> None:
    (check,) = problems_of(REMOTE | {"PUBLIC_URL": ""})
    assert describe(check).startswith("advice: SMS do not say where to leave Set PUBLIC_URL")


def test_an_authorizer_without_settings_for_tokens_is_reported(problems_of: ProblemsOf) -> None:
    (check,) = problems_of(authorizer={"function": "quoteapi.aws.authorizer.authorize"})
    assert describe(check).startswith("wrong: the authorizer has nothing to check tokens by")


def test_deliberate_failures_on_a_public_domain_are_reported(problems_of: ProblemsOf) -> None:
    settings = {"domain": "quotes.example.org", "certificate_arn": "arn:aws:acm:us-east-1:123456789012:certificate/a"}
    remote = REMOTE | {"ASYNC_FAILURE": "true", "PUBLIC_URL": "https://quotes.example.org"}
    (check,) = problems_of(remote, **settings)
    assert describe(check).startswith("advice: ASYNC_FAILURE is on")


def test_tracing_without_its_setting_is_reported(problems_of: ProblemsOf) -> None:
    (check,) = problems_of(xray_tracing=True)
    assert describe(check).startswith("advice: xray_tracing without XRAY_TRACING")
