"""Run the commands of the pages about deploying and SMS: the `aws` commands against an emulated AWS."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import click
import jwt
import pytest
from falcon.testing import TestClient

from quoteapi.app import create_app
from quoteapi.aws.authorizer import authorize
from quoteapi.cli.root import main
from quoteapi.deploy.stage_setup import Answers, open_stage
from quoteapi.settings import ROOT, Settings
from quoteapi.sms.messages import confirmation_text, daily_text, otp_text
from quoteapi.storage.state import Purpose
from tests.deploy.operator_project import Nobody
from tests.helpers.data import ALCOTT, SECRET_KEY
from tests.helpers.sms_sandbox import SmsSandbox, sandbox_fixture
from tests.rehearsal.aws import REGION, Aws, emulate_aws
from tests.rehearsal.emulated_domains import extend_moto_with_domains

__all__ = ["sandbox_fixture"]

DEPLOY, STAGES_PAGE, POSTGRESQL, SMS, BY_HAND = PAGES = [
    ROOT / f"docs/{name}.md" for name in ("deploy", "stages", "deploy-postgresql", "sms", "deploy-by-hand")
]
MAX_LINES = 250
"""The length of the page that everyone reads who deploys."""
STAGES = json.loads((ROOT / "zappa_settings.json").read_text())

STAGE_WITH_DOMAIN = "prod"

PLACEHOLDERS = {
    "<your-bucket>": "quoteapi-of-mira",
    "<you@example.org>": "mira@example.org",
    "<example.org>": "example.org",
    "<quotes.example.org>": "quotes.example.org",
    "<api-id>": "a1b2c3d4e5",
    "<+919028000001>": "+919028000001",
}
REMOTE_ENVIRONMENTS = ("quoteapi-dev.json", "quoteapi-dev-auth.json")
ISSUER, AUDIENCE = "https://login.example.org", "quoteapi"

AWS_CLI_LOOP = """
import contextlib, io, json, sys
from awscli.clidriver import create_clidriver
requests, responses = sys.stdin, sys.stdout
driver = create_clidriver()
for line in requests:
    out, err = io.StringIO(), io.StringIO()
    sys.stdin = io.StringIO("testing\\ntesting\\nus-east-1\\n\\n")
    arguments = json.loads(line)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = driver.main(arguments) or 0
    if arguments[0] == "configure":
        driver = create_clidriver()  # reads the new configuration
    responses.write(json.dumps([code, out.getvalue(), err.getvalue()]) + "\\n")
    responses.flush()
"""
"""Runs the `aws` command many times in one process, because it is slow to load. Its stdin answers `aws configure`."""

ASSIGNMENT = re.compile(r"(?:export )?([A-Z_]+)=\$\((.*)\)", re.DOTALL)
ZAPPA = re.compile(
    r"zappa ((deploy|update|schedule|status) (?P<stage>\w+)|certify (?P<domain>\w+) --yes|undeploy \w+( --remove-logs)?"
    r"|invoke \w+ (?P<function>quoteapi\.aws\.schedulers\.\w+))"
)
SERVICE_URL = re.compile(r"https://([^/]+)(/[a-z/_-]+)")


def console_commands(page: Path) -> list[str]:
    """Return the commands of a page's console blocks, with values for the placeholders."""
    blocks = re.findall(r"```console\n(.*?)```", page.read_text(), re.DOTALL)
    text = "\n".join(blocks)
    for placeholder, value in PLACEHOLDERS.items():
        text = text.replace(placeholder, value)
    return [command.strip() for command in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]]


def commands_starting_with(*prefixes: str) -> list[str]:
    """Return the commands of all pages with one of the prefixes, also those whose output goes into a variable."""
    every = [command for page in PAGES for command in console_commands(page)]
    unwrapped = [assignment[2] if (assignment := ASSIGNMENT.fullmatch(command)) else command for command in every]
    return [command for command in unwrapped if command.startswith(prefixes)]


def split_command(command: str, values: dict[str, str]) -> list[str]:
    """Return the words of a command, as bash splits it with these variables."""
    printed = subprocess.run(
        ["/bin/bash", "-c", f"printf '%s\\0' {command}"],
        env={"PATH": "/usr/bin:/bin"} | values,
        capture_output=True,
        text=True,
        check=True,
    )
    return printed.stdout.split("\0")[:-1]


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    with emulate_aws() as aws:
        _create_resources_of_a_deploy(aws)
        yield aws


def _create_resources_of_a_deploy(aws: Aws) -> None:
    aws.client("dynamodb").create_table(
        TableName="quoteapi-dev",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
        DeletionProtectionEnabled=True,
    )
    gateway = aws.client("apigateway")
    api = gateway.create_rest_api(name="quoteapi-dev-key")["id"]
    root = gateway.get_resources(restApiId=api)["items"][0]["id"]
    gateway.put_method(restApiId=api, resourceId=root, httpMethod="GET", authorizationType="NONE")
    gateway.put_integration(restApiId=api, resourceId=root, httpMethod="GET", type="MOCK")
    gateway.create_deployment(restApiId=api, stageName="dev_key")
    gateway.create_api_key(name=f"dev_key_{api}", enabled=True)
    aws.client("logs").create_log_group(logGroupName="/aws/lambda/quoteapi-dev")
    gateway.create_usage_plan(name="quoteapi-dev-key")
    aws.client("sqs").create_queue(QueueName="quoteapi-dev-dlq-failures")
    aws.client("s3").create_bucket(Bucket=PLACEHOLDERS["<your-bucket>"])
    for name in REMOTE_ENVIRONMENTS:
        aws.client("s3").put_object(Bucket=PLACEHOLDERS["<your-bucket>"], Key=name, Body=b"{}")
    allow = {"Effect": "Allow", "Action": "logs:*", "Resource": "*"}
    role = "quoteapi-dev-ZappaLambdaExecutionRole"
    aws.client("iam").create_role(RoleName=role, AssumeRolePolicyDocument="{}")
    aws.client("iam").put_role_policy(
        RoleName=role,
        PolicyName="zappa-permissions",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [allow]}),
    )


class Terminal:
    """Runs `aws` commands in turn, and keeps the variables that the pages set."""

    def __init__(self, aws: Aws, command_line: subprocess.Popen[str]) -> None:
        self.variables: dict[str, str] = {}
        self._aws = aws
        self._command_line = command_line

    def run(self, command: str) -> str:
        """Run a command. Return what it printed."""
        assignment = ASSIGNMENT.fullmatch(command)
        words = split_command(assignment[2] if assignment else command, self.variables)[1:]
        # Version 1 of the AWS CLI ignores AWS_ENDPOINT_URL for some services.
        code, out, err = self._execute([*words, "--endpoint-url", self._aws.address])
        assert code == 0, (command, err)
        assert "None" not in out.split(), f"{command} finds nothing"
        if assignment:
            self.variables[assignment[1]] = out.strip()
            assert self.variables[assignment[1]], f"{command} finds nothing"
        return out

    def _execute(self, arguments: list[str]) -> tuple[int, str, str]:
        assert self._command_line.stdin is not None
        assert self._command_line.stdout is not None
        self._command_line.stdin.write(f"{json.dumps(arguments)}\n")
        self._command_line.stdin.flush()
        code, out, err = json.loads(self._command_line.stdout.readline())
        return code, out, err


@pytest.fixture
def terminal(aws: Aws, tmp_path: Path) -> Iterator[Terminal]:
    for name in REMOTE_ENVIRONMENTS:
        (tmp_path / name).write_text("{}")
    signed_in = {name: aws.variables()[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    variables = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "AWS_PAGER": "", "NO_PROXY": "127.0.0.1"}
    variables |= {"AWS_DEFAULT_REGION": REGION, **signed_in}
    with subprocess.Popen(
        [sys.executable, "-c", AWS_CLI_LOOP],
        cwd=tmp_path,
        env=variables,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Terminal(aws, process)
        finally:
            process.kill()


def test_every_aws_command_works(terminal: Terminal, aws: Aws) -> None:
    commands = [command for page in PAGES for command in console_commands(page)]
    aws_commands = [
        command
        for command in commands
        if (ASSIGNMENT.sub(r"\2", command) if ASSIGNMENT.fullmatch(command) else command).startswith("aws ")
    ]
    for command in aws_commands:
        terminal.run(command)
    assert len(set(aws_commands)) > 60
    _assert_records_validate_the_certificate(aws, terminal.variables)
    assert aws.client("s3").list_buckets()["Buckets"] == []  # created, filled and removed
    assert [role["RoleName"] for role in aws.client("iam").list_roles()["Roles"]] == []
    assert len(aws.client("apigateway").get_usage_plans()["items"]) == 1  # that of the deploy
    assert aws.client("dynamodb").list_tables()["TableNames"] == []


def _assert_records_validate_the_certificate(aws: Aws, variables: dict[str, str]) -> None:
    certificate = aws.client("acm").describe_certificate(CertificateArn=variables["CERTIFICATE"])["Certificate"]
    expected = certificate["DomainValidationOptions"][0]["ResourceRecord"]
    records = aws.client("route53").list_resource_record_sets(HostedZoneId=variables["ZONE"])["ResourceRecordSets"]
    found = {record["Name"]: record["ResourceRecords"][0]["Value"] for record in records if record["Type"] == "CNAME"}
    assert {name.rstrip("."): value for name, value in found.items()} == {
        expected["Name"].rstrip("."): expected["Value"]
    }


def test_every_zappa_command_and_its_stage_exist() -> None:
    for command in commands_starting_with("zappa"):
        known = ZAPPA.fullmatch(command)
        assert known, command
        assert command.split()[2] in STAGES, command
        assert known["domain"] in {None, STAGE_WITH_DOMAIN}


def test_every_invoked_function_exists() -> None:
    from quoteapi.aws import schedulers  # noqa: PLC0415 loads Zappa

    invoked = {words.split()[3].rpartition(".")[2] for words in commands_starting_with("zappa invoke")}
    assert invoked == {"migrate_database", "reconcile_subscriptions"}
    assert all(callable(getattr(schedulers, name)) for name in invoked)


def test_every_stage_is_in_the_table_and_is_deployed() -> None:
    stages = [stage for stage in STAGES if stage != "base"]
    assert re.findall(r"^\| `(\w+)` \|", STAGES_PAGE.read_text(), re.MULTILINE) == stages
    for command in ("zappa deploy", "quoteapi setup"):
        assert {words.split()[2] for words in commands_starting_with(command)} == set(stages)


def test_every_quoteapi_command_has_existing_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in REMOTE_ENVIRONMENTS:
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    commands = commands_starting_with("quoteapi")
    assert {command.split()[1] for command in commands} >= {"doctor"}
    for command in commands:
        words = split_command(command, {"ONE": "subnet-01", "TWO": "subnet-02", "GROUP": "sg-01"})[1:]
        if words[0] == "--stage":
            assert words[1] in STAGES
            words = words[2:]
        found: click.Command | None = main
        while isinstance(found, click.Group):
            _, found, words = found.resolve_command(click.Context(found), words)
        assert found is not None
        found.make_context(found.name, words).close()
        assert "--stage" not in words or words[words.index("--stage") + 1] in STAGES


def test_every_url_has_a_route() -> None:
    app = TestClient(create_app(Settings(async_failure=True)))
    urls = [url for command in commands_starting_with("curl") for url in SERVICE_URL.findall(command)]
    assert len(urls) >= 8
    for host, path in urls:
        _, stage, *inner = path.split("/") if "execute-api" in host else ("", STAGE_WITH_DOMAIN, *path.split("/")[1:])
        assert ("execute-api" in host) == (stage != STAGE_WITH_DOMAIN)
        assert app.simulate_options("/" + "/".join(inner)).status_code == 200


def test_the_token_that_the_page_makes_is_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (line,) = commands_starting_with("python -c")
    settings = {"JWT_SECRET": SECRET_KEY, "JWT_ISSUER": ISSUER, "JWT_AUDIENCE": AUDIENCE}
    (tmp_path / "quoteapi-dev-auth.json").write_text(json.dumps(settings))
    arguments = [sys.executable, *split_command(line, {})[1:]]
    token = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.strip()
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    method = "arn:aws:execute-api:us-east-1:123456789012:a1b2c3d4e5/dev_auth/GET/daily"
    policy = authorize({"type": "TOKEN", "authorizationToken": f"Bearer {token}", "methodArn": method}, None)
    assert policy["principalId"] == "me"
    assert jwt.decode(token, options={"verify_signature": False})["exp"]


def test_git_ignores_the_remote_environment() -> None:
    assert "/quoteapi-*.json" in (ROOT / ".gitignore").read_text().splitlines()


def test_the_page_that_everyone_reads_is_short() -> None:
    assert len(DEPLOY.read_text().splitlines()) <= MAX_LINES


def test_the_page_lists_each_result_of_setup_in_its_order(sandbox: SmsSandbox, tmp_path: Path) -> None:
    extend_moto_with_domains()
    path = tmp_path / "zappa_settings.json"
    path.write_text('{"dev": {"project_name": "quoteapi"}}')
    answers = Answers("you@example.org", "IN", "09:00", "quotes.example.org", None, ("subnet-0",), ("sg-0",))
    results = open_stage(path, "dev").run(answers, Nobody())
    table = DEPLOY.read_text().partition("| result | what it is |")[2].partition("\n\n")[0]
    listed = [name for names in re.findall(r"^\| ([a-z ,]+) \|", table, re.MULTILINE) for name in names.split(", ")]
    assert listed == list(dict.fromkeys(result.name for result in results))


def test_names_and_numbers_of_the_page_are_those_of_the_settings() -> None:
    page = DEPLOY.read_text()
    assert STAGES["base"]["memory_size"] == 512
    assert STAGES["base"]["timeout_seconds"] == 60
    assert "512 MB, and 60 seconds" in page
    assert STAGES["base"]["keep_warm_expression"] == "rate(4 minutes)"
    assert "every four minutes" in page
    assert STAGES["dev_auth"]["authorizer"]["result_ttl"] == 300
    assert "five minutes (`result_ttl`)" in STAGES_PAGE.read_text()
    assert f"takes Python {STAGES['base']['runtime'].removeprefix('python')} if you have it" in page


def test_the_templates_for_india_match_the_sms() -> None:
    blocks = re.findall(r"```text\n(.*?)```", SMS.read_text(), re.DOTALL)
    (templates,) = [re.sub(r"(?m)^ +", "", block).strip() for block in blocks if "{#var#}" in block]
    pattern = re.escape(templates).replace(re.escape("{#var#}"), ".+")
    code, confirmation, *quote = pattern.split("\\\n")
    url = "https://quotes.example.org/u"
    for purpose in get_args(Purpose):
        assert re.fullmatch(code, otp_text("482913", purpose).message)
    assert re.fullmatch(confirmation, confirmation_text(url, "at 09:00, Kolkata time").message)
    assert re.fullmatch("\n".join(quote), daily_text(ALCOTT, url).message)


def test_the_daily_sms_of_the_page_is_that_of_the_service() -> None:
    (example,) = re.findall(r"```text\n(\".*?)\n```", SMS.read_text(), re.DOTALL)
    assert daily_text(ALCOTT, "https://daily.example.in/u") == (example, 1)
