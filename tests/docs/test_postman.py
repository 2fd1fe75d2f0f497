"""Run the Postman collection with newman against the service over HTTP."""

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from quoteapi.app import create_app
from quoteapi.settings import ROOT, read_settings
from tests.helpers.data import SECRET_KEY
from tests.helpers.http import serve_app
from tests.helpers.processes import quoteapi

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from quoteapi.http.middleware import App

NEWMAN = ROOT / "tests/npm/node_modules/.bin/newman"
COLLECTION = ROOT / "postman/QuoteAPI.postman_collection.json"
LAPTOP, STAGE = (ROOT / f"postman/{name}.postman_environment.json" for name in ("laptop", "stage"))
if not NEWMAN.exists() and os.environ.get("CI") != "true":
    pytest.skip("newman is not installed (on Debian: apt install npm, and make test again)", allow_module_level=True)

AS_JSON = "--reporters", "json", "--reporter-json-export"


class RequestResult:
    """The result of a request that newman sent."""

    def __init__(self, execution: dict[str, Any]) -> None:
        self.name: str = execution["item"]["name"]
        results = [*execution.get("assertions", ()), *execution.get("testScript", ())]
        self.passed = {one["assertion"] for one in results if "error" not in one and "assertion" in one}
        self.failed = {one.get("assertion", "script"): one["error"]["message"] for one in results if "error" in one}


Send = Callable[..., list[RequestResult]]


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/working.db"


@contextmanager
def serve_catalogue(database_url: str, *, stage: bool = False) -> Iterator[str]:
    """Serve the bundled catalogue, optionally as a stage behind API Gateway. Yields the URL."""
    app = create_app(read_settings({"DATABASE_URL": database_url, "SECRET_KEY": SECRET_KEY}))
    with serve_app(cast("App", put_behind_gateway(app)) if stage else app) as base:
        yield f"{base}/dev" if stage else base


def put_behind_gateway(app: "WSGIApplication") -> "WSGIApplication":
    """Return the app below a stage's prefix, which requires an API key and a token."""

    def gateway(env: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        credentials = env.get("HTTP_X_API_KEY"), env.get("HTTP_AUTHORIZATION")
        if not env["PATH_INFO"].startswith("/dev/") or credentials != ("a-key", "Bearer a-token"):
            start_response("403 Forbidden", [("Content-Type", "application/json"), ("Content-Length", "2")])
            return [b"{}"]
        return app(env | {"SCRIPT_NAME": "/dev", "PATH_INFO": env["PATH_INFO"].removeprefix("/dev")}, start_response)

    return gateway


def always_ok(env: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
    """Send the same response to every request."""
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", "2")])
    return [b"{}" if env["REQUEST_METHOD"] != "HEAD" else b""]


@pytest.fixture
def newman(tmp_path: Path) -> Send:
    """Return a function that sends the collection, or a folder of it, and returns the results of the sent requests."""
    report = tmp_path / "report.json"

    def send(environment: Path, *options: str, **variables: str) -> list[RequestResult]:
        arguments = [word for name, value in variables.items() for word in ("--env-var", f"{name}={value}")]
        ran = subprocess.run(
            [NEWMAN, "run", COLLECTION, "--environment", environment, *arguments, *options, *AS_JSON, report],
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert report.exists(), ran.stderr
        run = json.loads(report.read_text())["run"]
        executed = [RequestResult(execution) for execution in run["executions"] if "response" in execution]
        assert bool(run["failures"]) == bool(ran.returncode) == any(request.failed for request in executed)
        return executed

    return send


def newest_otp(database_url: str) -> str:
    """Return the newest OTP in the local inbox."""
    inbox = quoteapi("sms", "inbox", "--json", DATABASE_URL=database_url).stdout
    otps: list[str] = [sms["message"][:6] for sms in json.loads(inbox) if sms["kind"] == "code"]
    return otps[-1]


def send_everything(newman: Send, environment: Path, database_url: str, **variables: str) -> list[RequestResult]:
    """Send the whole collection, with the OTP from the inbox for its last part. Assert that all tests pass."""
    sent = newman(environment, **variables)
    assert failures(sent) == []
    with_otp = newman(environment, "--folder", "With the OTP", **variables, otp=newest_otp(database_url))
    assert failures(with_otp) == []
    return sent + with_otp


def failures(executed: list[RequestResult]) -> list[str]:
    return [f"{request.name}: {which}: {why}" for request in executed for which, why in request.failed.items()]


def requests_of(folder: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for item in folder["item"]:
        yield from requests_of(item) if "item" in item else [item]


REQUESTS = list(requests_of(json.loads(COLLECTION.read_text())))


def test_the_page_of_clients_names_requests_and_environments_that_exist() -> None:
    page = (ROOT / "docs/clients.md").read_text().partition("\n## Postman\n")[2]
    named = re.findall(r"\*(.+?)\*", page)
    files = "".join(file.read_text() for file in (COLLECTION, LAPTOP, STAGE))
    assert len(named) == 4
    assert [name for name in named if f'"name": "{name}"' not in files] == []


def shape(path: str) -> str:
    """Return a path without the names of its parameters."""
    return re.sub(r"\{+\w+\}+", "{}", path)


def test_the_collection_passes_on_a_laptop(newman: Send, database_url: str) -> None:
    with serve_catalogue(database_url) as base:
        sent = send_everything(newman, LAPTOP, database_url, base=base, mobile="+919028000001")
    assert sorted(request.name for request in sent) == sorted(item["name"] for item in REQUESTS), (
        "a request was not sent exactly once"
    )
    passed = [name for request in sent for name in request.passed]
    assert "has the rate limit and the requests left" in passed, "reads were not limited"


def test_the_collection_passes_on_a_stage(newman: Send, database_url: str) -> None:
    with serve_catalogue(database_url, stage=True) as base:
        variables = {"base": base, "api_key": "a-key", "token": "a-token", "mobile": "+919028000002"}
        sent = send_everything(newman, STAGE, database_url, **variables)
    assert len(sent) == len(REQUESTS)


def test_without_a_number_no_sms_is_requested(newman: Send, database_url: str) -> None:
    with serve_catalogue(database_url) as base:
        sent = newman(STAGE, "--folder", "4. Daily SMS", base=base, otp="482913")
    assert sent == []


def test_each_request_fails_on_another_response(newman: Send) -> None:
    with serve_app(cast("App", always_ok)) as base:
        sent = newman(LAPTOP, base=base, mobile="+919028000001", otp="482913")
    common_tests = {"has a request ID", "has X-Content-Type-Options: nosniff"}
    assert [request.name for request in sent if set(request.failed) <= common_tests] == []
    assert len(sent) == len(REQUESTS)


def test_every_request_has_a_test_and_a_description() -> None:
    for item in REQUESTS:
        scripts = {event["listen"]: "\n".join(event["script"]["exec"]) for event in item["event"]}
        assert "pm.test(" in scripts["test"], item["name"]
        assert item["request"]["description"], item["name"]
    assert len({item["name"] for item in REQUESTS}) == len(REQUESTS)


def test_the_collection_has_the_paths_of_openapi_json() -> None:
    document = json.loads((ROOT / "quoteapi/http/openapi.json").read_text())
    requested = {shape(item["request"]["url"]["raw"].removeprefix("{{base}}").partition("?")[0]) for item in REQUESTS}
    missing_pages = {"/a-page-that-is-not-there", "/nothing-is-here", "/quotes/999999999"}
    assert requested - missing_pages == {shape(path) for path in document["paths"]}


def test_both_forms_of_a_requests_url_agree() -> None:
    for item in REQUESTS:
        url = item["request"]["url"]
        query = "&".join(f"{one['key']}={one['value']}" for one in url.get("query", ()))
        assert url["raw"] == f"{{{{base}}}}/{'/'.join(url['path'])}{'?' if query else ''}{query}"


def test_the_environments_hold_the_same_variables_and_no_secret() -> None:
    laptop, stage = (
        {value["key"]: value["value"] for value in json.loads(path.read_text())["values"]} for path in (LAPTOP, STAGE)
    )
    assert set(laptop) == set(stage) == {"base", "api_key", "token", "mobile", "otp"}
    for variables in (laptop, stage):
        assert [variables[name] for name in ("api_key", "token", "otp")] == ["", "", ""]
    assert stage["mobile"] == "", "a number would cost an SMS"
