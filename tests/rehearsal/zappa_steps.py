"""The steps that run a command of Zappa."""

import json

from quoteapi.observability.redaction import mask_phone_number
from tests.rehearsal.checks import CheckFailed, check_contains, check_count, check_equal, check_excludes
from tests.rehearsal.rehearsal import Rehearsal
from tests.rehearsal.setup_step import OPERATOR, check_second_setup
from tests.rehearsal.stages import SCHEDULES

DATABASE_READY = {
    "DynamoDB": "the DynamoDB table quoteapi-dev, created: table, ",
    "PostgreSQL": "the migrations of the PostgreSQL database were applied",
    None: "quotes only",
}
"""What a deploy says about the database of a stage."""


def deploy(rehearsal: Rehearsal) -> None:
    """Deploy the stage for the first time."""
    given = rehearsal.remote_environment
    output = rehearsal.project.zappa("deploy", rehearsal.stage.name)
    check_contains(
        "zappa deploy printed",
        output,
        "Deployment complete",
        f".execute-api.us-east-1.amazonaws.com/{rehearsal.stage.name}",
        DATABASE_READY[rehearsal.stage.database],
    )
    rehearsal.remote_environment = rehearsal.read_remote_environment()
    added = {name: value for name, value in rehearsal.remote_environment.items() if name not in given}
    key = added.pop("SECRET_KEY", None)
    check_equal("the deploy generated a key", key is not None, "SECRET_KEY" not in given)
    check_equal(
        "settings that the deploy added", added, {} if rehearsal.stage.has_domain else {"PUBLIC_URL": rehearsal.base}
    )
    check_equal("zappa deploy says that it generated a key", "Generated a SECRET_KEY" in output, key is not None)
    check_excludes("zappa deploy printed", output, *rehearsal.secrets)
    if rehearsal.stage.database == "DynamoDB":
        _check_first_sms(rehearsal, output)


def _check_first_sms(rehearsal: Rehearsal, output: str) -> None:
    """Check that the operator got an SMS on their own phone, after three commands: the first is `make setup`."""
    stage, sent = rehearsal.stage.name, [each for each in rehearsal.aws.requests() if each.is_sms]
    check_equal(
        "commands until the first SMS", rehearsal.project.commands, [f"quoteapi setup {stage}", f"zappa deploy {stage}"]
    )
    check_equal("numbers that got an SMS", [each.fields["PhoneNumber"] for each in sent], [OPERATOR])
    check_contains("zappa deploy printed", output, f"An SMS with a code is on its way to {mask_phone_number(OPERATOR)}")


def update(rehearsal: Rehearsal) -> None:
    """Update the stage: a package of the same files is identical."""
    if rehearsal.stage.lives_through_a_night:
        rehearsal.remote_environment["SMS_ALLOWED_REGIONS"] = "IN,NZ,US"
        rehearsal.put_remote_environment(rehearsal.remote_environment)
    before = rehearsal.aws.function(rehearsal.stage.function)["CodeSha256"]
    with rehearsal.record_aws_requests() as aws_requests:
        output = rehearsal.project.zappa("update", rehearsal.stage.name)
    updates = [
        json.loads(each.body) for each in aws_requests if each.path.endswith(f"/{rehearsal.stage.function}/code")
    ]
    check_equal("architecture of the updated code", [each["Architectures"] for each in updates], [["x86_64"]])
    check_equal("hash of the package", rehearsal.aws.function(rehearsal.stage.function)["CodeSha256"], before)
    check_contains("zappa update printed", output, "Your updated Zappa deployment is live", rehearsal.base)
    check_equal("the remote environment", rehearsal.read_remote_environment(), rehearsal.remote_environment)
    check_second_setup(rehearsal)


def certify(rehearsal: Rehearsal) -> None:
    """Connect the stage with its domain."""
    check_contains(
        "zappa certify printed",
        rehearsal.project.zappa("certify", rehearsal.stage.name, "--yes"),
        "Certificate updated",
    )


def schedule(rehearsal: Rehearsal) -> None:
    """Schedule the events again: no rule may be doubled."""
    check_contains("zappa schedule printed", rehearsal.project.zappa("schedule", rehearsal.stage.name), "Scheduling")


def status(rehearsal: Rehearsal) -> None:
    """Read the stage's state as JSON."""
    found = json.loads(rehearsal.project.zappa("status", rehearsal.stage.name, "--json"))
    stage = rehearsal.stage
    url = f"https://{rehearsal.api_id}.execute-api.us-east-1.amazonaws.com/{stage.name}"
    check_equal("status: function", found["Lambda Name"], stage.function)
    check_equal("status: URL", found["API Gateway URL"], url)
    check_equal("status: domain", found["Domain URL"], rehearsal.base if stage.has_domain else "None Supplied")
    check_equal("status: API key", "API Gateway x-api-key" in found, stage.needs_key)
    check_count("status: events", found["Events"], len(SCHEDULES))


def undeploy(rehearsal: Rehearsal) -> None:
    """Undeploy the stage, and check that nothing is left but the table."""
    stage, aws = rehearsal.stage, rehearsal.aws
    output = rehearsal.project.zappa("undeploy", stage.name, "--yes")
    tables = aws.client("dynamodb").list_tables()["TableNames"]
    check_equal("tables", tables, [stage.function] if stage.database == "DynamoDB" else [])
    for table in tables:
        check_contains("zappa undeploy printed", output, f"the DynamoDB table {table} with the subscribers")
    check_contains("zappa undeploy printed", output, f"quoteapi teardown {stage.name}")
    left = {
        "functions": [each["FunctionName"] for each in aws.client("lambda").list_functions()["Functions"]],
        "APIs": [each["name"] for each in aws.client("apigateway").get_rest_apis()["items"]],
        "API keys": [each["name"] for each in aws.client("apigateway").get_api_keys()["items"]],
        "rules": [each["Name"] for each in aws.client("events").list_rules()["Rules"]],
        "stacks": [each["StackName"] for each in aws.client("cloudformation").describe_stacks()["Stacks"]],
        "uploads": [
            each["Key"]
            for each in aws.client("s3").list_objects_v2(
                Bucket=rehearsal.project.stage_setting(stage.name, "s3_bucket")
            )["Contents"]
            if each["Key"] != f"{stage.function}.json"
        ],
    }
    if found := {kind: names for kind, names in left.items() if names}:
        raise CheckFailed(f"after zappa undeploy there are still {found}")
