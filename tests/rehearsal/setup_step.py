"""The step that prepares a stage with `quoteapi setup`, in an account in which nothing exists."""

import json
import sys
from collections.abc import Iterable

from tests.helpers.data import NOOR
from tests.helpers.terminal import ENTER, Script, Transcript
from tests.rehearsal.aws import ACCOUNT, BUCKET, DOMAIN, REGION, WEB_PAGE, AwsRequest
from tests.rehearsal.checks import check_contains, check_equal, check_excludes
from tests.rehearsal.rehearsal import AUDIENCE, ISSUER, SECRETS, Rehearsal

OPERATOR = NOOR
"""The operator's own number."""
LOCAL_SETTINGS = "zappa_settings.local.json"
_READING = "Describe", "Get", "Head", "List"


def setup(rehearsal: Rehearsal) -> None:
    """Prepare the stage, and check what that stored."""
    before = rehearsal.project.files()
    match rehearsal.stage.name:
        case "dev":
            _set_up_dev(rehearsal)
        case "prod":
            _set_up_prod(rehearsal)
        case _:
            _set_up_by_options(rehearsal)
    after = rehearsal.project.files()
    check_equal("files that changed", {name for name, _ in after.items() ^ before.items()}, {LOCAL_SETTINGS})
    _check_local_settings(rehearsal)
    rehearsal.remote_environment = rehearsal.read_remote_environment()
    if rehearsal.stage.has_upstream:
        _add_settings(rehearsal)


def check_second_setup(rehearsal: Rehearsal) -> None:
    """Check that `quoteapi setup` changes nothing if all is right."""
    before = rehearsal.project.files()
    with rehearsal.record_aws_requests() as requests:
        output = rehearsal.project.quoteapi("setup", rehearsal.stage.name, "--yes")
    check_equal("requests of a second setup that change something", [*_writing(requests)], [])
    check_equal("files that a second setup changed", rehearsal.project.files() == before, expected=True)
    check_excludes("a second setup printed", output, "+ ", "✗ ")


def _set_up_dev(rehearsal: Rehearsal) -> None:
    """Take the defaults, in an account in the SMS sandbox, as a new one is: SMS go to the country of the own number."""
    rehearsal.aws.enter_sms_sandbox()
    script: Script = {
        "Mail address": [ENTER],
        "Countries": [ENTER],
        "Hour": [ENTER],
        "Domain": [ENTER],
        "Your mobile number": [OPERATOR],
        "Code that AWS sent": [lambda: rehearsal.aws.sandbox_code(OPERATOR)],
    }
    transcript = rehearsal.project.type_quoteapi(script, "setup", rehearsal.stage.name)
    check_equal("answers, and those that are not only Enter", (len(transcript.answers), len(transcript.typed)), (6, 2))
    _check_transcript(transcript)


def _set_up_prod(rehearsal: Rehearsal) -> None:
    """Answer all questions, in an account outside the SMS sandbox."""
    script: Script = {
        "Mail address": ["alarms@example.org"],
        "Countries": ["IN"],
        "Hour": ["08:30"],
        "Domain": [DOMAIN],
    }
    transcript = rehearsal.project.type_quoteapi(script, "setup", rehearsal.stage.name)
    check_equal("answers", len(transcript.answers), len(script))
    _check_transcript(transcript)
    found = rehearsal.read_remote_environment()
    check_equal(
        "DAILY_SMS_AT and PUBLIC_URL", (found["DAILY_SMS_AT"], found["PUBLIC_URL"]), ("08:30", f"https://{DOMAIN}")
    )


def _set_up_by_options(rehearsal: Rehearsal) -> None:
    options: list[str] = []
    if rehearsal.stage.is_in_vpc:
        subnets, group = rehearsal.aws.create_network()
        options = [f"--security-group={group}", *(f"--subnet={subnet}" for subnet in subnets)]
    output = rehearsal.project.quoteapi("setup", rehearsal.stage.name, "--yes", "--countries", "none", *options)
    check_excludes("quoteapi setup printed", output, "✗ ")


def _check_transcript(transcript: Transcript) -> None:
    check_contains("quoteapi setup printed", transcript.text, ACCOUNT, REGION, "Next: `zappa deploy")
    check_excludes("quoteapi setup printed", transcript.text, "✗ ", "Error", "Warning", "Traceback")


def _check_local_settings(rehearsal: Rehearsal) -> None:
    """Check the file that git ignores against what is expected, not read from the project's settings."""
    stage, project = rehearsal.stage, rehearsal.project
    found = json.loads((project.folder / LOCAL_SETTINGS).read_text())[stage.name]
    expected = {
        "aws_region": REGION,
        "s3_bucket": BUCKET,
        "remote_env": f"s3://{BUCKET}/{stage.function}.json",
        "dead_letter_arn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:{stage.function}-failures",
        **({"domain": DOMAIN} if stage.has_domain else {}),
    }
    check_equal("local settings", {name: found.get(name) for name in expected}, expected)
    runtime = project.stage_setting(stage.name, "runtime")
    check_equal("runtime", runtime, f"python{sys.version_info.major}.{sys.version_info.minor}")
    check_equal("local settings have a network", "vpc_config" in found, stage.is_in_vpc)


def _add_settings(rehearsal: Rehearsal) -> None:
    """Add settings to the remote environment, as an operator does who uses more than the defaults."""
    rehearsal.remote_environment |= {
        **SECRETS,
        "Mashape_API_Endpoint": rehearsal.upstream.address,
        "JWT_ISSUER": ISSUER,
        "JWT_AUDIENCE": AUDIENCE,
        "CODES_PER_NUMBER": "1/1m",
    }
    if rehearsal.database is not None:
        database = {"DATABASE_URL": rehearsal.database, "SMS_ALLOWED_REGIONS": "IN"}
        rehearsal.remote_environment |= database | {"UNSUBSCRIBE_REQUIRES_OTP": "true"}
    if rehearsal.stage.has_domain:
        rehearsal.remote_environment["CORS_ORIGINS"] = f"https://{WEB_PAGE}"
    rehearsal.put_remote_environment(rehearsal.remote_environment)


def _writing(requests: Iterable[AwsRequest]) -> Iterable[str]:
    """Yield the requests that may change something."""
    for each in requests:
        if not (each.action.startswith(_READING) if each.action else each.method in {"GET", "HEAD"}):
            yield f"{each.method} {each.path} {each.action}"
