"""Runs the step of `quoteapi setup` for a domain against moto's Route 53 and ACM, and checks the certificate."""

import json
import re
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import botocore.client
import click
import pytest
from botocore.exceptions import ClientError, ReadTimeoutError
from cryptography.hazmat.primitives.asymmetric import rsa
from moto import mock_aws, settings
from moto.acm.models import CertBundle, acm_backends
from moto.core.botocore_stubber import BotocoreStubber

from quoteapi.deploy.aws_account import AwsAccount
from quoteapi.deploy.aws_resources.certificate import check_certificate
from quoteapi.deploy.remote_environment import change_remote_environment
from quoteapi.deploy.setup_result import SetupResult, run_steps
from quoteapi.deploy.stage_setup import Answers, StageSetup
from quoteapi.deploy.zappa_callbacks import prepare
from quoteapi.deploy.zappa_settings import read_local_stage, read_stage
from tests.deploy.conftest import GOOD, describe
from tests.deploy.test_package import RUNNING
from tests.rehearsal.emulated_domains import extend_moto_with_domains

ACCOUNT, DOMAIN = "123456789012", "quotes.example.org"
REGION = "eu-west-1"


@cache
def aws_account() -> AwsAccount:
    """Return the account with its clients, whose creation takes longer than a test."""
    return AwsAccount(boto3.Session("testing", "testing", region_name=REGION), ACCOUNT, REGION, "arn:aws:iam::user")


generate_key_once = cache(rsa.generate_private_key)


class PatientOperator:
    """Answers nothing, and waits until something is done or `patience` polls are over."""

    patience = 0
    polls = 0

    def ask_own_number(self, countries: frozenset[str]) -> None: ...

    def ask_sandbox_code(self, mobile: str, problem: str) -> None: ...

    def wait(self, label: str, is_done: Callable[[], bool]) -> bool:
        assert label.startswith("Waiting for the certificate of ")
        for _ in range(self.patience):
            self.polls += 1
            if is_done():
                return True
        return is_done()


class Account:
    """An emulated account, a settings file with the stage prod, and the requests of `quoteapi setup`."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = folder / "zappa_settings.json"
        self.put_stage()
        self.operator = PatientOperator()
        self.slept: list[float] = []
        self.requests: list[str] = []
        self.refused = ""
        """The request that the operator has no permission for."""
        self.route53: Any = aws_account().client("route53")
        self.acm: Any = aws_account().client("acm", "us-east-1")
        self.gateway: Any = aws_account().client("apigateway")
        self._monkeypatch = monkeypatch
        call = botocore.client.BaseClient._make_api_call  # type: ignore[attr-defined]

        def record(client: object, operation: str, parameters: object) -> object:
            self.requests.append(operation)
            if operation == self.refused:
                raise ClientError({"Error": {"Code": "AccessDenied"}}, operation)
            return call(client, operation, parameters)

        monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", record)

    def put_stage(self, **stage: object) -> None:
        self.path.write_text(json.dumps({"prod": {"project_name": "quoteapi", **stage}}))

    def set_up(self, domain: str | None = DOMAIN, hosted_zone: str | None = None) -> dict[str, SetupResult]:
        """Run the step of the domain. Return the results by name."""
        stage, answers = self.stage(), Answers(None, "", "09:00", domain, hosted_zone)
        return {result.name: result for result in run_steps([lambda: stage._set_up_domain(answers, self.operator)])}

    def set_up_all(self, domain: str | None = DOMAIN, hosted_zone: str | None = None) -> dict[str, SetupResult]:
        """Run all steps. Return the results by name."""
        results = self.stage().run(Answers(None, "", "09:00", domain, hosted_zone), self.operator)
        return {result.name: result for result in results}

    def stage(self) -> StageSetup:
        """Return the stage, and forget the requests of the last run."""
        self.requests.clear()
        return StageSetup(self.path, "prod", read_stage(self.path, "prod"), aws_account(), self.slept.append)

    def writes(self) -> list[str]:
        """Return the requests of the last run that change something."""
        return [name for name in self.requests if not name.startswith(("Describe", "Get", "Head", "List"))]

    def local(self) -> dict[str, Any]:
        return read_local_stage(self.path, "prod")

    def public_url(self) -> str | None:
        body = aws_account().client("s3").get_object(Bucket=f"quoteapi-{ACCOUNT}-{REGION}", Key="quoteapi-prod.json")
        values: dict[str, str] = json.load(body["Body"])
        return values.get("PUBLIC_URL")

    def create_zone(self, name: str, *, private: bool = False) -> str:
        config: Any = {"HostedZoneConfig": {"PrivateZone": True}} if private else {}
        vpc: Any = {"VPC": {"VPCRegion": REGION, "VPCId": "vpc-0123"}} if private else {}
        number = len(self.zones())
        zone = self.route53.create_hosted_zone(Name=name, CallerReference=str(number), **config, **vpc)
        zone_id: str = zone["HostedZone"]["Id"]
        return zone_id

    def zones(self) -> list[str]:
        """Return the names of all zones, in the order of Route 53."""
        return [zone["Name"] for zone in self.route53.list_hosted_zones()["HostedZones"]]

    def records(self, zone: str) -> dict[str, str]:
        """Return the CNAME records of a zone."""
        found = self.route53.list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]
        cnames = [record for record in found if record["Type"] == "CNAME"]
        return {record["Name"]: record["ResourceRecords"][0]["Value"] for record in cnames}

    def request_certificate(self, *names: str, status: str = "ISSUED", kind: str = "AMAZON_ISSUED") -> str:
        """Create a certificate with a status. Return its ARN."""
        other: Any = {"SubjectAlternativeNames": list(names)}
        arn: str = self.acm.request_certificate(DomainName=names[0], ValidationMethod="DNS", **other)["CertificateArn"]
        self.change_certificate(arn, status=status, type=kind)
        return arn

    def change_certificate(self, arn: str, **attributes: str) -> None:
        vars(acm_backends[ACCOUNT]["us-east-1"]._certificates[arn]).update(attributes)

    def certificates(self) -> list[str]:
        return list(acm_backends[ACCOUNT]["us-east-1"]._certificates)

    def issue_at_once(self) -> None:
        """Make ACM issue a certificate as soon as its records are in DNS."""
        self._monkeypatch.setattr(settings, "ACM_VALIDATION_WAIT", -1)


@pytest.fixture
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    extend_moto_with_domains()
    monkeypatch.setattr(rsa, "generate_private_key", generate_key_once)
    with mock_aws():
        yield Account(tmp_path, monkeypatch)


# ---- hosted zone


@pytest.mark.parametrize(
    ("domain", "zone"),
    [
        ("quotes.example.org", "example.org"),
        ("example.org", "example.org"),
        ("example.co.in", "example.co.in"),
        ("quotes.example.co.in", "example.co.in"),
        ("a.quotes.example.org", "quotes.example.org"),
    ],
)
def test_a_zone_for_the_parent_or_for_a_registered_domain_is_created(account: Account, domain: str, zone: str) -> None:
    result = account.set_up(domain)["hosted zone"]
    assert result == ("hosted zone", "done", f"{zone} created, about $0.50 a month", "")
    assert account.zones() == [f"{zone}."]
    assert account.set_up(domain)["hosted zone"].state == "ok"
    assert account.zones() == [f"{zone}."]


@pytest.mark.parametrize("name", ["quotes.example.org", "example.org", "org"])
def test_a_zone_that_exists_is_used(account: Account, name: str) -> None:
    zone = account.create_zone(name)
    results = account.set_up()
    assert results["hosted zone"] == ("hosted zone", "ok", f"{name} ({zone.removeprefix('/hostedzone/')})", "")
    assert len(account.records(zone)) == 1
    assert len(account.zones()) == 1


def test_the_zone_with_the_longest_name_is_used(account: Account) -> None:
    longest, *_ = [
        account.create_zone(name) for name in (DOMAIN, "example.org", "an-example.org", "a.quotes.example.org")
    ]
    assert account.set_up()["hosted zone"].found.startswith(DOMAIN)
    assert len(account.records(longest)) == 1


def test_a_private_zone_is_not_used(account: Account) -> None:
    private = account.create_zone("example.org", private=True)
    assert account.set_up()["hosted zone"].state == "done"
    assert account.zones() == ["example.org.", "example.org."]
    assert account.records(private) == {}


def test_of_zones_with_one_name_the_one_that_zappa_uses_is_used(account: Account) -> None:
    zones = [account.create_zone("example.org") for _ in range(3)]
    from zappa.core import Zappa  # noqa: PLC0415 slow

    zappa = Zappa(boto_session=boto3.Session(region_name=REGION), load_credentials=False)
    zappa.route53 = account.route53
    used = zappa.get_hosted_zone_id_for_domain(DOMAIN)
    assert used in zones
    result = account.set_up()["hosted zone"]
    assert used.removeprefix("/hostedzone/") in result.found
    assert result.found.endswith("one of 3 zones of this name")
    assert "Zappa uses this one." in result.to_do
    assert [bool(account.records(zone)) for zone in zones] == [zone == used for zone in zones]


def test_an_operator_can_name_the_zone(account: Account) -> None:
    account.create_zone("example.org")
    results = account.set_up(hosted_zone=DOMAIN)
    assert results["hosted zone"].found == f"{DOMAIN} created, about $0.50 a month"
    assert results["name servers"].to_do == (
        "In the DNS of example.org, add NS records for quotes.example.org with these four values."
    )
    account.set_up(hosted_zone=DOMAIN)
    assert account.writes() == []


def test_a_zone_that_the_domain_is_not_in_is_rejected(account: Account) -> None:
    results = account.set_up(hosted_zone="example.com")
    assert results["hosted zone"].state == "failed"
    assert results["hosted zone"].found == "quotes.example.org is not in the zone example.com"
    assert account.zones() == []


def test_a_lost_response_does_not_make_two_zones(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    respond = BotocoreStubber.__call__
    lost: list[str] = []

    def lose(stubber: BotocoreStubber, event_name: str, request: Any, **more: object) -> object:  # noqa: ANN401
        response = respond(stubber, event_name, request, **more)
        if event_name == "before-send.route-53.CreateHostedZone" and not lost:
            lost.append(event_name)
            raise ReadTimeoutError(endpoint_url="https://route53")
        return response

    monkeypatch.setattr(BotocoreStubber, "__call__", lose)
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)
    assert account.set_up()["hosted zone"] == ("hosted zone", "done", "example.org created, about $0.50 a month", "")
    assert len(lost) == 1
    assert account.zones() == ["example.org."]


def test_the_name_servers_are_shown_until_the_certificate_is_issued(account: Account) -> None:
    shown = account.set_up()["name servers"]
    assert shown.state == "waiting"
    assert len(shown.found.split(", ")) == 4
    assert shown.to_do == (
        "Make these the name servers of example.org at its registrar. If its DNS is in use elsewhere, for example for"
        " mail, run `quoteapi setup prod --hosted-zone quotes.example.org` instead."
    )
    again = account.set_up()["name servers"]
    assert again.to_do == "Unless it is done: make these the name servers of example.org at its registrar."
    account.issue_at_once()
    assert "name servers" not in account.set_up()


def test_the_name_servers_of_a_new_zone_are_shown_for_an_issued_certificate_too(account: Account) -> None:
    account.request_certificate(DOMAIN)
    results = account.set_up()
    assert results["certificate"].state == "ok"
    assert results["name servers"].state == "waiting"


def test_the_owner_of_an_apex_domain_is_told_to_copy_its_records(account: Account) -> None:
    assert "copy them to the hosted zone first" in account.set_up("example.org")["name servers"].to_do


# ---- certificate


def test_a_certificate_is_requested_in_us_east_1_for_a_stage_of_any_region(account: Account) -> None:
    results = account.set_up()
    assert results["certificate"] == ("certificate", "done", f"requested for {DOMAIN} in us-east-1", "")
    assert results["domain"].state == "waiting"
    assert account.local()["certificate_arn"] == account.certificates()[0]
    assert account.acm.describe_certificate(CertificateArn=account.certificates()[0])["Certificate"]["Status"] == (
        "PENDING_VALIDATION"
    )


def test_setup_waits_until_the_certificate_is_issued(account: Account) -> None:
    account.issue_at_once()
    account.operator.patience = 5
    results = account.set_up()
    assert account.operator.polls == 1
    assert results["domain"] == (
        "domain",
        "done",
        "https://quotes.example.org",
        "After `zappa deploy prod`, run `zappa certify prod`. Up to 40 minutes later, the address works.",
    )


def test_a_second_run_changes_nothing(account: Account) -> None:
    for _ in range(2):
        waiting = account.set_up_all()
    assert account.writes() == []
    assert {name for name, result in waiting.items() if result.state == "waiting"} == {"name servers", "domain"}
    account.issue_at_once()
    issued = account.set_up_all()
    assert account.writes() == []
    assert {result.state for result in issued.values()} == {"ok", "skipped"}


@pytest.mark.parametrize("names", [(DOMAIN,), ("*.example.org",), ("example.org", "*.example.org"), ("a.org", DOMAIN)])
@pytest.mark.parametrize("kind", ["AMAZON_ISSUED", "IMPORTED"])
def test_an_issued_certificate_is_used(account: Account, names: tuple[str, ...], kind: str) -> None:
    arn = account.request_certificate(*names, kind=kind)
    results = account.set_up()
    assert results["certificate"].state == "ok"
    assert account.local()["certificate_arn"] == arn
    assert account.certificates() == [arn]


@pytest.mark.parametrize(
    ("names", "status", "kind"),
    [
        (("example.org",), "ISSUED", "AMAZON_ISSUED"),
        (("*.quotes.example.org",), "ISSUED", "AMAZON_ISSUED"),
        ((DOMAIN,), "EXPIRED", "IMPORTED"),
        ((DOMAIN,), "REVOKED", "AMAZON_ISSUED"),
        ((DOMAIN,), "FAILED", "AMAZON_ISSUED"),
        ((DOMAIN,), "VALIDATION_TIMED_OUT", "AMAZON_ISSUED"),
        ((DOMAIN,), "ISSUED", "PRIVATE"),
        ((DOMAIN, "example.com"), "PENDING_VALIDATION", "AMAZON_ISSUED"),
    ],
)
def test_an_unusable_certificate_is_not_used(account: Account, names: tuple[str, ...], status: str, kind: str) -> None:
    unusable = account.request_certificate(*names, status=status, kind=kind)
    assert account.set_up()["certificate"].state == "done"
    assert account.local()["certificate_arn"] == account.certificates()[1] != unusable


def test_a_pending_certificate_is_used_and_an_issued_one_preferred(account: Account) -> None:
    pending = account.request_certificate("*.example.org", status="PENDING_VALIDATION")
    account.set_up()
    assert account.local()["certificate_arn"] == pending
    issued = account.request_certificate("*.example.org")
    account.set_up()
    assert account.local()["certificate_arn"] == issued
    account.request_certificate(DOMAIN)
    account.set_up()
    assert account.local()["certificate_arn"] == issued, "the one in use stays"


@pytest.mark.parametrize(
    ("status", "reason", "advice"),
    [
        ("FAILED", "CAA_ERROR", "A CAA record of the domain"),
        ("FAILED", "OTHER", "See https://docs.aws.amazon.com/acm/"),
        ("VALIDATION_TIMED_OUT", "VALIDATION_TIMED_OUT", "Check the name servers"),
    ],
)
def test_a_certificate_that_failed_is_explained_and_another_requested(
    account: Account, status: str, reason: str, advice: str
) -> None:
    account.set_up()
    failed = account.local()["certificate_arn"]
    account.change_certificate(failed, status=status, failure_reason=reason)
    result = account.set_up()["certificate"]
    assert result.found == (f"requested for {DOMAIN} in us-east-1, as ACM did not issue the last one ({reason})")
    assert advice in result.to_do
    assert account.local()["certificate_arn"] != failed
    assert account.set_up()["certificate"].state == "ok"


def test_a_certificate_that_fails_while_setup_waits_is_reported(account: Account) -> None:
    def fail(label: str, is_done: Callable[[], bool]) -> bool:
        account.change_certificate(account.certificates()[0], status="FAILED", failure_reason="DOMAIN_NOT_ALLOWED")
        return is_done()

    account.operator.wait = fail  # type: ignore[method-assign]
    result = account.set_up()["domain"]
    assert result.state == "failed"
    assert result.found == f"ACM does not issue the certificate of {DOMAIN} (DOMAIN_NOT_ALLOWED)"


def test_the_validation_record_of_a_new_certificate_may_take_seconds(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    describe = CertBundle.describe

    def describe_late(bundle: CertBundle) -> dict[str, Any]:
        description = describe(bundle)
        if len(account.slept) < 3:
            description["Certificate"].pop("DomainValidationOptions")
        return description

    monkeypatch.setattr(CertBundle, "describe", describe_late)
    assert account.set_up()["records"].state == "done"
    assert account.slept == [2, 2, 2]


def test_setup_can_be_resumed_if_there_is_no_validation_record_yet(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    describe = CertBundle.describe

    def describe_without_options(bundle: CertBundle) -> dict[str, Any]:
        description = describe(bundle)
        description["Certificate"].pop("DomainValidationOptions")
        return description

    with monkeypatch.context() as patch:
        patch.setattr(CertBundle, "describe", describe_without_options)
        results = account.set_up()
    assert "records" not in results
    assert (results["domain"].state, sum(account.slept)) == ("waiting", 30)
    assert account.set_up()["records"].state == "done"
    assert len(account.certificates()) == 1


@pytest.mark.parametrize(
    "step", ["CreateHostedZone", "RequestCertificate", "ChangeResourceRecordSets", "GetHostedZone"]
)
def test_setup_goes_on_after_a_step_that_failed(account: Account, step: str) -> None:
    account.refused = step
    failed = [result for result in account.set_up().values() if result.state == "failed"]
    assert [result.found for result in failed] == [f"you have no permission for {step}"]
    account.refused = ""
    account.issue_at_once()
    assert account.set_up()["domain"].found == "https://quotes.example.org"
    assert (account.zones(), len(account.certificates())) == (["example.org."], 1)


# ---- records


def test_only_a_record_that_differs_is_written(account: Account) -> None:
    zone = account.create_zone("example.org")
    account.set_up()
    (name, value), *others = account.records(zone).items()
    assert others == []
    wrong: Any = {"Name": name, "Type": "CNAME", "TTL": 60, "ResourceRecords": [{"Value": "elsewhere.example."}]}
    batch = {"Changes": [{"Action": "UPSERT", "ResourceRecordSet": wrong}]}
    account.route53.change_resource_record_sets(HostedZoneId=zone, ChangeBatch=batch)
    assert account.set_up()["records"].state == "done"
    assert account.writes() == ["ChangeResourceRecordSets"]
    assert account.records(zone) == {name: value}


def test_a_missing_record_of_an_issued_certificate_is_created_for_its_renewal(account: Account) -> None:
    zone = account.create_zone("example.org")
    account.request_certificate(DOMAIN, "elsewhere.example")
    assert account.set_up()["records"].state == "done"
    assert [name.partition(".")[2] for name in account.records(zone)] == ["quotes.example.org."]


def test_dns_elsewhere_gets_no_zone_but_a_list_of_records(account: Account) -> None:
    results = account.set_up(hosted_zone="")
    assert results["hosted zone"] == ("hosted zone", "skipped", f"the DNS of {DOMAIN} is not in Route 53", "")
    assert results["records"].state == "waiting"
    assert results["records"].found.endswith(".acm-validations.aws.")
    assert account.zones() == []
    assert account.local()["route53_enabled"] is False
    again = account.set_up()
    assert (again["hosted zone"].state, account.writes()) == ("skipped", [])
    account.change_certificate(account.certificates()[0], status="ISSUED")
    assert "records" not in account.set_up()
    assert account.set_up(hosted_zone="example.org")["hosted zone"].state == "done"
    assert account.local()["route53_enabled"] is True


def test_dns_elsewhere_is_told_the_record_of_the_address_after_certify(account: Account) -> None:
    arn = account.request_certificate(DOMAIN)
    account.gateway.create_domain_name(domainName=DOMAIN, certificateArn=arn)
    target = account.gateway.get_domain_name(domainName=DOMAIN)["distributionDomainName"]
    assert f"the DNS record {DOMAIN}. CNAME {target}." in account.set_up(hosted_zone="")["domain"].to_do


def test_after_certify_nothing_is_left_to_do_until_the_certificate_is_another(account: Account) -> None:
    arn = account.request_certificate(DOMAIN)
    account.gateway.create_domain_name(domainName=DOMAIN, certificateArn=arn)
    assert account.set_up()["domain"] == ("domain", "done", f"https://{DOMAIN}", "")
    account.change_certificate(arn, status="EXPIRED")
    account.request_certificate(DOMAIN)
    assert "run `zappa certify prod`" in account.set_up()["domain"].to_do


# ---- settings


def test_the_address_is_stored_and_removed_with_the_domain(account: Account) -> None:
    account.request_certificate("*.example.org")
    account.set_up_all(hosted_zone="example.org")
    assert account.public_url() == "https://quotes.example.org"
    result = account.set_up_all(None)["domain"]
    assert (result.state, result.found) == ("done", f"{DOMAIN} is no longer that of the stage")
    assert account.local().keys() & {"domain", "certificate_arn", "route53_enabled"} == set()
    assert account.public_url() is None
    assert "domain" not in account.set_up_all(None)
    assert account.writes() == []


def test_a_public_url_that_is_not_that_of_the_domain_stays(account: Account) -> None:
    account.request_certificate("*.example.org")
    account.set_up_all()
    change_remote_environment(account.stage().stage, lambda values: values | {"PUBLIC_URL": "https://cdn.example.org"})
    account.set_up_all(None)
    assert account.public_url() == "https://cdn.example.org"


def test_an_operator_is_told_what_still_serves_a_removed_domain(account: Account) -> None:
    arn = account.request_certificate(DOMAIN)
    account.set_up_all()
    account.gateway.create_domain_name(domainName=DOMAIN, certificateArn=arn)
    to_do = account.set_up_all(None)["domain"].to_do
    assert f"`aws apigateway delete-domain-name --domain-name {DOMAIN} --region {REGION}`" in to_do


def test_a_domain_of_the_tracked_settings_must_be_removed_there(account: Account) -> None:
    account.put_stage(domain=DOMAIN)
    result = account.set_up_all(None)["domain"]
    assert result == ("domain", "failed", f"zappa_settings.json sets the domain {DOMAIN}", "Remove it there.")


def test_another_domain_replaces_the_first(account: Account) -> None:
    account.request_certificate("*.example.org")
    account.set_up_all()
    account.set_up_all("other.example.org")
    assert account.local()["domain"] == "other.example.org"
    assert account.public_url() == "https://other.example.org"


# ---- checks of the certificate


def checks(account: Account, now: datetime | None = None) -> list[str]:
    stage = account.stage()
    found = check_certificate(stage.account, stage.stage, *([lambda: now] if now else []))
    return [describe(check) for check in found]


def test_an_issued_certificate_is_reported_with_its_end(account: Account) -> None:
    account.request_certificate(DOMAIN, "*.example.org")
    account.set_up()
    (found,) = checks(account)
    assert re.fullmatch(rf"ok: \*\.example\.org, {DOMAIN}: issued until 20\d\d-\d\d-\d\d ", found)


def test_a_stage_without_a_domain_has_no_certificate_to_check(account: Account) -> None:
    assert checks(account) == []
    assert account.requests == []


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("PENDING_VALIDATION", f"wrong: {DOMAIN}: pending validation Run `quoteapi setup STAGE`. It shows the records"),
        ("EXPIRED", f"wrong: {DOMAIN}: expired Run `quoteapi setup STAGE`."),
        ("FAILED", f"wrong: {DOMAIN}: failed Run `quoteapi setup STAGE`."),
    ],
)
def test_a_certificate_that_is_not_issued_is_wrong(account: Account, status: str, expected: str) -> None:
    account.set_up()
    account.change_certificate(account.certificates()[0], status=status)
    assert checks(account)[0].startswith(expected)


@pytest.mark.parametrize(
    ("kind", "advice"), [("IMPORTED", "Import the next one"), ("AMAZON_ISSUED", r"ACM renews it while DNS .* CNAME ")]
)
@pytest.mark.parametrize(("days", "state"), [(29, "advice"), (31, "ok")])
def test_a_certificate_that_expires_within_30_days_gets_advice(
    account: Account, kind: str, advice: str, days: int, state: str
) -> None:
    arn = account.request_certificate(DOMAIN, kind=kind)
    account.set_up()
    expires = account.acm.describe_certificate(CertificateArn=arn)["Certificate"]["NotAfter"]
    (found,) = checks(account, expires - timedelta(days=days))
    assert found.startswith(f"{state}: ")
    assert bool(re.search(advice, found)) == (state == "advice")


@pytest.mark.parametrize(
    "arn",
    [
        "arn:aws:acm:eu-west-1:123456789012:certificate/12345678-1234-1234-1234-123456789012",
        "arn:aws:acm:us-east-1:999999999999:certificate/12345678-1234-1234-1234-123456789012",
        "arn:aws:acm:us-east-1:123456789012:certificate/12345678-1234-1234-1234-123456789012",
    ],
    ids=["another region", "another account", "deleted"],
)
def test_a_certificate_that_api_gateway_cannot_use_is_wrong_and_setup_replaces_it(account: Account, arn: str) -> None:
    account.put_stage(domain=DOMAIN, certificate_arn=arn)
    assert checks(account) == [f"wrong: there is no certificate {arn} in us-east-1 Run `quoteapi setup STAGE`."]
    account.request_certificate("*.example.org")
    account.set_up()
    assert checks(account)[0].startswith("ok: ")


def test_a_certificate_of_another_domain_is_wrong(account: Account) -> None:
    arn = account.request_certificate("example.org")
    account.put_stage(domain=DOMAIN, certificate_arn=arn)
    assert checks(account)[0].startswith("wrong: example.org: issued until ")
    assert f"which is not for {DOMAIN}" in checks(account)[0]


def test_certify_is_refused_until_the_certificate_is_issued(account: Account) -> None:
    account.put_stage(**GOOD | {"runtime": RUNNING})
    account.set_up_all()
    session = boto3.Session(region_name=aws_account().region)
    zappa = SimpleNamespace(sts_client=session.client("sts"), boto_session=session)
    cli = SimpleNamespace(
        command="certify",
        api_stage="prod",
        vargs={"settings_file": str(account.path)},
        zappa=zappa,
        profile_name=None,
        override_stage_config_setting=lambda *_: None,
        load_settings=lambda *_: None,
    )
    with pytest.raises(click.ClickException) as refused:
        prepare(cli)
    assert refused.value.message == (
        f"`zappa certify prod` stopped: {DOMAIN}: pending validation."
        " Run `quoteapi setup prod`. It shows the records and the name servers."
    )
    account.change_certificate(account.certificates()[0], status="ISSUED")
    prepare(cli)
