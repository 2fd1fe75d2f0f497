"""One stage under rehearsal: the state that all steps share."""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import ZipFile

from tests.helpers.upstream_api import UpstreamApi
from tests.rehearsal import lambda_events
from tests.rehearsal.aws import DOMAIN, FUNCTION_KEY, REGION, WEB_PAGE, Aws, AwsRequest
from tests.rehearsal.checks import CheckFailed
from tests.rehearsal.project import Project
from tests.rehearsal.runtime import LambdaFunction, Outcome
from tests.rehearsal.stages import Stage
from tests.rehearsal.xray_daemon import XRayDaemon

UPSTREAM_KEY = "upstream-key-5b1d7e"
SECRETS = {
    "SECRET_KEY": "of the rehearsal, 0123456789abcdefghijklmnop",
    "JWT_SECRET": "signs the tokens of the rehearsal, 0123456789",
    "X_Mashape_Key": UPSTREAM_KEY,
}
ALLOWED_LINKS = ("https://jsonfeed.org/version/1.1", f"https://{DOMAIN}/", f"https://{WEB_PAGE}")
"""Other links in responses: the version of JSON Feed, and examples of the OpenAPI document."""
FORM = "application/x-www-form-urlencoded"
ISSUER, AUDIENCE = "https://login.example.org", "quoteapi"


class Response(NamedTuple):
    """The response that API Gateway would send to the client."""

    status: int
    headers: dict[str, str]
    """By lower-case name."""
    text: str

    @property
    def json(self) -> Any:  # noqa: ANN401 any JSON value
        """The body, parsed as JSON."""
        return json.loads(self.text)


class Rehearsal:
    """One stage in an AWS account of its own."""

    def __init__(self, stage: Stage, aws: Aws, folder: Path, upstream: UpstreamApi, database: str | None) -> None:
        """Copy the project; `database` is the URL of an empty database, if any."""
        self.stage = stage
        self.database = database
        self.aws = aws
        self.folder = folder
        self.upstream = upstream
        self.project = Project(folder / "project", aws)
        self.daemon = XRayDaemon()
        self.otps: list[str] = []
        """One-time passwords that were sent, which must be in no log."""
        self._exit_stack = ExitStack()
        self._exit_stack.callback(self.daemon.stop)
        self.remote_environment: dict[str, str] = {}

    def close(self) -> None:
        """Stop the container and the X-Ray daemon."""
        self._exit_stack.close()

    @property
    def secrets(self) -> list[str]:
        """The values of the remote environment that no log, report or package may contain."""
        known = self.remote_environment
        return [known[name] for name in (*SECRETS, "DATABASE_URL") if name in known]

    def put_remote_environment(self, values: Mapping[str, str]) -> None:
        """Upload the remote environment."""
        self.aws.put_remote_environment(self._remote_environment_name, values)

    def read_remote_environment(self) -> dict[str, str]:
        """Return the remote environment, also what a deploy added to it."""
        return self.aws.read_remote_environment(self._remote_environment_name)

    @property
    def _remote_environment_name(self) -> str:
        return f"{self.stage.function}.json"

    def subscribers(self) -> list[dict[str, Any]]:
        """Return the subscribers in the stage's DynamoDB table."""
        items = self.aws.client("dynamodb").scan(TableName=self.stage.function)["Items"]
        return [item for item in items if item["sk"] == {"S": "subscriber"}]

    # ---- deployed resources

    @cached_property
    def configuration(self) -> dict[str, Any]:
        """The function's configuration, as AWS has it after the last update."""
        return self.aws.function(self.stage.function)

    @cached_property
    def api_id(self) -> str:
        """The id of the stage's REST API."""
        found = [
            api["id"]
            for api in self.aws.client("apigateway").get_rest_apis()["items"]
            if api["name"] == self.stage.function
        ]
        if len(found) != 1:
            raise CheckFailed(f"there are {len(found)} REST APIs named {self.stage.function}, expected one")
        return str(found[0])

    @property
    def base(self) -> str:
        """The stage's public base URL."""
        if self.stage.has_domain:
            return f"https://{DOMAIN}"
        return f"https://{self.api_id}.execute-api.{REGION}.amazonaws.com/{self.stage.name}"

    @cached_property
    def rules(self) -> list[dict[str, Any]]:
        """The EventBridge rules that invoke the function."""
        client = self.aws.client("events")
        names = client.list_rule_names_by_target(TargetArn=self.configuration["FunctionArn"])["RuleNames"]
        return [client.describe_rule(Name=name) for name in names]

    # ---- the running function

    @cached_property
    def package(self) -> Path:
        """The folder with the unzipped package that was uploaded to Lambda."""
        folder = self.folder / "task"
        with ZipFile(BytesIO(self.aws.package_of(self.stage.function))) as zipped:
            zipped.extractall(folder)
        self._unzipped = _files_with_times(folder)
        return folder

    def changed_files(self) -> list[str]:
        """Return the files that changed since they were unzipped, such as bytecode that Python compiled again."""
        return [str(path) for path, _ in _files_with_times(self.package) ^ self._unzipped]

    @cached_property
    def function(self) -> LambdaFunction:
        """The function, in a container that all steps use."""
        return self._exit_stack.enter_context(self.start_container("first"))

    @contextmanager
    def start_container(self, name: str, clock: Path | None = None) -> Iterator[LambdaFunction]:
        """Run another container of the function until the block ends; its time is in the file `clock`, if given."""
        environment = self.aws.variables(FUNCTION_KEY) | {"AWS_XRAY_DAEMON_ADDRESS": self.daemon.address}
        function = LambdaFunction(self.package, self.configuration, self.folder / name, environment, clock)
        try:
            yield function
        finally:
            function.stop()

    def send(self, method: str, path: str, body: str | None = None, **headers: str) -> Response:
        """Send a request as API Gateway does, and check the links in the response."""
        return self.send_to(self.function, method, path, body, **headers)

    def send_to(
        self, function: LambdaFunction, method: str, path: str, body: str | None = None, **headers: str
    ) -> Response:
        """Send a request to a container, as `send` does to the first one."""
        event = lambda_events.api_gateway_event(
            method,
            path if path.startswith("https:") else f"{self.base}{path}",
            stage=self.stage.name,
            api=self.api_id,
            headers={name.replace("_", "-"): value for name, value in headers.items()},
            body=body,
        )
        outcome = function.invoke(event)
        if outcome.error is not None:
            raise CheckFailed(f"{method} {path} failed: {outcome.error}")
        response = _parse_response(outcome)
        _check_links(f"{method} {path}", response, self.base)
        return response

    @contextmanager
    def record_aws_requests(self) -> Iterator[list[AwsRequest]]:
        """Collect the requests to AWS made inside the block; the list is filled when the block ends."""
        before = self.aws.recorded_bytes()
        collected: list[AwsRequest] = []
        yield collected
        collected += self.aws.requests(before)


def _files_with_times(folder: Path) -> set[tuple[Path, int]]:
    return {(path, path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def _parse_response(outcome: Outcome) -> Response:
    result = outcome.result
    if result.get("isBase64Encoded"):
        raise CheckFailed(f"a text response is base64-encoded: {result}")
    headers = {name.lower(): value for name, value in result.get("headers", {}).items()}
    many = {name.lower(): ", ".join(values) for name, values in result.get("multiValueHeaders", {}).items()}
    return Response(result["statusCode"], headers | many, result.get("body", ""))


def _check_links(what: str, response: Response, base: str) -> None:
    """Raise `CheckFailed` if a link to the service does not begin with the stage's base URL."""
    for text in (response.text, response.headers.get("link", "")):
        for rest in text.split("https://")[1:]:
            url = f"https://{rest}"
            if not re.match(rf"{re.escape(base)}(?![\w.-])", url) and not url.startswith(ALLOWED_LINKS):
                raise CheckFailed(f"{what}: a link goes to {url[:200]}, not below {base}")
    prefix = "/" + "".join(base.removeprefix("https://").partition("/")[1:])[1:]
    if not response.headers.get("location", base).startswith((base, prefix)):
        raise CheckFailed(f"{what}: Location is {response.headers['location']}, not below {base}")
