import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from quoteapi.deploy.deployment_summary import curl_command, describe_deployment
from tests.deploy.deployed_stage import MAIL, REGION, DeployedStage, client, deployed_fixture
from tests.helpers.data import SECRET_KEY
from tests.helpers.sms_sandbox import sms_sandbox
from tests.rehearsal import moto_extensions

__all__ = ["deployed_fixture"]

DOMAIN = "quotes.example.org"
AUTHORIZER = {"function": "quoteapi.aws.authorizer.authorize", "token_header": "Authorization"}


def summary(deployed: DeployedStage) -> list[str]:
    return list(describe_deployment(deployed.deployment()))


def to_do(deployed: DeployedStage) -> list[str]:
    return [line.removeprefix("- ") for line in summary(deployed) if line.startswith("- ")]


def url(deployed: DeployedStage) -> str:
    return f"https://{deployed.api}.execute-api.{REGION}.amazonaws.com/dev"


def test_a_summary_has_the_address_and_a_command_that_tries_it(deployed: DeployedStage) -> None:
    address = url(deployed)
    assert summary(deployed) == [f"The address of dev is {address}", "To try it, run:", f"  curl {address}/daily"]


def test_a_stage_without_an_api_has_no_summary(deployed: DeployedStage) -> None:
    deployed.api = None  # type: ignore[assignment]
    assert summary(deployed) == []


def run_in_shell(command: str, folder: Path, variables: Mapping[str, str] = MappingProxyType({})) -> list[str]:
    """Run a command in a shell in which `aws` and `curl` are replaced. Return the arguments of curl."""
    scripts = {
        "curl": "printf '%s\\n' \"$@\"",
        "aws": 'case "$*" in *export-credentials*) echo "export AWS_ACCESS_KEY_ID=id AWS_SECRET_ACCESS_KEY=secret";;'
        ' *get-api-key*) echo "value of $4";; esac',
    }
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    environment = {"PATH": f"{folder}:{os.environ['PATH']}", **variables}
    ran = subprocess.run(["sh", "-c", command], env=environment, capture_output=True, text=True, check=True, timeout=30)
    return ran.stdout.splitlines()


def test_the_command_for_a_stage_with_api_keys_reads_the_key(deployed: DeployedStage, tmp_path: Path) -> None:
    deployed.change(api_key_required=True)
    created = client("apigateway").create_api_key(name=f"dev_{deployed.api}", enabled=True, value="K" * 20)
    command = curl_command(deployed.deployment(), "https://quotes.example.org/daily")
    assert "K" * 20 not in command
    arguments = run_in_shell(command, tmp_path)
    assert arguments == ["-H", f"x-api-key: value of {created['id']}", "https://quotes.example.org/daily"]


def test_the_command_for_a_stage_with_iam_authorization_signs_the_request(
    deployed: DeployedStage, tmp_path: Path
) -> None:
    deployed.change(iam_authorization=True)
    command = curl_command(deployed.deployment(), "https://quotes.example.org/daily")
    signed = ["--aws-sigv4", f"aws:amz:{REGION}:execute-api", "--user", "id:secret"]
    assert run_in_shell(command, tmp_path) == [*signed, "https://quotes.example.org/daily"]
    assert run_in_shell(command, tmp_path, {"AWS_SESSION_TOKEN": "token"}) == [
        *signed,
        "-Hx-amz-security-token:token",
        "https://quotes.example.org/daily",
    ]


def test_the_command_for_a_stage_with_an_authorizer_sends_a_token(deployed: DeployedStage, tmp_path: Path) -> None:
    deployed.change(authorizer=AUTHORIZER)
    lines = summary(deployed)
    assert lines[3] == "QUOTEAPI_TOKEN must be a token that you signed: see docs/stages.md."
    assert run_in_shell(lines[2], tmp_path, {"QUOTEAPI_TOKEN": "a.b.c"}) == [
        "-H",
        "Authorization: Bearer a.b.c",
        f"{url(deployed)}/daily",
    ]


def test_the_commands_use_the_profile_of_the_stage(
    deployed: DeployedStage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "credentials").write_text("[my own]\naws_access_key_id = testing\naws_secret_access_key = testing\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    deployed.change(iam_authorization=True, profile_name="my own")
    assert "--format env --profile 'my own')" in curl_command(deployed.deployment(), "https://quotes.example.org")


# ---- what is left to do


def test_a_mail_address_must_be_confirmed(deployed: DeployedStage) -> None:
    assert to_do(deployed) == []
    topic = f"arn:aws:sns:{REGION}:123456789012:UnhandledException"
    client("sns").subscribe(TopicArn=topic, Protocol="email", Endpoint="other@example.org")
    assert to_do(deployed) == ["Click the link in the mail that AWS sent to other@example.org within 48 hours."]
    moto_extensions.confirm_mail_addresses(REGION)
    assert to_do(deployed) == []
    assert MAIL not in "".join(summary(deployed))


def test_the_sms_sandbox_must_be_left(deployed: DeployedStage) -> None:
    sms_sandbox(REGION).is_in_sandbox = True
    (line,) = to_do(deployed)
    assert line.startswith("The account is in the SMS sandbox: only verified numbers get SMS. To ask AWS ")
    assert f"https://console.aws.amazon.com/sns/v3/home?region={REGION}#/mobile/text-messaging" in line


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"SMS_ALLOWED_REGIONS": "IN,GB"}, []),
        ({"SMS_ALLOWED_REGIONS": "IN,PR"}, ["SMS to the United States must come from a number that you registered"]),
        ({"SMS_ALLOWED_REGIONS": "*"}, ["SMS to the United States must come from a number that you registered"]),
        (
            {"SMS_ALLOWED_REGIONS": "GB", "SMS_SENDER_ID": "Quotes"},
            ["Some countries require that you register the sender Quotes"],
        ),
    ],
)
def test_senders_must_be_registered_where_that_is_required(
    deployed: DeployedStage, settings: dict[str, str], expected: list[str]
) -> None:
    deployed.put_remote(SECRET_KEY=SECRET_KEY, SNS_REGION=REGION, **settings)
    assert [line.partition(":")[0] for line in to_do(deployed)] == expected


def test_a_stage_that_serves_quotes_only_has_nothing_to_do_for_sms(deployed: DeployedStage) -> None:
    deployed.put_remote(SMS_SENDER_ID="Quotes", SNS_REGION=REGION)
    sms_sandbox(REGION).is_in_sandbox = True
    assert to_do(deployed) == []


@pytest.mark.parametrize("base_path", ["", "v1"])
def test_a_domain_needs_its_certificate_and_zappa_certify(deployed: DeployedStage, base_path: str) -> None:
    acm = client("acm", "us-east-1")
    arn = acm.request_certificate(DomainName=DOMAIN, ValidationMethod="DNS")["CertificateArn"]
    deployed.change(domain=DOMAIN, certificate_arn=arn, base_path=base_path)
    assert summary(deployed)[0] == f"The address of dev is {url(deployed)}"
    certificate, certify = to_do(deployed)
    assert "Run `quoteapi setup dev`" in certificate
    assert certify == (
        "When the certificate is issued, run `zappa certify dev`. Up to 40 minutes later, the domain works."
    )
    gateway = client("apigateway")
    gateway.create_domain_name(domainName=DOMAIN, certificateArn=arn)
    gateway.create_base_path_mapping(domainName=DOMAIN, restApiId=deployed.api, basePath=base_path or "(none)")
    address = f"https://{DOMAIN}/{base_path}".rstrip("/")
    assert summary(deployed)[0] == f"The address of dev is {address}"
    assert summary(deployed)[2] == f"  curl {address}/daily"
    assert len(to_do(deployed)) == 1
