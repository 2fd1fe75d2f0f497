"""The public hosted zone of a domain in Route 53, and its records."""

from collections.abc import Generator, Iterable, Iterator
from typing import Any, NamedTuple
from uuid import uuid4

from quoteapi.deploy.aws_account import AwsAccount, aws_errors
from quoteapi.deploy.aws_resources.host_names import contains, is_registered
from quoteapi.deploy.checks.check import CheckFailed
from quoteapi.deploy.setup_result import SetupResult

PRICE = "about $0.50 a month"
"""Of a hosted zone in December 2026 (https://aws.amazon.com/route53/pricing/)."""


COMMENT = "Created by quoteapi setup"
"""The comment on a zone, by which `quoteapi teardown` knows it."""


class HostedZone(NamedTuple):
    """A public hosted zone."""

    zone_id: str
    """As in `/hostedzone/Z0123456789`."""
    name: str
    """Without a final dot."""
    is_new: bool = False
    is_own: bool = False
    """Whether `quoteapi setup` created it, so that `quoteapi teardown` may delete it."""


class CnameRecord(NamedTuple):
    """A CNAME record; both names end with a dot."""

    name: str
    value: str

    def __str__(self) -> str:
        return f"{self.name} CNAME {self.value}"


def set_up_hosted_zone(
    account: AwsAccount, domain: str, wanted: str | None
) -> Generator[SetupResult, None, HostedZone]:
    """Find the zone that a domain is in, or create the zone `wanted`, by default the parent of the domain.

    Yield what was found or done. Return the zone. Raises `CheckFailed`.
    """
    if wanted and not contains(wanted, domain):
        to_do = f"Give {domain} or a parent of it."
        raise CheckFailed("hosted zone", "wrong", f"{domain} is not in the zone {wanted}", to_do)
    with aws_errors("hosted zone"):
        client = account.client("route53")
        zones = find_zones(client, domain)
        if zones and (wanted is None or contains(wanted, zones[0].name)):
            yield _describe(zones)
            return zones[0]
        zone = _create(client, wanted or (domain if is_registered(domain) else domain.partition(".")[2]))
        yield SetupResult("hosted zone", "done", f"{zone.name} created, {PRICE}")
        return zone


def _describe(zones: list[HostedZone]) -> SetupResult:
    used, *others = (zone for zone in zones if zone.name == zones[0].name)
    found, to_do = f"{used.name} ({used.zone_id.rpartition('/')[2]})", ""
    if others:
        found += f", one of {len(others) + 1} zones of this name"
        to_do = "Zappa uses this one. If the registrar has the name servers of another one, delete this one."
    return SetupResult("hosted zone", "ok", found, to_do)


def find_zones(client: Any, domain: str) -> list[HostedZone]:  # noqa: ANN401 boto3
    """Return the public zones that a domain is in; first the one in which `zappa certify` makes its record.

    That is the one with the longest name, and of several with this name the one that Route 53 lists last.
    """
    pages = client.get_paginator("list_hosted_zones").paginate()
    listed = [
        HostedZone(zone["Id"], zone["Name"].rstrip("."), is_own=zone.get("Config", {}).get("Comment") == COMMENT)
        for page in pages
        for zone in page["HostedZones"]
        if not zone.get("Config", {}).get("PrivateZone")
    ]
    matching = [zone for zone in reversed(listed) if contains(zone.name, domain)]
    return sorted(matching, key=lambda zone: -len(zone.name))


def _create(client: Any, name: str) -> HostedZone:  # noqa: ANN401 boto3
    """Create a zone. Route 53 never accepts a caller reference again, even if its zone was deleted."""
    try:
        comment = {"Comment": COMMENT, "PrivateZone": False}
        created = client.create_hosted_zone(Name=name, CallerReference=str(uuid4()), HostedZoneConfig=comment)
    except client.exceptions.HostedZoneAlreadyExists:  # boto3 tried again, as the first response was lost
        if not (zones := find_zones(client, name)):
            raise
        return zones[0]._replace(is_new=True)
    return HostedZone(created["HostedZone"]["Id"], name, is_new=True, is_own=True)


def name_servers(account: AwsAccount, zone: HostedZone) -> list[str]:
    """Return the four name servers of a zone. Raises `CheckFailed`."""
    with aws_errors("name servers"):
        found: list[str] = account.client("route53").get_hosted_zone(Id=zone.zone_id)["DelegationSet"]["NameServers"]
    return found


def set_up_records(account: AwsAccount, zone: HostedZone, records: Iterable[CnameRecord]) -> Iterator[SetupResult]:
    """Create or correct the records by which ACM validates a certificate. Raises `CheckFailed`."""
    with aws_errors("records"):
        client = account.client("route53")
        written = [_write_record(client, zone, record) for record in records]
        if written:
            yield SetupResult(
                "records", "done" if any(written) else "ok", f"those for the validation are in {zone.name}"
            )


def _write_record(client: Any, zone: HostedZone, record: CnameRecord) -> bool:  # noqa: ANN401 boto3
    """Create or replace a record unless it is right. Return whether it was written."""
    start: Any = {"StartRecordName": record.name, "StartRecordType": "CNAME", "MaxItems": "1"}
    found = client.list_resource_record_sets(HostedZoneId=zone.zone_id, **start)["ResourceRecordSets"]
    wanted: Any = {"Name": record.name, "Type": "CNAME", "TTL": 300, "ResourceRecords": [{"Value": record.value}]}
    if found and all(found[0].get(key) == wanted[key] for key in ("Name", "Type", "ResourceRecords")):
        return False
    changes: Any = {"Changes": [{"Action": "UPSERT", "ResourceRecordSet": wanted}]}
    client.change_resource_record_sets(HostedZoneId=zone.zone_id, ChangeBatch=changes)
    return True
