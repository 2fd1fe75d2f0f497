"""The certificate of a domain in AWS Certificate Manager (ACM)."""

from collections.abc import Callable, Generator, Iterator
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import uuid4

from quoteapi import clock
from quoteapi.deploy.aws_account import AwsAccount, aws_errors
from quoteapi.deploy.aws_resources.host_names import contains, covers
from quoteapi.deploy.aws_resources.hosted_zone import CnameRecord, HostedZone
from quoteapi.deploy.checks.check import Check
from quoteapi.deploy.setup_result import SetupResult
from quoteapi.deploy.zappa_settings import Stage

REGION = "us-east-1"
"""The region of the certificate, whatever that of the API: `zappa certify` makes edge-optimized domain names."""
RENEWAL = timedelta(days=30)
"""If ACM can renew a certificate, it has done so this long before the end."""
POLL_SECONDS, MAX_POLLS = 2, 15
"""How often a new certificate is read until it has a validation record, which takes ACM some seconds."""
Sleep = Callable[[float], object]

_ADVICE = {
    "CAA_ERROR": "A CAA record of the domain allows other issuers only. Add one for amazon.com, or remove it.",
    "DOMAIN_NOT_ALLOWED": "Amazon holds the domain to be unsafe. Ask AWS Support.",
    "ADDITIONAL_VERIFICATION_REQUIRED": "Amazon wants to verify the domain. Ask AWS Support.",
    "INVALID_PUBLIC_DOMAIN": "Nobody can register such a domain. Check its spelling.",
    "VALIDATION_TIMED_OUT": "Its record was not found in DNS for three days. Check the name servers of the domain.",
}
_USUAL_ADVICE = "See https://docs.aws.amazon.com/acm/latest/userguide/troubleshooting-cert-requests.html."


class Certificate(NamedTuple):
    """A certificate, or the request for one."""

    arn: str
    names: list[str]
    """The host names that it is valid for, also with wildcards."""
    kind: str = "AMAZON_ISSUED"
    """That, `IMPORTED`, or `PRIVATE`, which browsers do not trust."""
    status: str = "PENDING_VALIDATION"
    """As ACM names it, for example `ISSUED`."""
    failure: str = ""
    """Why ACM did not issue it."""
    expires_at: datetime | None = None
    is_validated_by_dns: bool = True
    records: list[CnameRecord] = []  # noqa: RUF012 never changed
    """What must be in DNS for the validation, and later for each renewal."""

    @property
    def is_issued(self) -> bool:
        """Whether it is valid."""
        return self.status == "ISSUED"

    @property
    def is_pending(self) -> bool:
        """Whether ACM waits for its validation."""
        return self.status == "PENDING_VALIDATION"

    def is_for(self, domain: str) -> bool:
        """Return whether it is for a host name."""
        return any(covers(name, domain) for name in self.names)

    def is_usable(self, domain: str, zone: HostedZone | None) -> bool:
        """Return whether it is valid for a domain, or will be once its records are in the zone (None: in DNS)."""
        if self.is_pending:
            can_be_validated = zone is None or all(contains(zone.name, name.removeprefix("*.")) for name in self.names)
            return self.is_for(domain) and self.is_validated_by_dns and can_be_validated
        return self.is_for(domain) and self.is_issued and self.kind != "PRIVATE"

    def __str__(self) -> str:
        """Return its names and its status."""
        until = f" until {self.expires_at:%Y-%m-%d}" if self.is_issued and self.expires_at else ""
        return f"{', '.join(self.names)}: {self.status.lower().replace('_', ' ')}{until}"


def set_up_certificate(
    account: AwsAccount, domain: str, zone: HostedZone | None, arn: str | None, sleep: Sleep
) -> Generator[SetupResult, None, Certificate]:
    """Find a usable certificate, of several an issued one or the one with this ARN, or request one.

    Yield what was found or done. Return the certificate. Raises `CheckFailed`.
    """
    with aws_errors("certificate"):
        known = _find_certificates(account, domain, arn)
        if usable := [certificate for certificate in known if certificate.is_usable(domain, zone)]:
            best = min(usable, key=lambda each: (not each.is_issued, each.arn != arn, domain not in each.names))
            yield SetupResult("certificate", "ok", str(best))
            return best
        requested = _request(account, domain, sleep)
        failed = [certificate for certificate in known if certificate.failure]
        because = f", as ACM did not issue the last one ({failed[-1].failure})" if failed else ""
        to_do = how_to_repair(failed[-1]) if failed else ""
        yield SetupResult("certificate", "done", f"requested for {domain} in {REGION}{because}", to_do)
        return requested


def how_to_repair(certificate: Certificate) -> str:
    """Return what to do about a certificate that ACM did not issue."""
    return _ADVICE.get(certificate.failure, _USUAL_ADVICE)


def _find_certificates(account: AwsAccount, domain: str, arn: str | None) -> list[Certificate]:
    """Return the certificates for a domain, and the one with this ARN if it exists; oldest first."""
    pages = account.client("acm", REGION).get_paginator("list_certificates").paginate()
    listed = [summary for page in pages for summary in page["CertificateSummaryList"] if "ManagedBy" not in summary]
    listed.sort(key=lambda summary: summary.get("CreatedAt") or summary["ImportedAt"])
    arns = [summary["CertificateArn"] for summary in listed if _is_for(summary, domain)]
    own = [arn] if arn and _is_here(account, arn) and arn not in arns else []  # listing leaves some kinds of keys out
    return [certificate for each in (*own, *arns) if (certificate := read_certificate(account, each)) is not None]


def _is_for(summary: dict[str, Any], domain: str) -> bool:
    names = summary.get("DomainName", ""), *summary.get("SubjectAlternativeNameSummaries", [])
    return any(covers(name, domain) for name in names)


def _is_here(account: AwsAccount, arn: str) -> bool:
    return arn.split(":")[3:5] == [REGION, account.account_id]


def _request(account: AwsAccount, domain: str, sleep: Sleep) -> Certificate:
    """Request a certificate. Return it with its records, or without if ACM does not have them within 30 seconds."""
    client = account.client("acm", REGION)
    arn = client.request_certificate(DomainName=domain, ValidationMethod="DNS", IdempotencyToken=uuid4().hex)
    certificate = Certificate(arn["CertificateArn"], [domain])
    for _ in range(MAX_POLLS):
        found = read_certificate(account, certificate.arn)
        if found is not None and (found.records or not found.is_pending):
            return found
        sleep(POLL_SECONDS)
    return certificate


def read_certificate(account: AwsAccount, arn: str) -> Certificate | None:
    """Return the certificate with an ARN, None if there is none. Raises `CheckFailed`."""
    with aws_errors("certificate"):
        client = account.client("acm", REGION)
        try:
            detail = client.describe_certificate(CertificateArn=arn)["Certificate"]
        except client.exceptions.ResourceNotFoundException:
            return None
    options = detail.get("DomainValidationOptions", [])
    records = [option["ResourceRecord"] for option in options if "ResourceRecord" in option]
    failure = detail.get("FailureReason", "OTHER") if detail["Status"] == "FAILED" else detail["Status"]
    return Certificate(
        arn,
        names=sorted({detail["DomainName"], *detail.get("SubjectAlternativeNames", [])}),
        kind=detail["Type"],
        status=detail["Status"],
        failure=failure if detail["Status"] in {"FAILED", "VALIDATION_TIMED_OUT"} else "",
        expires_at=detail.get("NotAfter"),
        is_validated_by_dns=all(option.get("ValidationMethod") == "DNS" for option in options),
        records=sorted({CnameRecord(record["Name"], record["Value"]) for record in records}),
    )


def check_certificate(account: AwsAccount, stage: Stage, now: clock.Clock = clock.now) -> Iterator[Check]:
    """Check that the certificate of a stage with a domain is one that API Gateway can use. Raises `CheckFailed`."""
    domain, arn = stage.get("domain"), stage.get("certificate_arn")
    if not (domain and arn):
        return
    certificate = read_certificate(account, arn) if _is_here(account, arn) else None
    to_do = "Run `quoteapi setup STAGE`."
    if certificate is None:
        yield Check("certificate", "wrong", f"there is no certificate {arn} in {REGION}", to_do)
    elif not certificate.is_for(domain):
        yield Check("certificate", "wrong", f"{certificate}, which is not for {domain}", to_do)
    elif certificate.is_pending:
        yield Check("certificate", "wrong", str(certificate), f"{to_do} It shows the records and the name servers.")
    elif not certificate.is_issued:
        yield Check("certificate", "wrong", str(certificate), to_do)
    elif certificate.expires_at is not None and certificate.expires_at - now() < RENEWAL:
        yield Check("certificate", "advice", str(certificate), _how_to_renew(certificate))
    else:
        yield Check("certificate", "ok", str(certificate))


def _how_to_renew(certificate: Certificate) -> str:
    if certificate.kind == "IMPORTED":
        return "Import the next one, with the same ARN."
    listed = "; ".join(map(str, certificate.records))
    return f"ACM renews it while DNS has its records. Check them: {listed}."
