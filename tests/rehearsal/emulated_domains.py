"""What moto's Route 53 and ACM lack: caller references, and certificates whose validation needs a DNS record."""

from functools import cache
from typing import Any

from moto.acm.models import CertBundle
from moto.route53.exceptions import Route53ClientError
from moto.route53.models import FakeZone, Route53Backend, route53_backends

_create_hosted_zone = Route53Backend.create_hosted_zone
_check = CertBundle.check
_describe = CertBundle.describe


@cache
def extend_moto_with_domains() -> None:
    """Reject a caller reference that was used before, and issue certificates only once their records are in a zone.

    A certificate also has the reason of its failure, and lists name all its host names.
    """
    backend: Any = Route53Backend
    bundle: Any = CertBundle
    backend.create_hosted_zone = _create_hosted_zone_once
    bundle.check = _check_records
    bundle.describe = _describe_fully


def _create_hosted_zone_once(self: Any, *args: Any, **fields: Any) -> FakeZone:  # noqa: ANN401
    used = self.__dict__.setdefault("caller_references", set())
    if fields["caller_reference"] in used:
        message = "A hosted zone has already been created with the specified caller reference."
        raise Route53ClientError("HostedZoneAlreadyExists", message)
    used.add(fields["caller_reference"])
    return _create_hosted_zone(self, *args, **fields)


def _check_records(self: CertBundle) -> None:
    if self.status != "PENDING_VALIDATION" or _required_records(self) <= _public_records(self.arn.split(":")[4]):
        _check(self)


def _required_records(bundle: CertBundle) -> set[tuple[str, str]]:
    options = _describe(bundle)["Certificate"].get("DomainValidationOptions", [])
    return {(option["ResourceRecord"]["Name"], option["ResourceRecord"]["Value"]) for option in options}


def _public_records(account: str) -> set[tuple[str, str]]:
    zones = [zone for zone in route53_backends[account]["aws"].zones.values() if not zone.private_zone]
    records = [record for zone in zones for record in zone.rrsets if record.type == "CNAME"]
    return {(record.name, value) for record in records for value in record.records}


def _describe_fully(self: CertBundle) -> dict[str, Any]:
    description = _describe(self)
    description["Certificate"]["SubjectAlternativeNameSummaries"] = self.sans
    if self.status == "FAILED":
        description["Certificate"]["FailureReason"] = self.__dict__.get("failure_reason", "OTHER")
    return description
