"""What the operator reads after a deploy: the address, a command that tries it, and what they must do themselves."""

import shlex
from collections.abc import Iterator
from contextlib import suppress

from quoteapi.deploy.after_deploy import Deployment
from quoteapi.deploy.aws_account import aws_errors
from quoteapi.deploy.aws_resources.certificate import check_certificate
from quoteapi.deploy.aws_resources.failure_mail import how_to_confirm, list_mail_addresses
from quoteapi.deploy.aws_resources.sms_account import SANDBOX_FOUND, how_to_leave_sandbox, is_in_sandbox
from quoteapi.deploy.aws_resources.usage_plan import find_api_key
from quoteapi.deploy.checks.check import Check, CheckFailed
from quoteapi.deploy.zappa_settings import get_nested_object
from quoteapi.settings import ANY_REGION, Settings, SettingsError

COUNTRIES = "https://docs.aws.amazon.com/sns/latest/dg/sns-supported-regions-countries.html"
_UNITED_STATES = {"US", "AS", "GU", "MP", "PR", "VI"}
"""The United States and its territories, where SMS must come from a registered number (docs/sms.md)."""


def describe_deployment(deployment: Deployment) -> Iterator[str]:
    """Yield lines. What cannot be found out is left out: `quoteapi doctor --stage` says why."""
    address = _address(deployment)
    if address is None:
        return
    yield f"The address of {deployment.names.stage} is {address}"
    yield "To try it, run:"
    yield f"  {curl_command(deployment, f'{address}/daily')}"
    if get_nested_object(deployment.stage, "authorizer"):
        yield "QUOTEAPI_TOKEN must be a token that you signed: see docs/stages.md."
    if to_do := list(_list_to_do(deployment)):
        yield "What you still have to do:"
        yield from (f"- {line}" for line in to_do)


def _address(deployment: Deployment) -> str | None:
    """Return the address that works now: that of the domain if it leads to the API."""
    if _is_certified(deployment):
        base_path = str(deployment.stage.get("base_path") or "").strip("/")
        return f"https://{deployment.stage['domain']}/{base_path}".rstrip("/")
    return deployment.api_url


def _is_certified(deployment: Deployment) -> bool:
    """Return whether `zappa certify` was run for this API; False also if that cannot be found out."""
    if not (domain := deployment.stage.get("domain")):
        return False
    with suppress(CheckFailed), aws_errors("domain"):
        client = deployment.names.account.client("apigateway")
        mappings = client.get_base_path_mappings(domainName=domain).get("items", [])
        return any(mapping["restApiId"] == deployment.api for mapping in mappings)
    return False


def curl_command(deployment: Deployment, arguments: str) -> str:
    """Return a command for a shell that sends a request, given by arguments of curl, with what the stage demands.

    It reads an API key and the AWS credentials when it runs, so that they are in no output.
    """
    stage, region = deployment.stage, deployment.names.account.region
    if stage.get("iam_authorization"):
        credentials = f"aws configure export-credentials --format env{_profile_option(deployment)}"
        signature = f'--aws-sigv4 aws:amz:{region}:execute-api --user "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY"'
        token = "${AWS_SESSION_TOKEN:+-Hx-amz-security-token:$AWS_SESSION_TOKEN}"  # noqa: S105 a variable of the shell
        return f'(eval "$({credentials})"; curl {signature} {token}{_key_option(deployment)} {arguments})'
    authorizer = get_nested_object(stage, "authorizer")
    header = authorizer.get("token_header", "Authorization")
    token = f' -H "{header}: Bearer $QUOTEAPI_TOKEN"' if authorizer else ""
    return f"curl{token}{_key_option(deployment)} {arguments}"


def _key_option(deployment: Deployment) -> str:
    """Return the option of curl for the API key, with a command that reads it; empty if none is required."""
    if not deployment.stage.get("api_key_required") or deployment.api is None:
        return ""
    key = "<ID of the key>"
    with suppress(CheckFailed), aws_errors("usage plan"):
        key = find_api_key(deployment.names, deployment.stage, deployment.api) or key
    region = deployment.names.account.region
    options = f"--include-value --query value --output text --region {region}{_profile_option(deployment)}"
    return f' -H "x-api-key: $(aws apigateway get-api-key --api-key {key} {options})"'


def _profile_option(deployment: Deployment) -> str:
    profile = deployment.stage.get("profile_name")
    return f" --profile {shlex.quote(profile)}" if profile else ""


def _list_to_do(deployment: Deployment) -> Iterator[str]:
    """Yield what only a person can do, and where."""
    yield from _list_to_do_for_domain(deployment)
    try:
        settings = deployment.settings()
    except (CheckFailed, SettingsError):  # as the step of the database reported
        return
    with suppress(CheckFailed):
        addresses = list_mail_addresses(deployment.names.account, settings.sns_region)
        yield from filter(None, [how_to_confirm(addresses)])
    if settings.has_shared_state and settings.gateway == "sns":
        yield from _list_to_do_for_sms(deployment, settings)


def _list_to_do_for_domain(deployment: Deployment) -> Iterator[str]:
    name = deployment.names.stage
    if not deployment.stage.get("domain"):
        return
    problems: list[Check] = []
    with suppress(CheckFailed):
        certificate = check_certificate(deployment.names.account, deployment.stage)
        problems = [check for check in certificate if check.state != "ok"]
    yield from (f"{check.found}. {check.to_do}".replace(" STAGE", f" {name}") for check in problems)
    if not _is_certified(deployment):
        when = "When the certificate is issued, run" if problems else "Run"
        yield f"{when} `zappa certify {name}`. Up to 40 minutes later, the domain works."


def _list_to_do_for_sms(deployment: Deployment, settings: Settings) -> Iterator[str]:
    with suppress(CheckFailed), aws_errors("sandbox"):
        if is_in_sandbox(deployment.names.account.client("sns", settings.sns_region)):
            yield f"{SANDBOX_FOUND[:1].upper()}{SANDBOX_FOUND[1:]}. {how_to_leave_sandbox(settings.sns_region)}"
    if settings.sms_allowed_regions & {*_UNITED_STATES, ANY_REGION}:
        yield f"SMS to the United States must come from a number that you registered: {COUNTRIES}"
    if settings.sms_sender_id is not None:
        yield f"Some countries require that you register the sender {settings.sms_sender_id}: {COUNTRIES}"
