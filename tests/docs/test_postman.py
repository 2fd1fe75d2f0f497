"""The Postman collection, sent by newman to the service over HTTP."""

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


class Executed:
    """What newman did with a request."""

    def __init__(self, execution: dict[str, Any]) -> None:
        self.name: str = execution["item"]["name"]
        said = [*execution.get("assertions", ()), *execution.get("testScript", ())]
        self.passed = {one["assertion"] for one in said if "error" not in one and "assertion" in one}
        self.failed = {one.get("assertion", "script"): one["error"]["message"] for one in said if "error" in one}


Send = Callable[..., list[Executed]]


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/working.db"


@contextmanager
def served(database_url: str, *, stage: bool = False) -> Iterator[str]:
    """Serve the shipped catalogue, under a stage's prefix if need be. Answer the address."""
    app = create_app(read_settings({"DATABASE_URL": database_url, "SECRET_KEY": SECRET_KEY}))
    with serve_app(cast("App", behind_a_gateway(app)) if stage else app) as base:
        yield f"{base}/dev" if stage else base


def behind_a_gateway(app: "WSGIApplication") -> "WSGIApplication":
    """Put an app where API Gateway would have it: under a prefix, behind a key and a token."""

    def gateway(env: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        proofs = env.get("HTTP_X_API_KEY"), env.get("HTTP_AUTHORIZATION")
        if not env["PATH_INFO"].startswith("/dev/") or proofs != ("a-key", "Bearer a-token"):
            start_response("403 Forbidden", [("Content-Type", "application/json"), ("Content-Length", "2")])
            return [b"{}"]
        return app(env | {"SCRIPT_NAME": "/dev", "PATH_INFO": env["PATH_INFO"].removeprefix("/dev")}, start_response)

    return gateway


def says_yes(env: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
    """Answer everything alike."""
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", "2")])
    return [b"{}" if env["REQUEST_METHOD"] != "HEAD" else b""]


@pytest.fixture
def newman(tmp_path: Path) -> Send:
    """Send the collection, or a folder of it. Answers what was sent; what was left out is not there."""
    report = tmp_path / "report.json"

    def send(environment: Path, *options: str, **variables: str) -> list[Executed]:
        words = [word for name, value in variables.items() for word in ("--env-var", f"{name}={value}")]
        ran = subprocess.run(
            [NEWMAN, "run", COLLECTION, "--environment", environment, *words, *options, *AS_JSON, report],
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert report.exists(), ran.stderr
        run = json.loads(report.read_text())["run"]
        executed = [Executed(execution) for execution in run["executions"] if "response" in execution]
        assert bool(run["failures"]) == bool(ran.returncode) == any(request.failed for request in executed)
        return executed

    return send


def newest_code(database_url: str) -> str:
    """Read the code in the local inbox, as a person would."""
    inbox = quoteapi("sms", "inbox", "--json", DATABASE_URL=database_url).stdout
    codes: list[str] = [sms["message"][:6] for sms in json.loads(inbox) if sms["kind"] == "code"]
    return codes[-1]


def everything(newman: Send, environment: Path, database_url: str, **variables: str) -> list[Executed]:
    """Send the whole collection as a person does: the code comes between. Assert that all is as it says."""
    sent = newman(environment, **variables)
    assert failures(sent) == []
    with_the_code = newman(environment, "--folder", "With the code", **variables, otp=newest_code(database_url))
    assert failures(with_the_code) == []
    return sent + with_the_code


def failures(executed: list[Executed]) -> list[str]:
    return [f"{request.name}: {which}: {why}" for request in executed for which, why in request.failed.items()]


def requests_of(folder: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for item in folder["item"]:
        yield from requests_of(item) if "item" in item else [item]


REQUESTS = list(requests_of(json.loads(COLLECTION.read_text())))


def shape(path: str) -> str:
    """Answer a path with its parameters unnamed."""
    return re.sub(r"\{+\w+\}+", "{}", path)


def test_on_a_laptop_everything_is_as_the_collection_says(newman: Send, database_url: str) -> None:
    with served(database_url) as base:
        sent = everything(newman, LAPTOP, database_url, base=base, mobile="+919028000001")
    assert sorted(request.name for request in sent) == sorted(item["name"] for item in REQUESTS), "each was sent once"
    passed = [name for request in sent for name in request.passed]
    assert "how much you may read, and what is left of it" in passed, "and not that nobody counts"


def test_on_a_stage_everything_is_as_the_collection_says(newman: Send, database_url: str) -> None:
    with served(database_url, stage=True) as base:
        where = {"base": base, "api_key": "a-key", "token": "a-token", "mobile": "+919028000002"}
        sent = everything(newman, STAGE, database_url, **where)
    assert len(sent) == len(REQUESTS)


def test_without_a_number_no_sms_is_asked_for(newman: Send, database_url: str) -> None:
    with served(database_url) as base:
        sent = newman(STAGE, "--folder", "4. The daily SMS", base=base, otp="482913")
    assert sent == []


def test_each_request_notices_when_its_answer_is_another(newman: Send) -> None:
    with serve_app(cast("App", says_yes)) as base:
        sent = newman(LAPTOP, base=base, mobile="+919028000001", otp="482913")
    of_all = {"an id, to ask the operator about", "no browser need guess what it is"}
    assert [request.name for request in sent if set(request.failed) <= of_all] == []
    assert len(sent) == len(REQUESTS)


def test_no_request_is_without_a_test_and_a_description() -> None:
    for item in REQUESTS:
        scripts = {event["listen"]: "\n".join(event["script"]["exec"]) for event in item["event"]}
        assert "pm.test(" in scripts["test"], item["name"]
        assert item["request"]["description"], item["name"]
    assert len({item["name"] for item in REQUESTS}) == len(REQUESTS)


def test_the_collection_names_every_path_of_the_contract_and_no_other() -> None:
    contract = json.loads((ROOT / "quoteapi/http/openapi.json").read_text())
    asked = {shape(item["request"]["url"]["raw"].removeprefix("{{base}}").partition("?")[0]) for item in REQUESTS}
    wrong = {"/a-page-that-is-not-there", "/nothing-is-here", "/quotes/999999999"}
    assert asked - wrong == {shape(path) for path in contract["paths"]}


def test_a_request_says_the_same_in_both_ways_that_postman_writes_its_address() -> None:
    for item in REQUESTS:
        url = item["request"]["url"]
        query = "&".join(f"{one['key']}={one['value']}" for one in url.get("query", ()))
        assert url["raw"] == f"{{{{base}}}}/{'/'.join(url['path'])}{'?' if query else ''}{query}", "as Postman shows it"


def test_the_environments_hold_the_same_variables_and_no_secret() -> None:
    laptop, stage = (
        {value["key"]: value["value"] for value in json.loads(path.read_text())["values"]} for path in (LAPTOP, STAGE)
    )
    assert set(laptop) == set(stage) == {"base", "api_key", "token", "mobile", "otp"}
    for held in (laptop, stage):
        assert [held[name] for name in ("api_key", "token", "otp")] == ["", "", ""]
    assert stage["mobile"] == "", "there it would cost an SMS"
