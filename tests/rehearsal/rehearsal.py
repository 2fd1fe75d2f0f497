"""A rehearsal of one stage: what its steps share."""

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
from tests.rehearsal import events
from tests.rehearsal.aws import BUCKET, DOMAIN, REGION, WEB_PAGE, Asked, Aws
from tests.rehearsal.project import Project
from tests.rehearsal.runtime import Function, Outcome
from tests.rehearsal.stages import Stage
from tests.rehearsal.traces import Daemon
from tests.rehearsal.wrong import Wrong, same

UPSTREAM_KEY = "upstream-key-5b1d7e"
SECRETS = {
    "SECRET_KEY": "of the rehearsal, 0123456789abcdefghijklmnop",
    "JWT_SECRET": "signs the tokens of the rehearsal, 0123456789",
    "X_Mashape_Key": UPSTREAM_KEY,
}
ELSEWHERE = ("https://jsonfeed.org/version/1.1", f"https://{DOMAIN}/", f"https://{WEB_PAGE}")
"""What answers may name that is no address of theirs: the form of a feed, and the examples of the contract."""
ISSUER, AUDIENCE = "https://login.example.org", "quoteapi"


class Answer(NamedTuple):
    """What API Gateway would send to the client."""

    status: int
    headers: dict[str, str]
    """By their names in small letters."""
    text: str

    @property
    def json(self) -> Any:  # noqa: ANN401 whatever JSON has
        """The body, parsed."""
        return json.loads(self.text)


class Rehearsal:
    """One stage on an account of AWS that has nothing else."""

    def __init__(self, stage: Stage, aws: Aws, folder: Path, upstream: UpstreamApi, database: str | None) -> None:
        """Prepare, with the address of a database that is empty where the stage shares its state."""
        self.stage = stage
        self.aws = aws
        self.folder = folder
        self.upstream = upstream
        self.project = Project(folder / "project", aws)
        self.daemon = Daemon()
        self.codes: list[str] = []
        """One-time passwords that went out, which must be in no log."""
        self._until_the_end = ExitStack()
        self._until_the_end.callback(self.daemon.stop)
        self.remote_environment = _remote_environment(upstream, database)
        self.put_remote_environment(self.remote_environment)

    def close(self) -> None:
        """End what runs."""
        self._until_the_end.close()

    @property
    def secrets(self) -> list[str]:
        """What the remote environment has that nobody may see."""
        known = self.remote_environment
        return [known[name] for name in (*SECRETS, "DATABASE_URL") if name in known]

    def put_remote_environment(self, values: Mapping[str, str]) -> None:
        """Upload the remote environment to where the stage's settings say."""
        bucket, _, name = self.project.of_stage(self.stage.name, "remote_env").removeprefix("s3://").partition("/")
        same("the bucket of the remote environment", bucket, BUCKET)
        self.aws.put_remote_environment(name, values)

    # ---- what was made

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
            raise Wrong(f"there are {len(found)} REST APIs named {self.stage.function}, wanted one")
        return str(found[0])

    @property
    def base(self) -> str:
        """The address at which clients find the stage."""
        if self.stage.has_domain:
            return f"https://{DOMAIN}"
        return f"https://{self.api_id}.execute-api.{REGION}.amazonaws.com/{self.stage.name}"

    @cached_property
    def rules(self) -> list[dict[str, Any]]:
        """The rules of EventBridge that call the function."""
        client = self.aws.client("events")
        names = client.list_rule_names_by_target(TargetArn=self.configuration["FunctionArn"])["RuleNames"]
        return [client.describe_rule(Name=name) for name in names]

    # ---- what runs

    @cached_property
    def package(self) -> Path:
        """The folder into which what Lambda got is unzipped, and nothing else."""
        folder = self.folder / "task"
        with ZipFile(BytesIO(self.aws.package_of(self.stage.function))) as zipped:
            zipped.extractall(folder)
        self._unzipped = _written(folder)
        return folder

    def changed_files(self) -> list[str]:
        """Answer what is not as it was unzipped, such as bytecode that Python did not believe and made anew."""
        return [str(path) for path, _ in _written(self.package) ^ self._unzipped]

    @cached_property
    def function(self) -> Function:
        """The function, in a container that is used again and again."""
        if self.stage.shares_state and not self.stage.has_domain:  # whose address is known only now
            self.remote_environment |= {"PUBLIC_URL": self.base, "UNSUBSCRIBE_REQUIRES_OTP": "true"}
            self.put_remote_environment(self.remote_environment)
        return self._until_the_end.enter_context(self.another_container("first"))

    @contextmanager
    def another_container(self, name: str) -> Iterator[Function]:
        """Start a container of the function, until the block ends."""
        environment = self.aws.variables() | {"AWS_XRAY_DAEMON_ADDRESS": self.daemon.address}
        function = Function(self.package, self.configuration, self.folder / name, environment)
        try:
            yield function
        finally:
            function.stop()

    def ask(self, method: str, path: str, body: str | None = None, **headers: str) -> Answer:
        """Send a request to the stage, by API Gateway's way. Every answer's links are looked at."""
        event = events.request(
            method,
            path if path.startswith("https:") else f"{self.base}{path}",
            stage=self.stage.name,
            api=self.api_id,
            headers={name.replace("_", "-"): value for name, value in headers.items()},
            body=body,
        )
        outcome = self.function.invoke(event)
        if outcome.error is not None:
            raise Wrong(f"{method} {path} failed: {outcome.error}")
        answer = _answer(outcome)
        _check_links(f"{method} {path}", answer, self.base)
        return answer

    @contextmanager
    def watching(self) -> Iterator[list[Asked]]:
        """Collect what is asked of AWS meanwhile; it is there when the block has ended."""
        before = len(self.aws.asked())
        collected: list[Asked] = []
        yield collected
        collected += self.aws.asked()[before:]


def _written(folder: Path) -> set[tuple[Path, int]]:
    return {(path, path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def _remote_environment(upstream: UpstreamApi, database: str | None) -> dict[str, str]:
    values = {
        **SECRETS,
        "Mashape_API_Endpoint": upstream.address,
        "aws_access_key_id": "testing",
        "aws_secret_access_key": "testing",
        "SMS_ALLOWED_REGIONS": "IN",
        "JWT_ISSUER": ISSUER,
        "JWT_AUDIENCE": AUDIENCE,
        "CODES_PER_NUMBER": "2/1m",
    }
    return values if database is None else {**values, "DATABASE_URL": database}


def _answer(outcome: Outcome) -> Answer:
    answer = outcome.answer
    if answer.get("isBase64Encoded"):
        raise Wrong(f"an answer is base64, which is for what is not text: {answer}")
    headers = {name.lower(): value for name, value in answer.get("headers", {}).items()}
    many = {name.lower(): ", ".join(values) for name, values in answer.get("multiValueHeaders", {}).items()}
    return Answer(answer["statusCode"], headers | many, answer.get("body", ""))


def _check_links(what: str, answer: Answer, base: str) -> None:
    """Raise `Wrong` where an address of the service in an answer lacks the stage, or has one that is not there."""
    for part in (answer.text, answer.headers.get("link", "")):
        for address in part.split("https://")[1:]:
            ours = re.match(rf"{re.escape(base)}(?![\w.-])", f"https://{address}")
            if ours is None and not f"https://{address}".startswith(ELSEWHERE):
                raise Wrong(f"{what}: a link goes to https://{address[:200]} and not to {base}")
    prefix = "/" + "".join(base.removeprefix("https://").partition("/")[1:])[1:]
    if not answer.headers.get("location", base).startswith((base, prefix)):
        raise Wrong(f"{what}: Location is {answer.headers['location']}, and should be below {base}")
