"""The step that breaks what can break, and checks that the failure is reported, retried and logged."""

import json

from tests.helpers.data import MIRA
from tests.rehearsal import lambda_events
from tests.rehearsal.aws import AwsRequest
from tests.rehearsal.check_events import deliver_task, published_reports
from tests.rehearsal.check_requests import check_problem
from tests.rehearsal.checks import CheckFailed, check_contains, check_count, check_equal, check_excludes
from tests.rehearsal.rehearsal import FORM, Rehearsal
from tests.rehearsal.runtime import ASYNC_ATTEMPTS


def failures(rehearsal: Rehearsal) -> None:
    """Break what can break, and check where the failure shows."""
    _fail_task(rehearsal)
    _send_malformed_event(rehearsal)
    if rehearsal.stage.database == "PostgreSQL":
        _remove_table(rehearsal)
    _start_with_wrong_settings(rehearsal)
    _start_without_settings(rehearsal)
    if rehearsal.stage.is_traced:
        _check_traces(rehearsal)
    _check_log(rehearsal)


def _check_report(rehearsal: Rehearsal, aws_requests: list[AwsRequest], what: str, *expected: str) -> None:
    reports = published_reports(aws_requests)
    check_count(f"error reports of {what}", reports, 1)
    check_contains(f"the error report of {what}", reports[0], rehearsal.stage.name, "Traceback", *expected)
    check_excludes(f"the error report of {what}", reports[0], MIRA[1:], *rehearsal.otps, *rehearsal.secrets)


def _fail_task(rehearsal: Rehearsal) -> None:
    with rehearsal.record_aws_requests() as reported:
        if rehearsal.stage.has_async_failure:
            with rehearsal.record_aws_requests() as aws_requests:
                check_equal("GET /async-failure", rehearsal.send("GET", "/async-failure").status, 202)
            outcomes = deliver_task(rehearsal, aws_requests)
        else:
            task = {"task_path": "quoteapi.aws.tasks.async_fail", "args": [], "kwargs": {}}
            event = {**task, "command": "zappa.asynchronous.route_lambda_task"}
            outcomes = rehearsal.function.invoke_event(event)
    check_count("attempts of a failing task", outcomes, ASYNC_ATTEMPTS)
    for outcome in outcomes:
        check_contains("a failing task", str(outcome.error), "DeliberateFailure")
    _check_report(rehearsal, reported, "a failing task", "DeliberateFailure", "async_fail")
    if rehearsal.stage.has_async_failure:
        dead_letters = rehearsal.aws.dead_letters(rehearsal.stage.queue)
        check_count("dead letters", dead_letters, 1)
        check_contains("the dead letter", dead_letters[0], "quoteapi.aws.tasks.async_fail")


def _send_malformed_event(rehearsal: Rehearsal) -> None:
    """Send a malformed request event: Zappa fails before it calls the app."""
    url = f"{rehearsal.base}/daily"
    event = lambda_events.api_gateway_event("GET", url, stage=rehearsal.stage.name, api=rehearsal.api_id)
    event["path"] = None
    with rehearsal.record_aws_requests() as reported:
        outcome = rehearsal.function.invoke(event)
    check_equal("a malformed event", (outcome.error, outcome.result["statusCode"]), (None, 500))
    check_excludes("a malformed event", outcome.result["body"], "Traceback", "TypeError")
    _check_report(rehearsal, reported, "a malformed event")
    check_equal("GET /daily after that", rehearsal.send("GET", "/daily").status, 200)


def _remove_table(rehearsal: Rehearsal) -> None:
    """Rename a table: a responder fails, and Falcon's error handler responds."""
    import psycopg  # noqa: PLC0415 only here

    database_url = rehearsal.remote_environment["DATABASE_URL"]
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("ALTER TABLE author RENAME TO author_away")
        with rehearsal.record_aws_requests() as reported:
            check_problem(rehearsal, 500, "Internal server error", "GET", "/authors")
        _check_report(rehearsal, reported, "a missing table", "UndefinedTable", "/authors")
        connection.execute("ALTER TABLE author_away RENAME TO author")
    check_equal("GET /authors after that", rehearsal.send("GET", "/authors").status, 200)


def _start_with_wrong_settings(rehearsal: Rehearsal) -> None:
    """Start a container with a wrong setting in the remote environment: it must exit at once and say why."""
    valid = rehearsal.remote_environment
    rehearsal.put_remote_environment({**valid, "DATABASE_URL": "postgresql://mira:pass-word-77@db.example/a b"})
    with rehearsal.start_container("broken") as function:
        if function.wait_for_exit() == 0:
            raise CheckFailed("a function with wrong settings exited with code 0")
        check_contains("a function with wrong settings", function.read_log(), "Error: DATABASE_URL must be")
        check_excludes("a function with wrong settings", function.read_log(), "pass-word-77")
    rehearsal.put_remote_environment(valid)


def _start_without_settings(rehearsal: Rehearsal) -> None:
    """Start a container with an empty remote environment: it serves quotes, and says what subscribing needs."""
    rehearsal.put_remote_environment({})
    with rehearsal.start_container("without-settings") as function:
        check_equal("GET /daily without settings", rehearsal.send_to(function, "GET", "/daily").status, 200)
        refused = rehearsal.send_to(function, "POST", "/subscribe", f"mobile={MIRA[1:]}", Content_Type=FORM)
        check_equal("POST /subscribe without settings", refused.status, 503)
        check_contains("POST /subscribe without settings", refused.text, "SMS_ALLOWED_REGIONS", "SECRET_KEY")
    rehearsal.put_remote_environment(rehearsal.remote_environment)


def _check_traces(rehearsal: Rehearsal) -> None:
    """Check that there is a subsegment of each kind of call: to AWS, over HTTP, and to the database."""
    segments = rehearsal.daemon.segments
    found = {(each.get("name"), each.get("namespace"), "sql" in each) for each in segments}
    upstream = rehearsal.upstream.host.partition(":")[0]
    database = str(rehearsal.function.folder / "quoteapi.db")
    expected = {("sns", "aws", False), (upstream, "remote", False), (database, "remote", True)}
    if missing := expected - found:
        raise CheckFailed(f"there is no subsegment {missing}; there are {found}")
    check_excludes("subsegments", json.dumps(segments), MIRA[1:], *rehearsal.secrets)


def _check_log(rehearsal: Rehearsal) -> None:
    """Check that the log has no personal data or secret, and that the package's files are unchanged."""
    log = rehearsal.function.read_log()
    check_excludes("the log", log, MIRA[1:], MIRA[3:], *rehearsal.otps, *rehearsal.secrets, "otp=")
    check_equal("files that the function wrote into its package", rehearsal.changed_files(), [])
