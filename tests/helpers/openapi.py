"""The OpenAPI document of the service, also with what it says only once: `HEAD`, `OPTIONS` and common headers."""

import json
from copy import deepcopy
from typing import Any

from quoteapi.settings import ROOT

DOCUMENT: dict[str, Any] = json.loads((ROOT / "quoteapi/http/openapi.json").read_bytes())
NO_HEAD = "/async-failure"
FORM_PATHS = ("/subscribe", "/unsubscribe", "/pause")
"""The paths whose `HEAD` is that of the form, whatever the query says."""
PAGE_HEADERS = {"Content-Security-Policy", "X-Frame-Options", "Referrer-Policy"}
RATE_LIMIT_HEADERS = {"RateLimit-Policy", "RateLimit"}
UNCOUNTED_RESPONSES = {"Healthy", "Unhealthy", "Methods"}


def _reference(kind: str, name: str) -> dict[str, str]:
    return {"$ref": f"#/components/{kind}/{name}"}


HEAD_RESPONSES_OF_FORM = {
    status: _reference("responses", name)
    for status, name in {
        "200": "Page",
        "400": "InvalidSubscription",
        "429": "TooManyRequests",
        "500": "InternalServerError",
        "503": "DatabaseUnavailable",
    }.items()
}
METHODS_RESPONSE = {
    "description": "The allowed methods.",
    "headers": {
        "Allow": {"required": True, "schema": {"type": "string"}},
        "Access-Control-Allow-Methods": {"schema": {"type": "string"}},
        "Access-Control-Allow-Headers": {"schema": {"type": "string"}},
        "Access-Control-Max-Age": {"schema": {"type": "integer"}},
    },
}


def full_document() -> dict[str, Any]:
    """Return the document with a `HEAD` for each `GET`, with `OPTIONS`, and with all headers of each response."""
    document = deepcopy(DOCUMENT)
    for path, item in document["paths"].items():
        if "get" in item and path != NO_HEAD:
            item["head"] = _head(path, item["get"])
        options_responses = {"200": _reference("responses", "Methods")}
        item["options"] = {"operationId": f"OPTIONS {path}", "responses": options_responses}
    responses = document["components"]["responses"]
    responses["Methods"] = deepcopy(METHODS_RESPONSE)
    for name, response in responses.items():
        response["headers"] = _common_headers(name, response) | response.get("headers", {})
    return document


def _head(path: str, get: dict[str, Any]) -> dict[str, Any]:
    head_id = {"operationId": f"HEAD {path}"}
    return {"responses": HEAD_RESPONSES_OF_FORM, **head_id} if path in FORM_PATHS else deepcopy(get) | head_id


def _common_headers(name: str, response: dict[str, Any]) -> dict[str, Any]:
    """Return the headers that a response has as others of its kind do."""
    content = response.get("content", {})
    left_out = RATE_LIMIT_HEADERS if name in UNCOUNTED_RESPONSES else set()
    left_out |= set() if "text/html" in content else PAGE_HEADERS
    headers = {name: header for name, header in DOCUMENT["x-common-headers"].items() if name not in left_out}
    is_error = "application/problem+json" in content
    return headers | ({"Cache-Control": _reference("headers", "NoStore")} if is_error else {})
