"""The step that delivers events other than requests: tasks, schedules and tokens for the authorizer."""

import json
import time
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import jwt

from quoteapi.time_zones import last_begun_date
from tests.helpers.data import MIRA, wrong_otp
from tests.rehearsal import lambda_events
from tests.rehearsal.aws import AwsRequest
from tests.rehearsal.check_resources import dead_letter_target
from tests.rehearsal.checks import check_contains, check_count, check_equal, check_excludes
from tests.rehearsal.rehearsal import AUDIENCE, FORM, ISSUER, SECRETS, Rehearsal
from tests.rehearsal.runtime import LambdaFunction, Outcome

REPORT_TOPIC = ":UnhandledException"


def events(rehearsal: Rehearsal) -> None:
    """Deliver every kind of event that is not a request."""
    if rehearsal.stage.database:
        _request_otp(rehearsal, "subscribe")
        _subscribe(rehearsal)
    for rule in rehearsal.rules:
        _check_schedule(rehearsal, rule)
    if rehearsal.stage.database:
        _unsubscribe(rehearsal)
    if rehearsal.stage.authorization == "CUSTOM":
        _check_authorizer(rehearsal)


def deliver_task(
    rehearsal: Rehearsal, aws_requests: list[AwsRequest], function: LambdaFunction | None = None
) -> list[Outcome]:
    """Run the one task among the recorded invocations, as Lambda does. Return the outcome of each attempt."""
    tasks = [each for each in aws_requests if each.is_asynchronous]
    check_count("asynchronous invocations", tasks, 1)
    check_equal("the invoked function", tasks[0].path, f"/2015-03-31/functions/{rehearsal.stage.function}/invocations")
    event = json.loads(tasks[0].body)
    check_excludes("the task's payload", tasks[0].body, MIRA[1:], *rehearsal.otps)
    outcomes = (function or rehearsal.function).invoke_event(event)
    target = dead_letter_target(rehearsal)
    if outcomes[-1].error is not None and target is not None:
        rehearsal.aws.send_to_dead_letter_queue(event, target)
    return outcomes


def published_reports(aws_requests: list[AwsRequest]) -> list[str]:
    """Return the error reports among the recorded requests."""
    published = [each for each in aws_requests if each.action == "Publish"]
    return [each.fields["Message"] for each in published if each.fields.get("TopicArn", "").endswith(REPORT_TOPIC)]


def check_success(outcomes: list[Outcome], what: str) -> Any:  # noqa: ANN401 whatever a function returns
    """Return the result of an invocation. Raises `CheckFailed` unless its only attempt succeeded."""
    check_count(f"{what}: attempts", outcomes, 1)
    check_equal(f"{what}: error", outcomes[-1].error, None)
    return outcomes[-1].result


def sms_to_numbers(aws_requests: list[AwsRequest]) -> list[str]:
    """Return the SMS to single numbers among the recorded requests."""
    return [each.fields["Message"] for each in aws_requests if each.is_sms]


def _post_number(rehearsal: Rehearsal, path: str, otp: str = "") -> tuple[int, str, list[AwsRequest]]:
    """Post the number and perhaps an OTP. Return status, body, and the requests to AWS meanwhile."""
    with rehearsal.record_aws_requests() as aws_requests:
        body = f"mobile={quote(MIRA, safe='')}{'&otp=' if otp else ''}{otp}"
        response = rehearsal.send("POST", f"/{path}", body, Content_Type=FORM)
    return response.status, response.text, aws_requests


def _request_otp(rehearsal: Rehearsal, purpose: str) -> None:
    status, text, aws_requests = _post_number(rehearsal, purpose)
    check_equal(f"POST /{purpose}", (status, text if status != 200 else ""), (200, ""))
    check_contains(f"POST /{purpose}", text, f"{rehearsal.base}/{purpose}?mobile=%2B{MIRA[1:]}&otp=xxxxxx")
    with rehearsal.record_aws_requests() as sent:
        check_success(deliver_task(rehearsal, aws_requests), "the task that sends an OTP")
    check_count("SMS with an OTP", sms_to_numbers(sent), 1)
    rehearsal.otps.append(sms_to_numbers(sent)[0][:6])
    check_equal("an OTP", (len(rehearsal.otps[-1]), rehearsal.otps[-1].isdecimal()), (6, True))


def _subscribe(rehearsal: Rehearsal) -> None:
    otp = rehearsal.otps[-1]
    check_equal("POST /subscribe with a wrong OTP", _post_number(rehearsal, "subscribe", wrong_otp(otp))[0], 400)
    status, text, aws_requests = _post_number(rehearsal, "subscribe", otp)
    check_equal("POST /subscribe with the OTP", status, 200)
    check_contains("POST /subscribe with the OTP", text, "You have successfully subscribed")
    with rehearsal.record_aws_requests() as sent:
        check_success(deliver_task(rehearsal, aws_requests), "the task that subscribes")
    check_equal("on the topic", _numbers_on_topic(rehearsal), [MIRA])
    check_count("SMS that confirm the subscription", sms_to_numbers(sent), 1)
    check_contains("the SMS that confirms the subscription", sms_to_numbers(sent)[0], f"{rehearsal.base}/u")
    if rehearsal.stage.database == "DynamoDB":
        check_equal("subscribers in the table", [row["mobile"] for row in rehearsal.subscribers()], [{"S": MIRA}])
        listed = rehearsal.project.quoteapi("--stage", rehearsal.stage.name, "subscribers", "list", "--unmasked")
        check_contains("quoteapi --stage dev subscribers list", listed, MIRA, "active")


def _unsubscribe(rehearsal: Rehearsal) -> None:
    otp = ""
    if rehearsal.stage.database == "PostgreSQL":  # UNSUBSCRIBE_REQUIRES_OTP is set too
        _request_otp(rehearsal, "unsubscribe")
        check_equal("the second OTP to unsubscribe in a minute", _post_number(rehearsal, "unsubscribe")[0], 429)
        otp = rehearsal.otps[-1]
    status, text, aws_requests = _post_number(rehearsal, "unsubscribe", otp)
    check_equal("POST /unsubscribe", status, 200)
    check_contains("POST /unsubscribe", text, "You have successfully unsubscribed")
    check_success(deliver_task(rehearsal, aws_requests), "the task that unsubscribes")
    check_equal("on the topic", _numbers_on_topic(rehearsal), [])


def _numbers_on_topic(rehearsal: Rehearsal) -> list[str]:
    subscriptions = rehearsal.aws.client("sns").list_subscriptions()["Subscriptions"]
    return [each["Endpoint"] for each in subscriptions if each["Protocol"] == "sms"]


def _check_schedule(rehearsal: Rehearsal, rule: dict[str, Any]) -> None:
    """Deliver a rule's event twice, because EventBridge may deliver an event more than once."""
    targets = rehearsal.aws.client("events").list_targets_by_rule(Rule=rule["Name"])["Targets"]
    event = lambda_events.scheduled_event(rule["Arn"], targets[0].get("InputTransformer"))
    with rehearsal.record_aws_requests() as aws_requests:
        first, second = (check_success(rehearsal.function.invoke_event(event), rule["Name"]) for _ in range(2))
    day = last_begun_date(datetime.now(UTC))
    match rule["Name"].rpartition(".")[2]:
        case "set_quote_of_the_day":
            daily = rehearsal.send("GET", f"/daily?date={day}").json
            expected = {"date": str(day), "quote": daily["quote"], "author": daily["author"]}
            check_equal("the daily quote was set to", (first, second), (expected, expected))
        case "publish_quote_of_the_day":
            check_equal("time zones to which a run sent", (first["sent"], second["sent"]), (0, 0))
            check_count("daily SMS", [each for each in aws_requests if each.action == "Publish"], 0)
        case "reconcile_subscriptions":
            check_equal("reconciling failed", first.get("failed", 0), 0)
        case "keep_warm_callback":
            check_equal("keep-warm returns", (first, second), (None, None))


def _check_authorizer(rehearsal: Rehearsal) -> None:
    def authorize(token: str) -> Outcome:
        event = lambda_events.authorizer_event(token, stage=rehearsal.stage.name, api=rehearsal.api_id)
        return rehearsal.function.invoke(event)

    valid = authorize(f"Bearer {_make_token()}")
    check_equal("a valid token: error", valid.error, None)
    check_equal("a valid token: principal", valid.result["principalId"], "mira")
    statement = valid.result["policyDocument"]["Statement"]
    statement = statement[0] if isinstance(statement, list) else statement
    check_equal("a valid token", (statement["Effect"], statement["Action"]), ("Allow", "execute-api:Invoke"))
    resource = json.dumps(statement["Resource"])
    check_contains("a valid token: resource", resource, f":{rehearsal.api_id}/{rehearsal.stage.name}/*")
    now = int(time.time())
    invalid = {
        "signed with another secret": _make_token("signs the tokens of somebody else, 0123456789"),
        "that has expired": _make_token(exp=now - 3_600),
        "for another audience": _make_token(aud="another service"),
        "of another issuer": _make_token(iss="https://evil.example"),
        "that never expires": _make_token(exp=None),
        "that is not a JWT": "nonsense",
    }
    with rehearsal.record_aws_requests() as aws_requests:
        for what, token in invalid.items():
            outcome = authorize(f"Bearer {token}")
            message = (outcome.error or {}).get("errorMessage")
            check_equal(f"a token {what}", (outcome.result, message), (None, "Unauthorized"))
    check_count("error reports of invalid tokens", published_reports(aws_requests), 0)


def _make_token(secret: str = SECRETS["JWT_SECRET"], **claims: object) -> str:
    defaults = {"sub": "mira", "iss": ISSUER, "aud": AUDIENCE, "exp": int(time.time()) + 600}
    given = {name: value for name, value in {**defaults, **claims}.items() if value is not None}
    return jwt.encode(given, secret, "HS256")
