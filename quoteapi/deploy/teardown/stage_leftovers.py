"""What belongs to one stage alone, and stays after `zappa undeploy`: role, logs, queue, alarms and usage plan."""

from collections.abc import Iterator
from functools import partial
from typing import Any

from quoteapi.deploy.aws_resources.dead_letter_queue import find_queue
from quoteapi.deploy.aws_resources.log_group import find_log_group
from quoteapi.deploy.stage_names import StageNames
from quoteapi.deploy.teardown.leftover import (
    ALARM_PRICE,
    FREE,
    LOGS_PRICE,
    Leftover,
    describe_size,
    storage_cost,
)
from quoteapi.deploy.teardown.other_stages import OtherStages, say_used
from quoteapi.deploy.zappa_settings import Stage
from quoteapi.printable import counted


def find_alarms(names: StageNames) -> Iterator[Leftover]:
    """Yield the alarms. Raises errors of boto3."""
    client = names.account.client("cloudwatch")
    kinds = {names.error_alarm: "error alarm", names.queue_alarm: "queue alarm"}
    for alarm in client.describe_alarms(AlarmNames=[*kinds])["MetricAlarms"]:
        name = alarm["AlarmName"]
        cost = f"up to ${ALARM_PRICE:.2f}"
        yield Leftover(kinds[name], name, "sends mail", cost, partial(client.delete_alarms, AlarmNames=[name]))


def find_usage_plan(names: StageNames) -> Iterator[Leftover]:
    """Yield the usage plan that is named after the function, with its API keys. Raises errors of boto3."""
    client = names.account.client("apigateway")
    for page in client.get_paginator("get_usage_plans").paginate():
        for plan in page["items"]:
            if plan["name"] == names.usage_plan:
                pages = client.get_paginator("get_usage_plan_keys").paginate(usagePlanId=plan["id"])
                keys = [key["id"] for page in pages for key in page["items"]]
                delete = partial(_delete_usage_plan, client, plan, keys)
                count = len({each["apiId"] for each in plan.get("apiStages", [])} & _list_apis(client))
                kept = f"it is also for {counted(count, 'API')}" if count else ""
                yield Leftover("usage plan", names.usage_plan, counted(len(keys), "API key"), FREE, delete, kept)


def _list_apis(client: Any) -> set[str]:  # noqa: ANN401 boto3
    return {api["id"] for page in client.get_paginator("get_rest_apis").paginate() for api in page.get("items", [])}


def _delete_usage_plan(client: Any, plan: dict[str, Any], keys: list[str]) -> None:  # noqa: ANN401 boto3
    """Delete a plan, and its keys that are in no other plan."""
    for stage in plan.get("apiStages", []):
        removal = {"op": "remove", "path": "/apiStages", "value": f"{stage['apiId']}:{stage['stage']}"}
        client.update_usage_plan(usagePlanId=plan["id"], patchOperations=[removal])
    for key in keys:
        if len(client.get_usage_plans(keyId=key)["items"]) == 1:
            client.delete_api_key(apiKey=key)
    client.delete_usage_plan(usagePlanId=plan["id"])


def find_logs(names: StageNames) -> Iterator[Leftover]:
    """Yield the log group. Raises errors of boto3."""
    if (group := find_log_group(names)) is not None:
        size, name = group.get("storedBytes", 0), names.log_group
        delete = partial(names.account.client("logs").delete_log_group, logGroupName=name)
        yield Leftover("log group", name, describe_size(size), storage_cost(size, LOGS_PRICE), delete)


def find_dead_letters(names: StageNames, others: OtherStages) -> Iterator[Leftover]:
    """Yield the dead-letter queue that `quoteapi setup` created. Raises errors of boto3."""
    if (url := find_queue(names)) is not None:
        client, attribute = names.account.client("sqs"), "ApproximateNumberOfMessages"
        found = client.get_queue_attributes(QueueUrl=url, AttributeNames=[attribute])["Attributes"]
        contents = counted(int(found[attribute]), "message")
        arn = names.account.arn("sqs", names.queue)
        kept = say_used(others.with_setting("dead_letter_arn", arn))
        yield Leftover("dead letters", names.queue, contents, FREE, partial(client.delete_queue, QueueUrl=url), kept)


def find_role(names: StageNames, stage: Stage) -> Iterator[Leftover]:
    """Yield the role that Zappa created for the function. Raises errors of boto3."""
    if stage.get("role_arn") or stage.get("role_name"):
        return  # it is the operator's
    client = names.account.client("iam")
    try:
        client.get_role(RoleName=names.role)
    except client.exceptions.NoSuchEntityException:
        return
    yield Leftover("role", names.role, "with its policies", FREE, partial(_delete_role, client, names.role))


def _delete_role(client: Any, role: str) -> None:  # noqa: ANN401 boto3
    for page in client.get_paginator("list_role_policies").paginate(RoleName=role):
        for policy in page["PolicyNames"]:
            client.delete_role_policy(RoleName=role, PolicyName=policy)
    for page in client.get_paginator("list_attached_role_policies").paginate(RoleName=role):
        for attached in page["AttachedPolicies"]:
            client.detach_role_policy(RoleName=role, PolicyArn=attached["PolicyArn"])
    client.delete_role(RoleName=role)
