"""Events in the form in which AWS delivers them to a function."""

import json
import time
import uuid
from base64 import b64encode
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.rehearsal.aws import ACCOUNT, REGION

CLIENT = "198.51.100.7"


def api_gateway_event(  # noqa: PLR0913 the parts of a request
    method: str,
    url: str,
    *,
    stage: str,
    api: str,
    headers: Mapping[str, str] | None = None,
    body: str | None = None,
) -> dict[str, Any]:
    """Return the event that API Gateway's REST API sends for a request to `url`."""
    parts = urlsplit(url)
    stage_prefix = "" if not parts.netloc.endswith(".amazonaws.com") else f"/{stage}"
    path = parts.path.removeprefix(stage_prefix) or "/"
    query = parse_qsl(parts.query, keep_blank_values=True)
    all_headers = {
        "Accept": "*/*",
        "CloudFront-Viewer-Country": "IN",
        "Host": parts.netloc,
        "User-Agent": "curl/8.14.1",
        "X-Amzn-Trace-Id": f"Root=1-{int(time.time()):08x}-{uuid.uuid4().hex[:24]}",
        "X-Forwarded-For": f"{CLIENT}, 130.176.0.1",
        "X-Forwarded-Port": "443",
        "X-Forwarded-Proto": "https",
        **(headers or {}),
    }
    return {
        "resource": "/" if path == "/" else "/{proxy+}",
        "path": path,
        "httpMethod": method,
        "headers": all_headers,
        "multiValueHeaders": {name: [value] for name, value in all_headers.items()},
        "queryStringParameters": dict(query) or None,
        "multiValueQueryStringParameters": _group_values(query) or None,
        "pathParameters": None if path == "/" else {"proxy": path[1:]},
        "stageVariables": None,
        "requestContext": {
            "resourceId": "a1b2c3",
            "resourcePath": "/" if path == "/" else "/{proxy+}",
            "httpMethod": method,
            "extendedRequestId": "c6AF9EwAoAMFXjw=",
            "requestTime": time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime()),
            "path": parts.path or "/",
            "accountId": ACCOUNT,
            "protocol": "HTTP/1.1",
            "stage": stage,
            "domainPrefix": parts.netloc.partition(".")[0],
            "requestTimeEpoch": round(time.time() * 1_000),
            "requestId": str(uuid.uuid4()),
            "identity": {"sourceIp": CLIENT, "userAgent": "curl/8.14.1", "userArn": None, "accountId": None},
            "domainName": parts.netloc,
            "deploymentId": "d1e2f3",
            "apiId": api,
        },
        # Zappa declares all media types binary, so the body is base64.
        "body": b64encode(body.encode()).decode() if body is not None else None,
        "isBase64Encoded": body is not None,
    }


def _group_values(query: list[tuple[str, str]]) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = {}
    for name, value in query:
        grouped.setdefault(name, []).append(value)
    return grouped


def scheduled_event(rule_arn: str, transformer: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the event that EventBridge sends for a rule that is due."""
    event: dict[str, Any] = {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": ACCOUNT,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "region": REGION,
        "resources": [rule_arn],
        "detail": {},
    }
    if transformer is None:
        return event
    text: str = transformer["InputTemplate"]
    for name, path in transformer["InputPathsMap"].items():
        text = text.replace(f"<{name}>", json.dumps(event[path.removeprefix("$.")]))
    transformed: dict[str, Any] = json.loads(text)
    return transformed


def authorizer_event(token: str, *, stage: str, api: str) -> dict[str, str]:
    """Return the event that API Gateway sends to a token authorizer."""
    return {
        "type": "TOKEN",
        "methodArn": f"arn:aws:execute-api:{REGION}:{ACCOUNT}:{api}/{stage}/GET/daily",
        "authorizationToken": token,
    }
