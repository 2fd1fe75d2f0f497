"""The emulated AWS as a process: moto's server, extended, with a record of every request.

`python -m tests.rehearsal.emulator FILE` writes its port to stdout, and a line of JSON a request to the file. While the
file `aws.held_response` of an action exists, such requests get no response. It exits when its stdin is closed, which
also happens when the parent process dies.
"""

import io
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from threading import Lock, Thread
from time import sleep
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from moto.apigateway.models import ApiKey, RestAPI, apigateway_backends
from moto.awslambda import urls
from moto.awslambda.responses import LambdaResponse
from moto.awslambda.utils import get_backend
from moto.core.config import default_user_config
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

from tests.helpers.sms_sandbox import add_sms_sandbox, sms_sandbox
from tests.rehearsal.access_control import Decision, decide, error_response
from tests.rehearsal.aws import ACCOUNT, PACKAGE_PATH, REGION, SANDBOX_PATH, held_response, limits_file
from tests.rehearsal.emulated_deployment import extend_moto_with_deployments
from tests.rehearsal.emulated_domains import extend_moto_with_domains
from tests.rehearsal.moto_extensions import extend_moto
from tests.rehearsal.required_permissions import HttpRequest

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

MAX_RECORDED_BYTES = 1_000_000
"""Longer bodies are packages, and are not recorded."""


def _extend_moto() -> None:
    """Add behavior of AWS that moto lacks.

    Support `ListFunctionUrlConfigs`, which `zappa update` calls; return 201 from `AddPermission`; delete an API with
    its stack; list an API key's stages as strings; have an SMS sandbox.
    """
    add_sms_sandbox()
    lambdas, apis, keys = map(_untyped, (LambdaResponse, RestAPI, ApiKey))
    path = r"{0}/(?P<api_version>[^/]+)/functions/(?P<function_name>[\w_:%-]+)/urls/?$"
    urls.url_paths[path] = LambdaResponse.dispatch
    lambdas.list_function_url_configs = lambda _: json.dumps({"FunctionUrlConfigs": []})
    add_permission = LambdaResponse.add_permission
    lambdas.add_permission = lambda self: (201, {"status": 201}, add_permission(self))
    apis.delete = lambda self, account, region: apigateway_backends[account][region].delete_rest_api(self.id)
    key_as_json = ApiKey.to_json
    keys.to_json = lambda self: {**key_as_json(self), "stageKeys": [_stage_key(stage) for stage in self.stage_keys]}
    extend_moto()
    extend_moto_with_domains()
    extend_moto_with_deployments()


def _untyped(kind: type) -> Any:  # noqa: ANN401 allows assignments to its attributes
    return kind


def _stage_key(stage: dict[str, str]) -> str:
    return f"{stage['restApiId']}/{stage['stageName']}"


def _change_sandbox(changes: dict[str, object]) -> bytes:
    """Change attributes of the SMS sandbox. Return the codes that AWS sent, by number, oldest first, in JSON."""
    sandbox = sms_sandbox(REGION, ACCOUNT)
    vars(sandbox).update(changes)
    return json.dumps({mobile: number.codes for mobile, number in sandbox.numbers.items()}).encode()


class Recorder:
    """WSGI middleware that records each request before the client gets the response."""

    def __init__(self, app: "WSGIApplication", file: Path) -> None:
        self._app = app
        self._file = file
        self._lock = Lock()

    def __call__(self, env: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Handle a request (PEP 3333)."""
        if env["PATH_INFO"].startswith(PACKAGE_PATH):
            start_response("200 OK", [("Content-Type", "application/zip")])
            return [get_backend(ACCOUNT, REGION).get_function(env["PATH_INFO"].removeprefix(PACKAGE_PATH)).code_bytes]
        body = env["wsgi.input"].read(int(env["CONTENT_LENGTH"])) if env.get("CONTENT_LENGTH") else b""
        if env["PATH_INFO"] == SANDBOX_PATH:
            start_response("200 OK", [("Content-Type", "application/json")])
            return [_change_sandbox(json.loads(body or b"{}"))]
        if body:
            env["wsgi.input"] = io.BytesIO(body)
        decision = self._decide(env, body)
        if decision.denied:
            denied_status, headers, error = error_response(decision)
            self._write(env, body, int(denied_status[:3]), decision)
            start_response(denied_status, [*headers.items(), ("Content-Length", str(len(error)))])
            return [] if env["REQUEST_METHOD"] == "HEAD" else [error]
        status = ""

        def start(given: str, *more: Any) -> Callable[[bytes], object]:  # noqa: ANN401
            nonlocal status
            status = given
            return start_response(given, *more)

        response = self._app(env, start)
        action = self._write(env, body, int(status[:3]), decision)
        while held_response(self._file, action).exists():
            sleep(0.01)
        return response

    def _decide(self, env: "WSGIEnvironment", body: bytes) -> Decision:
        """Return whether the policy of the caller allows a request."""
        headers = {
            name.removeprefix("HTTP_").replace("_", "-").lower(): value
            for name, value in env.items()
            if name.startswith("HTTP_")
        }
        path, query = env["PATH_INFO"], env.get("QUERY_STRING", "")
        return decide(limits_file(self._file), HttpRequest(env["REQUEST_METHOD"], path, query, headers, body))

    def _write(self, env: "WSGIEnvironment", body: bytes, status: int, decision: Decision) -> str:
        """Record a request. Return its action."""
        text = body.decode(errors="replace") if len(body) < MAX_RECORDED_BYTES else ""
        form = parse_qs(text) if text.startswith("Action=") or "&Action=" in text else {}
        fields = {name: values[-1] for name, values in form.items()}
        request = {
            "method": env["REQUEST_METHOD"],
            "path": env["PATH_INFO"],
            "action": fields.get("Action") or env.get("HTTP_X_AMZ_TARGET", "").rpartition(".")[2],
            "is_asynchronous": env.get("HTTP_X_AMZ_INVOCATION_TYPE") == "Event",
            "fields": fields,
            "body": text,
            "status": status,
            "caller": decision.caller,
            "permissions": [(each.action, each.resource) for each in decision.permissions],
            "denied": decision.denied,
        }
        with self._lock, self._file.open("a") as opened:
            opened.write(f"{json.dumps(request)}\n")
        return str(request["action"])


class _Handler(MotoRequestHandler):
    wbufsize = -1  # else each body waits for the client's delayed ACK of the headers


def main() -> None:
    """Serve on a free port of loopback until stdin is closed."""
    default_user_config["lambda"] = {"use_docker": False}  # the rehearsal runs functions
    _extend_moto()
    app = Recorder(DomainDispatcherApplication(create_backend_app), Path(sys.argv[1]))
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_Handler)
    sys.stdout.write(f"{server.port}\n")
    sys.stdout.flush()
    Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    main()
