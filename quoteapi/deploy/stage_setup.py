"""The steps of `quoteapi setup`: what a stage needs in AWS, and in the operator's settings, before `zappa deploy`.

Each step finds out what is there, creates or changes what is missing, and leaves alone what is right. So all steps can
be run again at any time.
"""

import os
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit

from quoteapi import clock
from quoteapi.deploy.aws_account import DEFAULT_REGION, AwsAccount, open_account, require_same_account
from quoteapi.deploy.aws_resources.alarms import set_up_alarms
from quoteapi.deploy.aws_resources.bucket import set_up_bucket
from quoteapi.deploy.aws_resources.budget import set_up_budget
from quoteapi.deploy.aws_resources.certificate import Sleep, set_up_certificate
from quoteapi.deploy.aws_resources.dead_letter_queue import set_up_dead_letter_queue
from quoteapi.deploy.aws_resources.domain import describe_domain, describe_removed_domain, set_up_validation
from quoteapi.deploy.aws_resources.failure_mail import find_mail_address, set_up_failure_mail
from quoteapi.deploy.aws_resources.hosted_zone import HostedZone, set_up_hosted_zone
from quoteapi.deploy.aws_resources.lambda_function import is_deployed
from quoteapi.deploy.aws_resources.log_group import set_up_log_group
from quoteapi.deploy.aws_resources.sms_account import (
    SandboxOperator,
    lacks_sandbox_number,
    set_up_sandbox,
    set_up_spending_limit,
)
from quoteapi.deploy.checks.check import CheckFailed
from quoteapi.deploy.remote_environment import MissingBucket, change_remote_environment, read_remote_environment
from quoteapi.deploy.runtimes import check_runtime_end, running_runtime
from quoteapi.deploy.setup_result import SetupResult, Step, run_steps
from quoteapi.deploy.stage_names import StageNames, stage_names
from quoteapi.deploy.zappa_settings import (
    Stage,
    get_nested_object,
    has_generated_policy,
    local_settings_file,
    read_local_stage,
    read_stage,
    read_tracked_stage,
    stage_environment,
    write_local_stage,
)
from quoteapi.settings.parsers import parse_regions


class Answers(NamedTuple):
    """What the operator wants for a stage."""

    email: str | None
    """Where mail about failures goes; None: nowhere."""
    countries: str
    """The countries that get SMS, as in `IN,US`, or `*`; empty: the stage serves quotes only."""
    hour: str
    """The local time of the daily SMS, as in `09:00`."""
    domain: str | None
    """The host name, as in `quotes.example.org`; None: the address is that of API Gateway."""
    hosted_zone: str | None = None
    """The zone of Route 53 for the domain; empty: its DNS is elsewhere; None: as before, else the domain's parent."""
    subnets: tuple[str, ...] = ()
    """The IDs of the function's subnets; empty: as before."""
    security_groups: tuple[str, ...] = ()
    """The IDs of the function's security groups; empty: as before."""
    budget: str | None = None
    """The amount in US dollars a month before which a mail comes; None: as it is, or the default."""
    own_number: str | None = None
    """The number to verify in the SMS sandbox, in E.164 form; None: ask for one if none is verified."""
    sms_spend_limit: int | None = None
    """The account's monthly SMS spending limit in US dollars; None: what is set stays."""

    @property
    def regions(self) -> frozenset[str]:
        """The countries as a set, as in `SMS_ALLOWED_REGIONS`."""
        return parse_regions(self.countries) if self.countries else frozenset()


class Operator(SandboxOperator, Protocol):
    """The person at the terminal, or the options that they gave."""

    def wait(self, label: str, is_done: Callable[[], bool]) -> bool:
        """Show progress until `is_done`. Return False if the operator does not want to wait longer."""


@dataclass
class StageSetup:
    """A stage of a settings file in the operator's AWS account."""

    path: Path
    """`zappa_settings.json`, beside which the operator's own settings are."""
    name: str
    stage: Stage
    account: AwsAccount
    sleep: Sleep = time.sleep

    @property
    def names(self) -> StageNames:
        """The names of the stage's AWS resources."""
        return stage_names(self.account, self.name, self.stage)

    @cached_property
    def sns_region(self) -> str:
        """The region of the stage's topics: `SNS_REGION`, for a new stage that of the account. Raises `CheckFailed`."""
        values = self._former_remote_environment
        chosen = stage_environment(self.stage, values).get("SNS_REGION", "").strip()
        return chosen or self._defaults(values).get("SNS_REGION", DEFAULT_REGION)

    def _defaults(self, values: Mapping[str, Any]) -> dict[str, str]:
        """Return what a new stage gets. One with a `SECRET_KEY` is in use: its subscribers are on topics somewhere."""
        is_in_use = bool(stage_environment(self.stage, values).get("SECRET_KEY"))
        return {} if is_in_use else {"READ_LIMIT": "off", "SNS_REGION": self.account.region}  # API Gateway has limits

    @cached_property
    def _former_remote_environment(self) -> dict[str, Any]:
        """The remote environment before any step; empty if the bucket was deleted, as a step creates it again."""
        try:
            return read_remote_environment(self.stage).values
        except MissingBucket:
            return {}

    def require_known_settings(self) -> None:
        """Raise `CheckFailed` if the stage is deployed with secrets that are not where they would be created now."""
        if any(map(self.stage.get, ("s3_bucket", "remote_env"))) or not is_deployed(self.names):
            return
        with suppress(MissingBucket):
            if read_remote_environment({**self.stage, "remote_env": self.names.remote_env}).etag is not None:
                return
        file = local_settings_file(self.path).name
        found = f"{self.names.function} is deployed, but {file} does not have its s3_bucket and remote_env"
        to_do = "Copy them there from the zappa_settings.json that it was deployed with, else it loses its secrets."
        raise CheckFailed("settings", "wrong", found, to_do)

    def current_answers(self) -> Answers:
        """Return what is set up now: the defaults of the questions. Raises `CheckFailed`."""
        environment = stage_environment(self.stage, self._former_remote_environment)
        return Answers(
            email=find_mail_address(self.account, self.sns_region),
            countries=environment.get("SMS_ALLOWED_REGIONS", ""),
            hour=environment.get("DAILY_SMS_AT") or "09:00",
            domain=self.stage.get("domain"),
        )

    def lacks_sandbox_number(self) -> bool:
        """Return whether the account is in the SMS sandbox and has no number there; False if that is not known."""
        with suppress(CheckFailed):
            return lacks_sandbox_number(self.account, self.sns_region)
        return False

    def run(self, answers: Answers, operator: Operator) -> Iterator[SetupResult]:
        """Run all steps, and yield what each found or did."""
        steps: list[Step] = [
            lambda: set_up_bucket(self.names),
            self._save_local_settings,
            self._save_runtime,
            lambda: self._save_network(answers),
            lambda: self._save_remote_environment(answers),
            lambda: set_up_log_group(self.names),
            lambda: set_up_dead_letter_queue(self.names),
            lambda: set_up_failure_mail(self.account, self.sns_region, answers.email),
            lambda: set_up_alarms(self.names, self.stage, self.sns_region, answers.email),
            lambda: set_up_budget(self.account, answers.email, answers.budget),
            *(self._sms_steps(answers, operator) if answers.countries else ()),
            lambda: self._set_up_domain(answers, operator),  # the last, as it may wait for an hour
        ]
        yield from run_steps(steps)

    def _sms_steps(self, answers: Answers, operator: Operator) -> tuple[Step, ...]:
        return (
            lambda: set_up_spending_limit(self.names, self.sns_region, answers.sms_spend_limit),
            lambda: set_up_sandbox(self.names, self.sns_region, answers.regions, operator, answers.own_number),
        )

    def save_local(self, changes: Mapping[str, Any]) -> bool:
        """Store keys in the local settings of the stage; None removes a key. Return whether anything changed."""
        before = read_local_stage(self.path, self.name)
        after = {key: value for key, value in {**before, **changes}.items() if value is not None}
        if after != before:
            write_local_stage(self.path, self.name, after)
        self.stage = {**read_stage(self.path, self.name)}
        return after != before

    def _save_local_settings(self) -> Iterator[SetupResult]:
        names, file = self.names, local_settings_file(self.path).name
        changed = self.save_local(
            {
                "aws_region": self.account.region,
                "profile_name": self.stage.get("profile_name"),
                "s3_bucket": names.bucket,
                "remote_env": names.remote_env,
                # A role of the operator may lack the permission to use the queue: then Lambda rejects it.
                "dead_letter_arn": names.queue_arn if has_generated_policy(self.stage) else names.dead_letter_arn,
            }
        )
        yield SetupResult("local settings", "done" if changed else "ok", f"{file}, which Git ignores")

    def _save_runtime(self) -> Iterator[SetupResult]:
        """Deploy for the Python that runs Zappa, as it compiles the package."""
        check = check_runtime_end(runtime := running_runtime(), clock.now().date())
        if check.state == "wrong":
            raise CheckFailed(*check)
        is_tracked = read_tracked_stage(self.path, self.name).get("runtime") == runtime
        changed = self.save_local({"runtime": None if is_tracked else runtime})
        yield SetupResult("runtime", "done" if changed else "ok", check.found, check.to_do)

    def _save_network(self, answers: Answers) -> Iterator[SetupResult]:
        """Store the subnets and security groups of a function in a private network."""
        given = {"SubnetIds": [*answers.subnets], "SecurityGroupIds": [*answers.security_groups]}
        network = get_nested_object(self.stage, "vpc_config") | {key: ids for key, ids in given.items() if ids}
        if not network:
            return
        if not (network.get("SubnetIds") and network.get("SecurityGroupIds")):
            to_do = "Add --subnet and --security-group, each with an ID. For several, repeat them."
            raise CheckFailed("network", "wrong", "vpc_config has no subnet or no security group", to_do)
        is_tracked = read_tracked_stage(self.path, self.name).get("vpc_config") == network
        changed = self.save_local({"vpc_config": None if is_tracked else network})
        found = ", ".join((*network["SubnetIds"], *network["SecurityGroupIds"]))
        yield SetupResult("network", "done" if changed else "ok", found)

    def _save_remote_environment(self, answers: Answers) -> Iterator[SetupResult]:
        wanted = {"SMS_ALLOWED_REGIONS": answers.countries, "DAILY_SMS_AT": answers.hour}
        former, address = f"https://{self.stage.get('domain')}", answers.domain and f"https://{answers.domain}"

        def change(values: dict[str, Any]) -> dict[str, Any]:
            kept = {name: value for name, value in values.items() if (name, value) != ("PUBLIC_URL", former)}
            new = wanted | ({"PUBLIC_URL": address} if address and not _is_by_hand(kept.get("PUBLIC_URL")) else {})
            return kept | {name: kept.get(name) or value for name, value in self._defaults(values).items()} | new

        changed = change_remote_environment(self.stage, change)
        found = f"{urlsplit(self.names.remote_env).path.strip('/')} in the bucket: settings and secrets"
        url = self._former_remote_environment.get("PUBLIC_URL")
        if address and _is_by_hand(url) and url not in {address, former}:
            found += f", PUBLIC_URL is {url}"
        yield SetupResult("remote env", "done" if changed else "ok", found)

    def _set_up_domain(self, answers: Answers, operator: Operator) -> Iterator[SetupResult]:
        if answers.domain is None:
            yield from self._remove_domain()
            return
        zone = yield from self._set_up_hosted_zone(answers.domain, answers.hosted_zone)
        known = self.stage.get("certificate_arn")
        certificate = yield from set_up_certificate(self.account, answers.domain, zone, known, self.sleep)
        is_saved = self.save_local({"domain": answers.domain, "certificate_arn": certificate.arn})
        certificate = yield from set_up_validation(self.names, answers.domain, zone, certificate, operator.wait)
        yield from describe_domain(self.names, answers.domain, zone, certificate, is_saved=is_saved)

    def _set_up_hosted_zone(self, domain: str, wanted: str | None) -> Generator[SetupResult, None, HostedZone | None]:
        """Return the zone; None if the DNS of the domain is elsewhere."""
        if wanted is not None:
            self.save_local({"route53_enabled": bool(wanted)})  # a key of Zappa
        if self.stage.get("route53_enabled", True):
            return (yield from set_up_hosted_zone(self.account, domain, wanted))
        yield SetupResult("hosted zone", "skipped", f"the DNS of {domain} is not in Route 53")
        return None

    def _remove_domain(self) -> Iterator[SetupResult]:
        if (domain := self.stage.get("domain")) is not None:
            self.save_local(dict.fromkeys(("domain", "certificate_arn", "route53_enabled")))
            if self.stage.get("domain"):
                raise CheckFailed("domain", "wrong", f"{self.path.name} sets the domain {domain}", "Remove it there.")
            yield from describe_removed_domain(self.account, domain)


def _is_by_hand(url: object) -> bool:
    """Return whether the operator chose a `PUBLIC_URL`, which `zappa deploy` sets to the address of API Gateway."""
    return bool(url) and ".execute-api." not in str(url)


def open_stage(path: Path, name: str, profile: str | None = None, region: str | None = None) -> StageSetup:
    """Return a stage in the account of a profile and a region, by default those of its settings or of boto3.

    Raises `CheckFailed`, also if the stage is set up in another account or region.
    """
    if name == "base":
        raise CheckFailed("stage", "wrong", "base is no stage: the stages extend it", "Name a stage, for example dev.")
    stage, local = read_stage(path, name), read_local_stage(path, name)
    profile = profile or local.get("profile_name") or _profile_of_environment()
    chosen = {"profile_name": profile, "aws_region": region or local.get("aws_region") or _region_of_profile(profile)}
    stage |= {key: value for key, value in chosen.items() if value}
    account = open_account(stage)
    if region not in {None, account.region}:
        found = f"the region is {account.region}, by AWS_DEFAULT_REGION, not {region}"
        raise CheckFailed("account", "wrong", found, "Unset AWS_DEFAULT_REGION: Zappa prefers it too.")
    require_same_account(name, local, account.account_id, account.region)
    return StageSetup(path, name, stage, account)


def _profile_of_environment() -> str | None:
    """Return the profile that boto3 uses; None if the environment has credentials, which come first."""
    return None if os.environ.get("AWS_ACCESS_KEY_ID") else os.environ.get("AWS_PROFILE")


def _region_of_profile(profile: str | None) -> str | None:
    """Return the region of the profile, or of the environment; None: that of `zappa_settings.json`."""
    import boto3  # noqa: PLC0415 slow
    from botocore.exceptions import ProfileNotFound  # noqa: PLC0415

    try:
        return boto3.Session(profile_name=profile).region_name
    except ProfileNotFound:
        return None  # `open_account` says so
