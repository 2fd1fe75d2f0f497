"""What is left of a stage's domain: its DNS record, its domain name in API Gateway, its certificate and its zone.

A certificate or a zone that is also for something else is kept.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

from quoteapi.deploy.aws_resources.certificate import REGION, read_certificate
from quoteapi.deploy.aws_resources.domain import find_custom_domain
from quoteapi.deploy.aws_resources.hosted_zone import HostedZone, find_zones
from quoteapi.deploy.stage_names import StageNames
from quoteapi.deploy.teardown.leftover import FREE, ZONE_PRICE, Leftover, describe_cost
from quoteapi.deploy.teardown.other_stages import OtherStages, say_used
from quoteapi.deploy.zappa_settings import Stage
from quoteapi.printable import counted

_ADDRESS_TYPES = {"A", "AAAA", "CNAME"}
_VALIDATION = ".acm-validations.aws."


def find_domain(names: StageNames, stage: Stage, others: OtherStages) -> Iterator[Leftover]:
    """Yield what is left of the stage's domain, in the order in which AWS can delete it. Raises errors of boto3."""
    if not (domain := stage.get("domain")):
        return
    custom = find_custom_domain(names.account, domain) or {}
    targets = (custom.get(name) for name in ("distributionDomainName", "regionalDomainName"))
    addresses = _Addresses(domain, set(filter(None, targets)))
    kept = say_used(others.with_setting("domain", domain)) or _say_mapped(names, custom)
    zones = find_zones(names.account.client("route53"), domain)
    for zone in zones[:1]:
        yield from _find_address_records(names, addresses, zone, kept)
    if custom:
        delete = partial(names.account.client("apigateway").delete_domain_name, domainName=domain)
        yield Leftover("domain name", domain, "in API Gateway", FREE, delete, kept)
    yield from _find_certificate(names, stage, kept or say_used(_stages_with_certificate(others, stage)))
    for zone in zones[:1]:
        yield _find_zone(names, addresses, zone, kept)


class _Addresses(NamedTuple):
    """What `zappa certify` makes a domain lead to."""

    domain: str
    targets: set[str]
    """Host names of API Gateway; none after its domain name is deleted."""

    def has(self, record: dict[str, Any]) -> bool:
        """Return whether a record leads from the domain to API Gateway, and not to another service of AWS."""
        alias = record.get("AliasTarget", {}).get("DNSName")
        found = {alias} if alias else {each["Value"] for each in record.get("ResourceRecords", [])}
        is_address = record["Name"] == f"{self.domain}." and record["Type"] in _ADDRESS_TYPES
        return is_address and {target.rstrip(".").lower() for target in found} <= self.targets


def _say_mapped(names: StageNames, custom: dict[str, Any]) -> str:
    """Return that APIs answer at a custom domain name of API Gateway; empty if there are none."""
    client = names.account.client("apigateway")
    pages = client.get_paginator("get_base_path_mappings").paginate(domainName=custom["domainName"]) if custom else ()
    count = sum(len(page.get("items", [])) for page in pages)
    return f"{counted(count, 'API')} still {'answers' if count == 1 else 'answer'} there" if count else ""


def _stages_with_certificate(others: OtherStages, stage: Stage) -> list[str]:
    arn = stage.get("certificate_arn")
    return others.with_setting("certificate_arn", arn) if arn else []


def _find_address_records(names: StageNames, addresses: _Addresses, zone: HostedZone, kept: str) -> Iterator[Leftover]:
    client = names.account.client("route53")
    for record in _list_records(client, zone):
        if addresses.has(record):
            delete = partial(_delete_record, client, zone, record)
            yield Leftover("DNS record", f"{addresses.domain} {record['Type']}", f"in {zone.name}", FREE, delete, kept)


def _find_certificate(names: StageNames, stage: Stage, kept: str) -> Iterator[Leftover]:
    """Yield the certificate. It is kept unless AWS issued it, for the stage's domain alone."""
    arn, domain = str(stage.get("certificate_arn") or ""), stage["domain"]
    certificate = read_certificate(names.account, arn) if arn else None
    if certificate is not None:
        others = [name for name in certificate.names if name != domain]
        kept = kept or (f"it is also for {', '.join(others)}" if others else "")
        kept = kept or ("you imported it" if certificate.kind == "IMPORTED" else "")
        delete = partial(names.account.client("acm", REGION).delete_certificate, CertificateArn=arn)
        status = certificate.status.lower().replace("_", " ")
        yield Leftover("certificate", domain, status, FREE, delete, kept)


def _find_zone(names: StageNames, addresses: _Addresses, zone: HostedZone, kept: str) -> Leftover:
    client = names.account.client("route53")
    others = [record for record in _list_records(client, zone) if not _is_own(record, addresses, zone)]
    kept = kept or (f"it has {counted(len(others), 'other record')}" if others else "")
    kept = kept or ("" if zone.is_own else "`quoteapi setup` did not create it")
    delete = partial(_delete_zone, client, addresses.domain, zone)
    return Leftover("hosted zone", zone.name, "no other records", describe_cost(ZONE_PRICE), delete, kept)


def _list_records(client: Any, zone: HostedZone) -> list[dict[str, Any]]:  # noqa: ANN401 boto3
    pages = client.get_paginator("list_resource_record_sets").paginate(HostedZoneId=zone.zone_id)
    return [record for page in pages for record in page["ResourceRecordSets"]]


def _is_validation(record: dict[str, Any], domain: str) -> bool:
    """Return whether ACM validates a certificate of a domain by a record."""
    host, _, parent = str(record["Name"]).partition(".")
    values = [each["Value"] for each in record.get("ResourceRecords", [])]
    leads_to_acm = all(f"{value.rstrip('.')}.".endswith(_VALIDATION) for value in values)
    return record["Type"] == "CNAME" and host.startswith("_") and parent == f"{domain}." and leads_to_acm


def _is_own(record: dict[str, Any], addresses: _Addresses, zone: HostedZone) -> bool:
    """Return whether a record is of the zone itself or of a domain in it, with the names below that."""
    is_of_zone = record["Name"] == f"{zone.name}." and record["Type"] in {"NS", "SOA"}
    return is_of_zone or addresses.has(record) or _is_validation(record, addresses.domain)


def _delete_zone(client: Any, domain: str, zone: HostedZone) -> None:  # noqa: ANN401 boto3
    """Delete a zone, with the records of the validation. AWS refuses if it has others."""
    for record in _list_records(client, zone):
        if _is_validation(record, domain):
            _delete_record(client, zone, record)
    client.delete_hosted_zone(Id=zone.zone_id)


def _delete_record(client: Any, zone: HostedZone, record: dict[str, Any]) -> None:  # noqa: ANN401 boto3
    changes = {"Changes": [{"Action": "DELETE", "ResourceRecordSet": record}]}
    client.change_resource_record_sets(HostedZoneId=zone.zone_id, ChangeBatch=changes)
