"""What is left of a stage's domain: its DNS record, its domain name in API Gateway, its certificate and its zone.

A certificate or a zone that is also for something else is kept.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

from quoteapi.deploy.aws_resources.certificate import REGION, read_certificate
from quoteapi.deploy.aws_resources.domain import find_custom_domain
from quoteapi.deploy.aws_resources.hosted_zone import HostedZone, find_zones
from quoteapi.deploy.stage_names import StageNames
from quoteapi.deploy.teardown.leftover import FREE, ZONE_PRICE, Leftover, describe_cost
from quoteapi.deploy.teardown.other_stages import OtherStages, describe_use
from quoteapi.deploy.zappa_settings import Stage
from quoteapi.printable import counted

_ADDRESS_TYPES = {"A", "AAAA", "CNAME"}
_API_GATEWAY = (".cloudfront.net", ".amazonaws.com")
"""Where the record leads that `zappa certify` creates."""


def find_domain(names: StageNames, stage: Stage, others: OtherStages) -> Iterator[Leftover]:
    """Yield what is left of the stage's domain, in the order in which AWS can delete it. Raises errors of boto3."""
    if not (domain := stage.get("domain")):
        return
    used = describe_use(others.with_setting("domain", domain))
    zones = find_zones(names.account.client("route53"), domain)
    for zone in zones[:1]:
        yield from _find_address_records(names, domain, zone, used)
    yield from _find_domain_name(names, domain, used)
    yield from _find_certificate(names, stage, used or describe_use(_stages_with_certificate(others, stage)))
    for zone in zones[:1]:
        yield _find_zone(names, domain, zone, used)


def _stages_with_certificate(others: OtherStages, stage: Stage) -> list[str]:
    arn = stage.get("certificate_arn")
    return others.with_setting("certificate_arn", arn) if arn else []


def _find_address_records(names: StageNames, domain: str, zone: HostedZone, kept: str) -> Iterator[Leftover]:
    client = names.account.client("route53")
    for record in _list_records(client, zone):
        if _is_address(record, domain):
            delete = partial(_delete_record, client, zone, record)
            yield Leftover("DNS record", f"{domain} {record['Type']}", f"in {zone.name}", FREE, delete, kept)


def _find_domain_name(names: StageNames, domain: str, kept: str) -> Iterator[Leftover]:
    if find_custom_domain(names.account, domain) is None:
        return
    client = names.account.client("apigateway")
    mappings = client.get_base_path_mappings(domainName=domain).get("items", [])
    kept = kept or (f"{counted(len(mappings), 'API')} still answer there" if mappings else "")
    delete = partial(client.delete_domain_name, domainName=domain)
    yield Leftover("domain name", domain, "in API Gateway", FREE, delete, kept)


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


def _find_zone(names: StageNames, domain: str, zone: HostedZone, kept: str) -> Leftover:
    client = names.account.client("route53")
    others = [record for record in _list_records(client, zone) if not _is_own(record, domain, zone)]
    kept = kept or (f"it has {counted(len(others), 'other record')}" if others else "")
    delete = partial(_delete_zone, client, domain, zone)
    return Leftover("hosted zone", zone.name, "no other records", describe_cost(ZONE_PRICE), delete, kept)


def _list_records(client: Any, zone: HostedZone) -> list[dict[str, Any]]:  # noqa: ANN401 boto3
    pages = client.get_paginator("list_resource_record_sets").paginate(HostedZoneId=zone.zone_id)
    return [record for page in pages for record in page["ResourceRecordSets"]]


def _is_address(record: dict[str, Any], domain: str) -> bool:
    """Return whether a record leads from a domain to API Gateway."""
    alias = record.get("AliasTarget", {}).get("DNSName")
    targets = [alias] if alias else [each["Value"] for each in record.get("ResourceRecords", [])]
    if record["Name"] != f"{domain}." or record["Type"] not in _ADDRESS_TYPES:
        return False
    return all(target.rstrip(".").endswith(_API_GATEWAY) for target in targets)


def _is_validation(record: dict[str, Any], domain: str) -> bool:
    """Return whether ACM validates a certificate of a domain by a record."""
    host, _, parent = str(record["Name"]).partition(".")
    return record["Type"] == "CNAME" and host.startswith("_") and parent == f"{domain}."


def _is_own(record: dict[str, Any], domain: str, zone: HostedZone) -> bool:
    """Return whether a record is of the zone itself or of a domain in it, with the names below that."""
    is_of_zone = record["Name"] == f"{zone.name}." and record["Type"] in {"NS", "SOA"}
    return is_of_zone or _is_address(record, domain) or _is_validation(record, domain)


def _delete_zone(client: Any, domain: str, zone: HostedZone) -> None:  # noqa: ANN401 boto3
    """Delete a zone, with the records of the validation. AWS refuses if it has others."""
    for record in _list_records(client, zone):
        if _is_validation(record, domain):
            _delete_record(client, zone, record)
    client.delete_hosted_zone(Id=zone.zone_id)


def _delete_record(client: Any, zone: HostedZone, record: dict[str, Any]) -> None:  # noqa: ANN401 boto3
    changes = {"Changes": [{"Action": "DELETE", "ResourceRecordSet": record}]}
    client.change_resource_record_sets(HostedZoneId=zone.zone_id, ChangeBatch=changes)
