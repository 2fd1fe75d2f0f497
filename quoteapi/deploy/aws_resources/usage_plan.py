"""The usage plan of a stage that requires API keys: API Gateway accepts a key only if a plan joins it with the stage.

Zappa makes a key, but no plan.
"""

from collections.abc import Iterator
from typing import Any

from quoteapi.deploy.aws_account import aws_errors
from quoteapi.deploy.checks.check import CheckFailed
from quoteapi.deploy.setup_result import SetupResult
from quoteapi.deploy.stage_names import StageNames
from quoteapi.deploy.zappa_settings import Stage

NAME = "usage plan"
_THROTTLE = {"rateLimit": 5, "burstLimit": 10}
"""Requests per second, and at once."""
_QUOTA = {"limit": 1_000, "period": "DAY"}
Plan = dict[str, Any]


def set_up_usage_plan(names: StageNames, stage: Stage, api: str) -> Iterator[SetupResult]:
    """Create the plan unless one has this API, and add the stage's key to it. Raises `CheckFailed`.

    A plan that exists keeps its limits and its other keys.
    """
    with aws_errors(NAME):
        client = names.account.client("apigateway")
        plan, done = _find_or_create(client, names, api)
        key = find_api_key(names, stage, api)
        if key is None:
            to_do = f"Create one, and set its ID as api_key of {names.stage}. Then run `zappa update {names.stage}`."
            raise CheckFailed(NAME, "wrong", "the stage has no API key", to_do)
        keys = _all_items(client, "get_usage_plan_keys", usagePlanId=plan["id"])
        if key not in {each["id"] for each in keys}:
            client.create_usage_plan_key(usagePlanId=plan["id"], keyId=key, keyType="API_KEY")
            done = True
        yield SetupResult(NAME, "done" if done else "ok", f"{plan['name']}, {_describe_limits(plan)}")


def find_usage_plans(names: StageNames, api: str) -> list[Plan]:
    """Return the plans that have this API's stage. Raises an error of boto3."""
    client = names.account.client("apigateway")
    return [plan for plan in _all_items(client, "get_usage_plans") if _has_stage(plan, names, api)]


def remove_from_usage_plans(names: StageNames, api: str) -> None:
    """Take this API's stage out of all plans, and delete the plan that is named after the function if it is empty.

    The keys and plans of the operator stay. Raises an error of boto3.
    """
    client = names.account.client("apigateway")
    for plan in find_usage_plans(names, api):
        operation = {"op": "remove", "path": "/apiStages", "value": f"{api}:{names.stage}"}
        left = client.update_usage_plan(usagePlanId=plan["id"], patchOperations=[operation])
        if plan["name"] == names.usage_plan and not left.get("apiStages"):
            client.delete_usage_plan(usagePlanId=plan["id"])


def find_api_key(names: StageNames, stage: Stage, api: str) -> str | None:
    """Return the ID of the stage's `api_key`, else of the key that Zappa made; None if there is none.

    Raises an error of boto3.
    """
    if stage.get("api_key"):
        return str(stage["api_key"])
    client, name = names.account.client("apigateway"), f"{names.stage}_{api}"
    keys = _all_items(client, "get_api_keys", nameQuery=name)  # those whose name begins so
    return next((str(key["id"]) for key in keys if key["name"] == name), None)


def _find_or_create(client: Any, names: StageNames, api: str) -> tuple[Plan, bool]:  # noqa: ANN401 boto3
    """Return the plan with this API's stage, and whether it was created or changed."""
    plans = _all_items(client, "get_usage_plans")
    if found := next((plan for plan in plans if _has_stage(plan, names, api)), None):
        return found, False
    if own := next((plan for plan in plans if plan["name"] == names.usage_plan), None):
        operation = {"op": "add", "path": "/apiStages", "value": f"{api}:{names.stage}"}
        return client.update_usage_plan(usagePlanId=own["id"], patchOperations=[operation]), True
    stages = [{"apiId": api, "stage": names.stage}]
    plan = client.create_usage_plan(name=names.usage_plan, apiStages=stages, throttle=_THROTTLE, quota=_QUOTA)
    return plan, True


def _has_stage(plan: Plan, names: StageNames, api: str) -> bool:
    return any((each["apiId"], each["stage"]) == (api, names.stage) for each in plan.get("apiStages", []))


def _describe_limits(plan: Plan) -> str:
    throttle, quota = plan.get("throttle"), plan.get("quota")
    limits = [f"{float(throttle['rateLimit']):g} requests a second"] if throttle else []
    limits += [f"{int(quota['limit']):,} a {quota['period'].lower()}"] if quota else []
    return ", ".join(limits) or "without limits"


def _all_items(client: Any, operation: str, **parameters: Any) -> list[dict[str, Any]]:  # noqa: ANN401 boto3
    pages = client.get_paginator(operation).paginate(**parameters)
    return [item for page in pages for item in page.get("items", [])]
