"""What moto lacks of a deployed stage: dead-letter targets, usage plans that hold their APIs, simulated policies."""

import json
from functools import cache
from typing import Any

from moto.apigateway.exceptions import BadRequestException
from moto.apigateway.models import APIGatewayBackend
from moto.awslambda.models import LambdaFunction
from moto.core.responses import ActionResult
from moto.iam.access_control import IAMPolicy, PermissionResult
from moto.iam.responses import IamResponse

_get_configuration = LambdaFunction.get_configuration
_update_configuration = LambdaFunction.update_configuration
_init_function = LambdaFunction.__init__
_delete_plan = APIGatewayBackend.delete_usage_plan
_delete_api = APIGatewayBackend.delete_rest_api


@cache
def extend_moto_with_deployments() -> None:
    """Keep the dead-letter target of functions; refuse to delete a usage plan with stages, or an API in a plan."""
    function: Any = LambdaFunction
    gateway: Any = APIGatewayBackend
    iam: Any = IamResponse
    function.__init__ = _init_with_target
    function.get_configuration = _get_with_target
    function.update_configuration = _update_with_target
    gateway.delete_usage_plan = _delete_empty_plan
    gateway.delete_rest_api = _delete_api_without_plan
    iam.simulate_principal_policy = _simulate


def _init_with_target(self: Any, *, spec: dict[str, Any], **fields: Any) -> None:  # noqa: ANN401
    _init_function(self, spec=spec, **fields)
    self.dead_letter_config = spec.get("DeadLetterConfig", {})


def _get_with_target(self: Any, on_create: bool = False) -> dict[str, Any]:  # noqa: ANN401, FBT002 as in moto
    return _get_configuration(self, on_create) | {"DeadLetterConfig": self.dead_letter_config}


def _update_with_target(self: Any, config_updates: dict[str, Any]) -> dict[str, Any]:  # noqa: ANN401
    self.dead_letter_config = config_updates.get("DeadLetterConfig", self.dead_letter_config)
    return _update_configuration(self, config_updates)


def _delete_empty_plan(self: Any, usage_plan_id: str) -> None:  # noqa: ANN401
    if stages := self.usage_plans[usage_plan_id].api_stages:
        included = f"{stages[0]['apiId']}:{stages[0]['stage']}"
        message = f"there are API Stages associated with it, including {included}"
        raise BadRequestException(f"Cannot delete Usage Plan {usage_plan_id} because {message}")
    _delete_plan(self, usage_plan_id)


def _delete_api_without_plan(self: Any, function_id: str) -> Any:  # noqa: ANN401
    if any(stage["apiId"] == function_id for plan in self.usage_plans.values() for stage in plan.api_stages):
        raise BadRequestException(f"Cannot delete {function_id}: it is in a usage plan")
    return _delete_api(self, function_id)


def _simulate(self: Any) -> ActionResult:  # noqa: ANN401
    """Evaluate the inline policies of a role for each action and resource (SimulatePrincipalPolicy)."""
    backend, role = self.backend, self._get_param("PolicySourceArn").rpartition("/")[2]
    documents = [backend.get_role_policy(role, name)[1] for name in backend.list_role_policies(role)]
    policies = [IAMPolicy(document if isinstance(document, str) else json.dumps(document)) for document in documents]
    results = [
        {
            "EvalActionName": action,
            "EvalResourceName": resource,
            "EvalDecision": _decide({policy.is_action_permitted(action, resource) for policy in policies}),
        }
        for action in self._get_param("ActionNames", [])
        for resource in self._get_param("ResourceArns", ["*"])
    ]
    return ActionResult({"EvaluationResults": results, "IsTruncated": False})


def _decide(results: set[PermissionResult]) -> str:
    if PermissionResult.DENIED in results:
        return "explicitDeny"
    return "allowed" if PermissionResult.PERMITTED in results else "implicitDeny"
