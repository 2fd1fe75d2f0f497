"""API Gateway's authorization of requests to a stage: API keys, signed requests (SigV4) and bearer tokens."""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from quoteapi.aws.authorizer import authorize

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<scope>\S+), ?SignedHeaders=(?P<names>\S+), ?Signature=(\w+)"
)
METHOD_ARN = "arn:aws:execute-api:us-east-1:123456789012:a1b2c3d4e5/dev_auth/GET/daily"


class ApiGateway:
    """WSGI middleware that authorizes requests as the stages `dev_key`, `dev_iam` and `dev_auth` do."""

    def __init__(self, app: "WSGIApplication", api_key: str, credentials: Credentials) -> None:
        self._app = app
        self._api_key = api_key
        self._credentials = credentials

    def __call__(self, env: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Pass an authorized request to the app, with the stage as `SCRIPT_NAME`; respond 403 or 401 to others."""
        _, stage, path = env["PATH_INFO"].split("/", 2)
        if status := self._reject(stage, env):
            start_response(status, [("Content-Type", "application/json"), ("Content-Length", "2")])
            return [b"{}"]
        return self._app({**env, "SCRIPT_NAME": f"/{stage}", "PATH_INFO": f"/{path}"}, start_response)

    def _reject(self, stage: str, env: "WSGIEnvironment") -> str | None:
        match stage:
            case "dev_key":
                return None if env.get("HTTP_X_API_KEY") == self._api_key else "403 Forbidden"
            case "dev_iam":
                return None if _is_signed(env, self._credentials) else "403 Forbidden"
            case "dev_auth":
                return None if _is_token_valid(env.get("HTTP_AUTHORIZATION", "")) else "401 Unauthorized"
        return "403 Forbidden"


def _is_signed(env: "WSGIEnvironment", credentials: Credentials) -> bool:
    """Return whether a request is signed by the credentials: sign what was received with botocore, and compare.

    The date and the session token must be signed, and an empty session token is rejected, as AWS does.
    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
    """
    found = AUTHORIZATION.fullmatch(env.get("HTTP_AUTHORIZATION", ""))
    if found is None or env.get("HTTP_X_AMZ_SECURITY_TOKEN") != credentials.token:
        return False
    names = found["names"].split(";")
    required = {"host", "x-amz-date"} | ({"x-amz-security-token"} if credentials.token else set())
    request = AWSRequest(
        env["REQUEST_METHOD"],
        f"http://{env['HTTP_HOST']}{env['PATH_INFO']}{'?' * bool(env['QUERY_STRING'])}{env['QUERY_STRING']}",
        headers={name: env.get(f"HTTP_{name.upper().replace('-', '_')}", "") for name in names},
    )
    request.context["timestamp"] = env.get("HTTP_X_AMZ_DATE", "")
    signer = SigV4Auth(credentials, "execute-api", "us-east-1")
    signature = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
    return required <= set(names) and (found["scope"], found[3]) == (signer.scope(request), signature)


def _is_token_valid(authorization: str) -> bool:
    try:
        authorize({"type": "TOKEN", "authorizationToken": authorization, "methodArn": METHOD_ARN}, None)
    except Exception:  # noqa: BLE001 the authorizer raises a plain Exception
        return False
    return True
