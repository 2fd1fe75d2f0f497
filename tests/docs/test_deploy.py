"""What `docs/deploy.md` and `docs/sms.md` tell people to type, typed: the `aws` commands into an emulated AWS."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import jwt
import pytest
from falcon.testing import TestClient

from quoteapi.app import create_app
from quoteapi.aws.authorizer import authorize
from quoteapi.cli.root import main
from quoteapi.settings import ROOT, Settings
from quoteapi.sms.messages import Purpose, code_text, confirmation_text, daily_text
from tests.helpers.data import ALCOTT, SECRET_KEY
from tests.rehearsal.aws import Aws, emulate_aws

PAGES = [ROOT / "docs/deploy.md", ROOT / "docs/sms.md"]
STAGES = json.loads((ROOT / "zappa_settings.json").read_text())

WITH_DOMAIN = "prod"

PLACEHOLDERS = {
    "<your-bucket>": "quoteapi-of-mira",
    "<you@example.org>": "mira@example.org",
    "<example.org>": "example.org",
    "<quotes.example.org>": "quotes.example.org",
    "<api-id>": "a1b2c3d4e5",
    "<+919028000001>": "+919028000001",
}
ISSUER, AUDIENCE = "https://login.example.org", "quoteapi"

COMMAND_LINE = """
import contextlib, io, json, sys
from awscli.clidriver import create_clidriver
questions, answers = sys.stdin, sys.stdout
driver = create_clidriver()
for line in questions:
    out, err = io.StringIO(), io.StringIO()
    sys.stdin = io.StringIO("testing\\ntesting\\nus-east-1\\n\\n")
    words = json.loads(line)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = driver.main(words) or 0
    if words[0] == "configure":
        driver = create_clidriver()  # which reads what was configured
    answers.write(json.dumps([code, out.getvalue(), err.getvalue()]) + "\\n")
    answers.flush()
"""
"""The `aws` command, which takes half a second to load, loaded once; it answers what `aws configure` asks."""

ASSIGNMENT = re.compile(r"(?:export )?([A-Z_]+)=\$\((.*)\)", re.DOTALL)
ZAPPA = re.compile(
    r"zappa ((deploy|update|schedule|status) (?P<stage>\w+)|certify (?P<domain>\w+) --yes|undeploy \w+( --remove-logs)?"
    r"|invoke \w+ (?P<function>quoteapi\.aws\.schedulers\.\w+))"
)
ADDRESS = re.compile(r"https://([^/]+)(/[a-z/_-]+)")


def typed(page: Path) -> list[str]:
    """Answer the commands in a page's console blocks, as they are typed."""
    blocks = re.findall(r"```console\n(.*?)```", page.read_text(), re.DOTALL)
    written = "\n".join(blocks)
    for placeholder, value in PLACEHOLDERS.items():
        written = written.replace(placeholder, value)
    return [command.strip() for command in re.split(r"^\$ ", written, flags=re.MULTILINE)[1:]]


def beginning(*words: str) -> list[str]:
    """Answer the commands of both pages that begin so, also those whose answer is kept."""
    inner = [
        kept[2] if (kept := ASSIGNMENT.fullmatch(command)) else command for page in PAGES for command in typed(page)
    ]
    return [command for command in inner if command.startswith(words)]


def words_of(command: str, values: dict[str, str]) -> list[str]:
    """Have bash make the words of a command."""
    told = subprocess.run(
        ["/bin/bash", "-c", f"printf '%s\\0' {command}"],
        env={"PATH": "/usr/bin:/bin"} | values,
        capture_output=True,
        text=True,
        check=True,
    )
    return told.stdout.split("\0")[:-1]


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    with emulate_aws() as aws:
        _make_what_a_deploy_makes(aws)
        yield aws


def _make_what_a_deploy_makes(aws: Aws) -> None:
    gateway = aws.client("apigateway")
    api = gateway.create_rest_api(name="quoteapi-dev-key")["id"]
    root = gateway.get_resources(restApiId=api)["items"][0]["id"]
    gateway.put_method(restApiId=api, resourceId=root, httpMethod="GET", authorizationType="NONE")
    gateway.put_integration(restApiId=api, resourceId=root, httpMethod="GET", type="MOCK")
    gateway.create_deployment(restApiId=api, stageName="dev_key")
    gateway.create_api_key(name=f"dev_key_{api}", enabled=True)
    aws.client("logs").create_log_group(logGroupName="/aws/lambda/quoteapi-dev")
    allow = {"Effect": "Allow", "Action": "logs:*", "Resource": "*"}
    role = "quoteapi-dev-ZappaLambdaExecutionRole"
    aws.client("iam").create_role(RoleName=role, AssumeRolePolicyDocument="{}")
    aws.client("iam").put_role_policy(
        RoleName=role,
        PolicyName="zappa-permissions",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [allow]}),
    )


class Terminal:
    """Runs `aws` commands one after the other, and keeps the answers that the page keeps."""

    def __init__(self, aws: Aws, command_line: subprocess.Popen[str]) -> None:
        self.values: dict[str, str] = {}
        self._aws = aws
        self._command_line = command_line

    def run(self, command: str) -> str:
        """Run a command; answer what it printed."""
        kept = ASSIGNMENT.fullmatch(command)
        words = words_of(kept[2] if kept else command, self.values)[1:]
        # Version 1 of the command, which this is, does not ask the environment for the address of some services.
        code, out, err = self._ask([*words, "--endpoint-url", self._aws.address])
        assert code == 0, (command, err)
        assert "None" not in out.split(), f"{command} finds nothing"
        if kept:
            self.values[kept[1]] = out.strip()
            assert self.values[kept[1]], f"{command} finds nothing"
        return out

    def _ask(self, words: list[str]) -> tuple[int, str, str]:
        assert self._command_line.stdin is not None
        assert self._command_line.stdout is not None
        self._command_line.stdin.write(f"{json.dumps(words)}\n")
        self._command_line.stdin.flush()
        code, out, err = json.loads(self._command_line.stdout.readline())
        return code, out, err


@pytest.fixture
def terminal(aws: Aws, tmp_path: Path) -> Iterator[Terminal]:
    for name in ("quoteapi-dev.json", "quoteapi-prod.json"):
        (tmp_path / name).write_text("{}")
    variables = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "AWS_PAGER": "", "NO_PROXY": "127.0.0.1"}
    with subprocess.Popen(
        [sys.executable, "-c", COMMAND_LINE],
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


def test_every_aws_command_does_what_it_is_there_for(terminal: Terminal, aws: Aws) -> None:
    told: dict[str, str] = {}
    for page in PAGES:
        for command in typed(page):
            kept = ASSIGNMENT.fullmatch(command)
            if (kept[2] if kept else command).startswith("aws "):
                told[command] = terminal.run(command)
    assert len(told) > 60
    _assert_that_records_lead_to_the_certificate(aws, terminal.values)
    assert aws.client("s3").list_buckets()["Buckets"] == []  # made, filled, and taken down again
    assert [role["RoleName"] for role in aws.client("iam").list_roles()["Roles"]] == []
    assert len(aws.client("apigateway").get_usage_plans()["items"]) == 0


def _assert_that_records_lead_to_the_certificate(aws: Aws, values: dict[str, str]) -> None:
    certificate = aws.client("acm").describe_certificate(CertificateArn=values["CERTIFICATE"])["Certificate"]
    wanted = certificate["DomainValidationOptions"][0]["ResourceRecord"]
    records = aws.client("route53").list_resource_record_sets(HostedZoneId=values["ZONE"])["ResourceRecordSets"]
    made = {record["Name"]: record["ResourceRecords"][0]["Value"] for record in records if record["Type"] == "CNAME"}
    assert {name.rstrip("."): value for name, value in made.items()} == {wanted["Name"].rstrip("."): wanted["Value"]}


def test_every_zappa_command_is_one_that_zappa_has_for_a_stage_that_there_is() -> None:
    for command in beginning("zappa"):
        known = ZAPPA.fullmatch(command)
        assert known, command
        assert command.split()[2] in STAGES, command
        assert known["domain"] is None or "domain" in STAGES[known["domain"]]


def test_every_function_that_is_invoked_is_there() -> None:
    from quoteapi.aws import schedulers  # noqa: PLC0415 it loads Zappa

    invoked = {words.split()[3].rpartition(".")[2] for words in beginning("zappa invoke")}
    assert invoked == {"migrate_database", "reconcile_subscriptions"}
    assert all(callable(getattr(schedulers, name)) for name in invoked)


def test_every_stage_has_its_line_in_the_table_and_is_deployed_somewhere() -> None:
    page = PAGES[0].read_text()
    stages = [stage for stage in STAGES if stage != "base"]
    assert re.findall(r"^\| `(\w+)` \|", page.split("## 4.")[1].split("\n## ")[0], re.MULTILINE) == stages
    deployed = {command.split()[2] for command in beginning("zappa deploy")}
    assert deployed == set(stages)


def test_every_quoteapi_command_has_options_that_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("quoteapi-dev.json", "quoteapi-prod.json"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    commands = beginning("quoteapi")
    assert {command.split()[1] for command in commands} >= {"doctor"}
    for command in commands:
        name, *words = words_of(command, {"API": "a1b2c3d4e5"})[1:]
        main.commands[name].make_context(name, words).close()
        assert "--stage" not in words or words[words.index("--stage") + 1] in STAGES


def test_every_address_is_one_that_the_service_answers() -> None:
    app = TestClient(create_app(Settings(async_failure=True)))
    asked = [address for command in beginning("curl") for address in ADDRESS.findall(command)]
    assert len(asked) >= 8
    for host, path in asked:
        _, stage, *inner = path.split("/") if "execute-api" in host else ("", WITH_DOMAIN, *path.split("/")[1:])
        assert ("execute-api" in host) == ("domain" not in STAGES[stage])
        assert app.simulate_options("/" + "/".join(inner)).status_code == 200


def test_a_token_that_is_made_as_the_page_says_opens_the_door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (line,) = beginning("python -c")
    settings = {"JWT_SECRET": SECRET_KEY, "JWT_ISSUER": ISSUER, "JWT_AUDIENCE": AUDIENCE}
    (tmp_path / "quoteapi-dev.json").write_text(json.dumps(settings))
    words = [sys.executable, *words_of(line, {})[1:]]
    made = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.strip()
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    method = "arn:aws:execute-api:us-east-1:123456789012:a1b2c3d4e5/dev_auth/GET/daily"
    let_in = authorize({"type": "TOKEN", "authorizationToken": f"Bearer {made}", "methodArn": method}, None)
    assert let_in["principalId"] == "me"
    assert jwt.decode(made, options={"verify_signature": False})["exp"]


def test_the_function_may_send_sms_as_the_page_says() -> None:
    allowed = [statement for statement in STAGES["base"]["extra_permissions"] if statement["Resource"] == "*"]
    needed = {
        "sns:Publish",
        "sns:CheckIfPhoneNumberIsOptedOut",
        "sns:ListPhoneNumbersOptedOut",
        "sms-voice:SendTextMessage",
    }
    assert needed <= {action for statement in allowed for action in statement["Action"]}


def test_git_sees_no_remote_environment() -> None:
    assert "/quoteapi-*.json" in (ROOT / ".gitignore").read_text().splitlines()


def test_names_that_the_page_knows_are_those_of_the_settings() -> None:
    page = PAGES[0].read_text()
    assert STAGES["dev_dlq"]["dead_letter_arn"].rpartition(":")[2] in page
    assert STAGES["base"]["memory_size"] == 512
    assert STAGES["base"]["timeout_seconds"] == 60
    assert "512 MB, and 60 seconds" in page
    assert STAGES["base"]["keep_warm_expression"] == "rate(4 minutes)"
    assert "every four minutes" in page
    assert STAGES["dev_auth"]["authorizer"]["result_ttl"] == 300
    assert "five minutes (`result_ttl`)" in page
    assert f"names, {STAGES['base']['runtime'].removeprefix('python')} (" in page


def test_the_templates_for_india_are_what_sms_say() -> None:
    blocks = re.findall(r"```text\n(.*?)```", PAGES[1].read_text(), re.DOTALL)
    (templates,) = [re.sub(r"(?m)^ +", "", block).strip() for block in blocks if "{#var#}" in block]
    words = re.escape(templates).replace(re.escape("{#var#}"), ".+")
    code, confirmation, *quote = words.split("\\\n")
    leave = "https://quotes.example.org/unsubscribe"
    for purpose in get_args(Purpose):
        assert re.fullmatch(code, code_text("482913", purpose).message)
    assert re.fullmatch(confirmation, confirmation_text(leave).message)
    assert re.fullmatch("\n".join(quote), daily_text(ALCOTT, leave).message)
