"""The access control of the emulated AWS: who makes a request, and whether their policy allows it."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

from moto.iam.models import iam_backends
from moto.s3.models import s3_backends

from tests.rehearsal.policy_evaluation import is_allowed
from tests.rehearsal.required_permissions import (
    ACCOUNT,
    Call,
    HttpRequest,
    Permission,
    UnknownCall,
    parse_call,
    required_permissions,
    stack_permissions,
)

PARTITION = "aws"


class Decision(NamedTuple):
    """Whether a request is allowed."""

    caller: str = ""
    """Who made the request; empty for one who may do everything."""
    permissions: list[Permission] = []  # noqa: RUF012 never changed
    """What the request requires."""
    denied: str = ""
    """A sentence that says what is not allowed; empty if all is."""
    protocol: str = ""


def decide(limits: Path, request: HttpRequest) -> Decision:
    """Return whether the caller of a request may make it.

    The file `limits` has a JSON object a caller, by access key: a `name`, and the `policy`, or the `role` that has it.
    """
    key = re.search(r"Credential=([^/]+)/", request.headers.get("authorization", ""))
    limit = json.loads(limits.read_text()).get(key[1]) if key and limits.exists() else None
    if limit is None:
        return Decision()
    try:
        call = parse_call(request)
    except UnknownCall as unknown:
        return Decision(limit["name"], [], f"{limit['name']} called AWS, and {unknown}")
    permissions = [each._replace(context=each.context | limit.get("context", {})) for each in _permissions(call)]
    policies = _policies(limit)
    missing = [each for each in permissions if not is_allowed(policies, each)]
    said = ", ".join(f"{each.action} on {each.resource}" for each in missing)
    denied = f"{limit['name']} called {call.operation}, and has no permission for {said}" if missing else ""
    return Decision(limit["name"], permissions, denied, call.protocol)


def _policies(limit: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the policies of a caller, those of a role as they are now."""
    if "policy" in limit:
        return [limit["policy"]]
    backend = iam_backends[ACCOUNT][PARTITION]
    return [
        json.loads(backend.get_role_policy(limit["role"], name)[1])
        for name in backend.list_role_policies(limit["role"])
    ]


def _permissions(call: Call) -> list[Permission]:
    """Return what a call requires, also what CloudFormation does for it."""
    permissions = required_permissions(call)
    if url := call.parameters.get("TemplateURL"):
        bucket, key = unquote(url).split("/", 4)[3:]
        template = json.loads(_read_object(bucket, key))
        is_tagged = any(name.startswith("Tags.") for name in call.parameters)
        permissions += stack_permissions(template, call.region, is_tagged=is_tagged)
    return permissions


def _read_object(bucket: str, key: str) -> bytes:
    found = s3_backends[ACCOUNT][PARTITION].get_object(bucket, key)
    assert found is not None
    return found.value


def error_response(decision: Decision) -> tuple[str, dict[str, str], bytes]:
    """Return the status, the headers and the body with which the service denies a request."""
    message = f"{decision.denied}."
    match decision.protocol:
        case "query" | "ec2":
            code = "AuthorizationError" if decision.permissions[0].action.startswith("sns:") else "AccessDenied"
            error = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>"
            return "403 Forbidden", {"Content-Type": "text/xml"}, f"<ErrorResponse>{error}</ErrorResponse>".encode()
        case "rest-xml":
            error = f"<Error><Code>AccessDenied</Code><Message>{message}</Message></Error>"
            return "403 Forbidden", {"Content-Type": "text/xml"}, error.encode()
    body = json.dumps({"__type": "AccessDeniedException", "message": message}).encode()
    headers = {"Content-Type": "application/json", "x-amzn-ErrorType": "AccessDeniedException"}
    return ("400 Bad Request" if decision.protocol == "json" else "403 Forbidden"), headers, body
