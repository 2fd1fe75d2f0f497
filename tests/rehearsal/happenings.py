"""The steps that deliver what is no request: schedules, tasks, tokens; and what fails."""

import json
import time
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import jwt

from tests.rehearsal import events as shapes
from tests.rehearsal.answers import problem
from tests.rehearsal.aws import Asked
from tests.rehearsal.made import dead_letter_target
from tests.rehearsal.rehearsal import AUDIENCE, ISSUER, SECRETS, Rehearsal
from tests.rehearsal.runtime import TRIES, Outcome
from tests.rehearsal.wrong import Wrong, count, holds, lacks, same

MIRA = "+919028000001"
REPORTS = ":UnhandledException"
FORM = "application/x-www-form-urlencoded"


# ---- events


def events(rehearsal: Rehearsal) -> None:
    """Deliver what happens to a function besides requests."""
    if rehearsal.stage.shares_state:
        _ask_for_a_code(rehearsal, "subscribe")
        _subscribe(rehearsal)
    for rule in rehearsal.rules:
        _schedule(rehearsal, rule)
    if rehearsal.stage.shares_state:
        _unsubscribe(rehearsal)
    if rehearsal.stage.authorization == "CUSTOM":
        _authorizer(rehearsal)


def _delivered(rehearsal: Rehearsal, asked: list[Asked]) -> list[Outcome]:
    """Deliver the one task that was handed on meanwhile, as Lambda does. Answer what became of each try."""
    handed = [each for each in asked if each.is_asynchronous]
    count("tasks handed on", handed, 1)
    same("the task is handed to", handed[0].path, f"/2015-03-31/functions/{rehearsal.stage.function}/invocations")
    event = json.loads(handed[0].body)
    lacks("the task says", handed[0].body, MIRA[1:], *rehearsal.codes)
    outcomes = rehearsal.function.invoke_event(event)
    target = dead_letter_target(rehearsal)
    if outcomes[-1].error is not None and target is not None:
        rehearsal.aws.give_up(event, target)
    return outcomes


def _went_well(outcomes: list[Outcome], what: str) -> Any:  # noqa: ANN401 whatever a function answers
    count(f"{what}: tries", outcomes, 1)
    same(f"{what}: error", outcomes[-1].error, None)
    return outcomes[-1].answer


def _sms(asked: list[Asked]) -> list[str]:
    return [each.fields["Message"] for each in asked if each.action == "Publish" and "PhoneNumber" in each.fields]


def _say(rehearsal: Rehearsal, path: str, otp: str = "") -> tuple[int, str, list[Asked]]:
    with rehearsal.watching() as asked:
        body = f"mobile={quote(MIRA, safe='')}{'&otp=' if otp else ''}{otp}"
        answer = rehearsal.ask("POST", f"/{path}", body, Content_Type=FORM)
    return answer.status, answer.text, asked


def _ask_for_a_code(rehearsal: Rehearsal, purpose: str) -> None:
    status, text, asked = _say(rehearsal, purpose)
    same(f"POST /{purpose}", (status, text if status != 200 else ""), (200, ""))
    holds(f"POST /{purpose}", text, f"{rehearsal.base}/{purpose}?mobile=%2B{MIRA[1:]}&otp=xxxxxx")
    with rehearsal.watching() as sent:
        _went_well(_delivered(rehearsal, asked), "the task that sends a code")
    count("SMS with a code", _sms(sent), 1)
    rehearsal.codes.append(_sms(sent)[0][:6])
    same("a code", (len(rehearsal.codes[-1]), rehearsal.codes[-1].isdecimal()), (6, True))


def _subscribe(rehearsal: Rehearsal) -> None:
    wrong = f"{(int(rehearsal.codes[-1]) + 1) % 1_000_000:06}"
    same("POST /subscribe with a wrong code", _say(rehearsal, "subscribe", wrong)[0], 400)
    status, text, asked = _say(rehearsal, "subscribe", rehearsal.codes[-1])
    same("POST /subscribe with the code", status, 200)
    holds("POST /subscribe with the code", text, "You have successfully subscribed")
    with rehearsal.watching() as sent:
        _went_well(_delivered(rehearsal, asked), "the task that subscribes")
    same("on the topic", _on_the_topic(rehearsal), [MIRA])
    count("SMS that say what was agreed to", _sms(sent), 1)
    holds("the SMS that says what was agreed to", _sms(sent)[0], f"{rehearsal.base}/unsubscribe")


def _unsubscribe(rehearsal: Rehearsal) -> None:
    _ask_for_a_code(rehearsal, "unsubscribe")
    same("the third code in a minute", _say(rehearsal, "unsubscribe")[0], 429)
    status, text, asked = _say(rehearsal, "unsubscribe", rehearsal.codes[-1])
    same("POST /unsubscribe with the code", status, 200)
    holds("POST /unsubscribe with the code", text, "You have successfully unsubscribed")
    _went_well(_delivered(rehearsal, asked), "the task that unsubscribes")
    same("on the topic", _on_the_topic(rehearsal), [])


def _on_the_topic(rehearsal: Rehearsal) -> list[str]:
    return [each["Endpoint"] for each in rehearsal.aws.client("sns").list_subscriptions()["Subscriptions"]]


def _schedule(rehearsal: Rehearsal, rule: dict[str, Any]) -> None:
    """Have a rule's time come, twice: EventBridge may deliver an event more than once."""
    targets = rehearsal.aws.client("events").list_targets_by_rule(Rule=rule["Name"])["Targets"]
    event = shapes.of_schedule(rule["Arn"], targets[0].get("InputTransformer"))
    with rehearsal.watching() as asked:
        first, second = (_went_well(rehearsal.function.invoke_event(event), rule["Name"]) for _ in range(2))
    daily = rehearsal.ask("GET", "/daily").json
    shares = rehearsal.stage.shares_state
    match rule["Name"].rpartition(".")[2]:
        case "set_quote_of_the_day":
            wanted = {"date": str(datetime.now(UTC).date()), "quote": daily["quote"], "author": daily["author"]}
            same("the quote of the day was set to", (first, second), (wanted, wanted))
        case "publish_quote_of_the_day":
            same("the SMS of the day went out", (first["sent"], second["sent"]), (shares, False))
            published = [each.fields["Message"] for each in asked if each.action == "Publish"]
            count("SMS of the day", published, 1 if shares else 0)
            if shares:
                holds("the SMS of the day", published[0], daily["quote"], f"{rehearsal.base}/unsubscribe")
        case "reconcile_subscriptions":
            same("reconciling failed", first.get("failed", 0), 0)
        case "keep_warm_callback":
            same("keeping warm answers", (first, second), (None, None))


def _authorizer(rehearsal: Rehearsal) -> None:
    def asked(token: str) -> Outcome:
        event = shapes.of_authorizer(token, stage=rehearsal.stage.name, api=rehearsal.api_id)
        return rehearsal.function.invoke(event)

    right = asked(f"Bearer {_token()}")
    same("a right token: error", right.error, None)
    same("a right token is of", right.answer["principalId"], "mira")
    statement = right.answer["policyDocument"]["Statement"]
    statement = statement[0] if isinstance(statement, list) else statement
    same("a right token", (statement["Effect"], statement["Action"]), ("Allow", "execute-api:Invoke"))
    holds("a right token is for", json.dumps(statement["Resource"]), f":{rehearsal.api_id}/{rehearsal.stage.name}/*")
    now = int(time.time())
    wrong = {
        "made with another secret": _token("signs the tokens of somebody else, 0123456789"),
        "that has expired": _token(exp=now - 3_600),
        "for somebody else": _token(aud="another service"),
        "of somebody else": _token(iss="https://evil.example"),
        "that never expires": _token(exp=None),
        "that is none": "nonsense",
    }
    with rehearsal.watching() as reports:
        for what, token in wrong.items():
            outcome = asked(f"Bearer {token}")
            said = (outcome.error or {}).get("errorMessage")
            same(f"a token {what}", (outcome.answer, said), (None, "Unauthorized"))
    count("reports of wrong tokens, which are no fault of ours", _reports(reports), 0)


def _token(secret: str = SECRETS["JWT_SECRET"], **claims: object) -> str:
    usual = {"sub": "mira", "iss": ISSUER, "aud": AUDIENCE, "exp": int(time.time()) + 600}
    said = {name: value for name, value in {**usual, **claims}.items() if value is not None}
    return jwt.encode(said, secret, "HS256")


# ---- failures


def failures(rehearsal: Rehearsal) -> None:
    """Break what can break, and look where it is told."""
    _task_that_fails(rehearsal)
    _event_that_breaks_the_handler(rehearsal)
    if rehearsal.stage.shares_state:
        _database_that_lacks_a_table(rehearsal)
    _settings_that_are_wrong(rehearsal)
    if rehearsal.stage.is_traced:
        _traces(rehearsal)
    _log(rehearsal)


def _reports(asked: list[Asked]) -> list[str]:
    published = [each for each in asked if each.action == "Publish"]
    return [each.fields["Message"] for each in published if each.fields.get("TopicArn", "").endswith(REPORTS)]


def _one_report(rehearsal: Rehearsal, asked: list[Asked], what: str, *says: str) -> None:
    reports = _reports(asked)
    count(f"reports of {what}", reports, 1)
    holds(f"the report of {what}", reports[0], rehearsal.stage.name, "Traceback", *says)
    lacks(f"the report of {what}", reports[0], MIRA[1:], *rehearsal.codes, *rehearsal.secrets)


def _task_that_fails(rehearsal: Rehearsal) -> None:
    with rehearsal.watching() as reported:
        if rehearsal.stage.fails_on_demand:
            with rehearsal.watching() as asked:
                same("POST /async-failure", rehearsal.ask("POST", "/async-failure").status, 202)
            outcomes = _delivered(rehearsal, asked)
        else:
            task = {"task_path": "quoteapi.aws.tasks.async_fail", "args": [], "kwargs": {}}
            event = {**task, "command": "zappa.asynchronous.route_lambda_task"}
            outcomes = rehearsal.function.invoke_event(event)
    count("tries of a task that fails", outcomes, TRIES)
    for outcome in outcomes:
        holds("a task that fails", str(outcome.error), "DeliberateFailure")
    _one_report(rehearsal, reported, "a task that fails", "DeliberateFailure", "async_fail")
    left = rehearsal.aws.failures()
    count("events in the dead-letter queue", left, 1 if rehearsal.stage.has_dead_letters else 0)
    if left:
        holds("the event in the dead-letter queue", left[0], "quoteapi.aws.tasks.async_fail")


def _event_that_breaks_the_handler(rehearsal: Rehearsal) -> None:
    """Hand in a request that is none: Zappa breaks before the app is called."""
    event = shapes.request("GET", f"{rehearsal.base}/daily", stage=rehearsal.stage.name, api=rehearsal.api_id)
    event["path"] = None
    with rehearsal.watching() as reported:
        outcome = rehearsal.function.invoke(event)
    same("a request that is none", (outcome.error, outcome.answer["statusCode"]), (None, 500))
    lacks("a request that is none", outcome.answer["body"], "Traceback", "TypeError")
    _one_report(rehearsal, reported, "a request that is none")
    same("GET /daily after that", rehearsal.ask("GET", "/daily").status, 200)


def _database_that_lacks_a_table(rehearsal: Rehearsal) -> None:
    """Take away a table, as somebody might: a responder breaks, and Falcon's own handler answers."""
    import psycopg  # noqa: PLC0415 only here

    address = rehearsal.remote_environment["DATABASE_URL"]
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute("ALTER TABLE author RENAME TO author_away")
        with rehearsal.watching() as reported:
            problem(rehearsal, 500, "Internal Server Error", "GET", "/authors")
        _one_report(rehearsal, reported, "a table that is away", "UndefinedTable", "/authors")
        connection.execute("ALTER TABLE author_away RENAME TO author")
    same("GET /authors after that", rehearsal.ask("GET", "/authors").status, 200)


def _settings_that_are_wrong(rehearsal: Rehearsal) -> None:
    """Start another container where the remote environment is damaged: it must fail at once, and say why."""
    right = rehearsal.remote_environment
    rehearsal.put_remote_environment({**right, "DATABASE_URL": "postgresql://mira:pass-word-77@db.example/a b"})
    with rehearsal.another_container("broken") as function:
        if function.exit_code() == 0:
            raise Wrong("a function with wrong settings ended as if all were well")
        holds("a function with wrong settings", function.said(), "Error: DATABASE_URL must be")
        lacks("a function with wrong settings", function.said(), "pass-word-77")
    rehearsal.put_remote_environment(right)


def _traces(rehearsal: Rehearsal) -> None:
    """Look for a subsegment of each kind of call: to AWS, over HTTP, and to the database."""
    heard = rehearsal.daemon.heard
    names = {(each.get("name"), each.get("namespace"), "sql" in each) for each in heard}
    upstream = rehearsal.upstream.host.partition(":")[0]
    database = str(rehearsal.function.folder / "quoteapi.db")
    wanted = {("sns", "aws", False), (upstream, "remote", False), (database, "remote", True)}
    if missing := wanted - names:
        raise Wrong(f"there is no subsegment {missing}; there are {names}")
    lacks("subsegments", json.dumps(heard), MIRA[1:], *rehearsal.secrets)


def _log(rehearsal: Rehearsal) -> None:
    """Look at all that the function wrote, and at whether it left something in its package."""
    said = rehearsal.function.said()
    lacks("the log", said, MIRA[1:], MIRA[3:], *rehearsal.codes, *rehearsal.secrets, "otp=")
    same("files that the function wrote into its package", rehearsal.changed_files(), [])
