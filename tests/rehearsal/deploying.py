"""The steps that are commands of Zappa."""

import json

from tests.rehearsal.rehearsal import Rehearsal
from tests.rehearsal.stages import SCHEDULES
from tests.rehearsal.wrong import Wrong, count, holds, same


def deploy(rehearsal: Rehearsal) -> None:
    """Deploy for the first time."""
    said = rehearsal.project.zappa("deploy", rehearsal.stage.name, "--disable_progress")
    holds(
        "zappa deploy said", said, "Deployment complete", f".execute-api.us-east-1.amazonaws.com/{rehearsal.stage.name}"
    )


def update(rehearsal: Rehearsal) -> None:
    """Deploy again, over what is there: the package of the same files is the same."""
    before = rehearsal.aws.function(rehearsal.stage.function)["CodeSha256"]
    said = rehearsal.project.zappa("update", rehearsal.stage.name, "--disable_progress")
    same("the package, built again", rehearsal.aws.function(rehearsal.stage.function)["CodeSha256"], before)
    holds("zappa update said", said, "Your updated Zappa deployment is live", rehearsal.base)


def certify(rehearsal: Rehearsal) -> None:
    """Give the stage its domain."""
    holds(
        "zappa certify said", rehearsal.project.zappa("certify", rehearsal.stage.name, "--yes"), "Certificate updated"
    )


def schedule(rehearsal: Rehearsal) -> None:
    """Schedule the events again: none may come twice."""
    holds("zappa schedule said", rehearsal.project.zappa("schedule", rehearsal.stage.name), "Scheduling")


def status(rehearsal: Rehearsal) -> None:
    """Ask for the stage's state, as a program would."""
    said = json.loads(rehearsal.project.zappa("status", rehearsal.stage.name, "--json"))
    stage = rehearsal.stage
    address = f"https://{rehearsal.api_id}.execute-api.us-east-1.amazonaws.com/{stage.name}"
    same("status: function", said["Lambda Name"], stage.function)
    same("status: address", said["API Gateway URL"], address)
    same("status: domain", said["Domain URL"], rehearsal.base if stage.has_domain else "None Supplied")
    same("status: API key", "API Gateway x-api-key" in said, stage.needs_key)
    count("status: events", said["Events"], len(SCHEDULES))


def undeploy(rehearsal: Rehearsal) -> None:
    """Take all down again."""
    stage, aws = rehearsal.stage, rehearsal.aws
    rehearsal.project.zappa("undeploy", stage.name, "--yes")
    left = {
        "functions": [each["FunctionName"] for each in aws.client("lambda").list_functions()["Functions"]],
        "APIs": [each["name"] for each in aws.client("apigateway").get_rest_apis()["items"]],
        "API keys": [each["name"] for each in aws.client("apigateway").get_api_keys()["items"]],
        "rules": [each["Name"] for each in aws.client("events").list_rules()["Rules"]],
        "stacks": [each["StackName"] for each in aws.client("cloudformation").describe_stacks()["Stacks"]],
        "uploads": [
            each["Key"]
            for each in aws.client("s3").list_objects_v2(Bucket=rehearsal.project.of_stage(stage.name, "s3_bucket"))[
                "Contents"
            ]
            if not each["Key"].endswith(("-dev.json", "-prod.json"))
        ],
    }
    if any(left.values()):
        raise Wrong(f"after zappa undeploy there are still {dict(filter(lambda item: item[1], left.items()))}")
