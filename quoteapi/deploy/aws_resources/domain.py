"""The domain of a stage, after its hosted zone and its certificate are there: validation, and what is left to do.

`zappa certify` makes the address: a custom domain name of API Gateway, and in Route 53 the record that leads there.
"""

from collections.abc import Callable, Generator, Iterator
from typing import Any

from quoteapi.deploy.aws_account import AwsAccount, aws_errors
from quoteapi.deploy.aws_resources.certificate import Certificate, how_to_repair, read_certificate
from quoteapi.deploy.aws_resources.host_names import contains, is_registered
from quoteapi.deploy.aws_resources.hosted_zone import PRICE, HostedZone, name_servers, set_up_records
from quoteapi.deploy.setup_result import SetupResult
from quoteapi.deploy.stage_names import StageNames

Wait = Callable[[str, Callable[[], bool]], bool]
"""Shows a label until something is done. Returns False if the operator does not want to wait longer."""
_SPEED = "Up to 40 minutes later, the address works."
"""See https://docs.aws.amazon.com/apigateway/latest/developerguide/how-to-edge-optimized-custom-domain-name.html."""


def set_up_validation(
    names: StageNames, domain: str, zone: HostedZone | None, certificate: Certificate, wait: Wait
) -> Generator[SetupResult, None, Certificate]:
    """Create the validation records, say what the operator must do, and wait until ACM issues the certificate.

    Yield what was found or done. Return the certificate as it is then. Raises `CheckFailed`.
    """
    if zone is None:
        yield from _list_records(certificate)
    else:
        inside = [record for record in certificate.records if contains(zone.name, record.name.rstrip("."))]
        yield from set_up_records(names.account, zone, inside)
        if zone.is_new or certificate.is_pending:
            servers = ", ".join(name_servers(names.account, zone))
            yield SetupResult("name servers", "waiting", servers, _how_to_delegate(names.stage, domain, zone))
    if certificate.is_pending:
        wait(f"Waiting for the certificate of {domain}", lambda: not _read_again(names, certificate).is_pending)
        return _read_again(names, certificate)
    return certificate


def _read_again(names: StageNames, certificate: Certificate) -> Certificate:
    return read_certificate(names.account, certificate.arn) or certificate


def _list_records(certificate: Certificate) -> Iterator[SetupResult]:
    if certificate.is_pending:
        for record in certificate.records:
            yield SetupResult("records", "waiting", str(record), "Add this record where the DNS of the domain is.")


def _how_to_delegate(stage: str, domain: str, zone: HostedZone) -> str:
    if not is_registered(zone.name):
        return f"In the DNS of {zone.name.partition('.')[2]}, add NS records for {zone.name} with these four values."
    to_do = f"Make these the name servers of {zone.name} at its registrar."
    if not zone.is_new:
        return f"Unless it is done: {to_do[:1].lower()}{to_do[1:]}"
    if zone.name == domain:
        return f"{to_do} If it has other DNS records, for example of mail, copy them to the hosted zone first."
    instead = f"`quoteapi setup {stage} --hosted-zone {domain}`"
    return f"{to_do} If its DNS is in use elsewhere, for example for mail, run {instead} instead."


def describe_domain(
    names: StageNames, domain: str, zone: HostedZone | None, certificate: Certificate, *, is_saved: bool
) -> Iterator[SetupResult]:
    """Yield whether a domain is ready for use, and what is left to do. Raises `CheckFailed`."""
    if certificate.failure:
        found = f"ACM does not issue the certificate of {domain} ({certificate.failure})"
        yield SetupResult("domain", "failed", found, how_to_repair(certificate))
    elif certificate.is_pending:
        to_do = f"To go on when it is issued, run `quoteapi setup {names.stage}` again."
        yield SetupResult("domain", "waiting", f"the certificate of {domain} is not issued yet", to_do)
    else:
        to_do = _how_to_connect(names, domain, zone, certificate)
        yield SetupResult("domain", "done" if is_saved else "ok", f"https://{domain}", to_do)


def _how_to_connect(names: StageNames, domain: str, zone: HostedZone | None, certificate: Certificate) -> str:
    found = find_custom_domain(names.account, domain)
    if found is None or found.get("certificateArn") != certificate.arn:
        return f"After `zappa deploy {names.stage}`, run `zappa certify {names.stage}`. {_SPEED}"
    if zone is None:
        record = f"{domain}. CNAME {found['distributionDomainName']}."
        return f"It needs the DNS record {record} For a domain itself, where CNAME is not allowed, use ALIAS or ANAME."
    return ""


def find_custom_domain(account: AwsAccount, domain: str) -> dict[str, Any] | None:
    """Return the custom domain name of API Gateway that `zappa certify` created, None if it did not yet.

    Raises `CheckFailed`.
    """
    with aws_errors("domain"):
        client = account.client("apigateway")
        try:
            found: dict[str, Any] = client.get_domain_name(domainName=domain)
        except client.exceptions.NotFoundException:
            return None
    return found


def describe_removed_domain(account: AwsAccount, domain: str) -> Iterator[SetupResult]:
    """Yield what stays in AWS of a domain that a stage no longer has. Raises `CheckFailed`."""
    stay = f"Its certificate, which is free, and its hosted zone ({PRICE}) stay."
    if find_custom_domain(account, domain) is not None:
        region = f"--region {account.region}"
        stay = f"To stop serving it, run `aws apigateway delete-domain-name --domain-name {domain} {region}`. {stay}"
    yield SetupResult("domain", "done", f"{domain} is no longer that of the stage", stay)
