"""The checks of a stage that need AWS, for `quoteapi doctor --stage`. They change nothing.

Each fails alone. Together they make about ten requests to AWS, and wait for nothing.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from quoteapi.deploy.aws_account import DEFAULT_REGION, AwsAccount, aws_errors, open_account
from quoteapi.deploy.aws_resources.alarms import check_alarms
from quoteapi.deploy.aws_resources.certificate import check_certificate
from quoteapi.deploy.aws_resources.dead_letter_target import NAME as DEAD_LETTERS
from quoteapi.deploy.aws_resources.dead_letter_target import check_dead_letters
from quoteapi.deploy.aws_resources.failure_mail import check_failure_mail, list_mail_addresses
from quoteapi.deploy.aws_resources.log_group import find_log_group
from quoteapi.deploy.checks.check import Check, CheckFailed
from quoteapi.deploy.remote_environment import read_remote_environment
from quoteapi.deploy.runtimes import check_runtime_end, running_runtime
from quoteapi.deploy.stage_names import StageNames, stage_names
from quoteapi.deploy.zappa_settings import Stage, read_stage, stage_environment

_NOT_FOUND, _FORBIDDEN = 404, 403


def check_account(path: Path, name: str) -> Check:
    """Return whether the credentials of a stage work, and whose they are."""
    try:
        account = open_account(read_stage(path, name))
    except CheckFailed as error:
        return Check(*error.args)
    return Check("account", "ok", _describe(account))


def check_aws(path: Path, name: str, today: date) -> Iterator[Check]:
    """Yield the checks of a stage in the account of its credentials."""
    try:
        stage = read_stage(path, name)
        account = open_account(stage)
    except CheckFailed as error:
        yield Check(*error.args)
        return
    yield Check("account", "ok", _describe(account))
    yield from _StageChecks(stage_names(account, name, stage), stage, today).run()


def _describe(account: AwsAccount) -> str:
    return f"{account.account_id}, {account.region}, as {account.caller_arn}"


@contextmanager
def _unknown(name: str) -> Iterator[None]:
    """Raise an error of boto3 as `CheckFailed` with advice: it says nothing about the stage."""
    try:
        with aws_errors(name):
            yield
    except CheckFailed as error:
        _, _, found, *to_do = error.args
        raise CheckFailed(name, "advice", f"unknown: {found}", *to_do) from None


@dataclass(frozen=True)
class _StageChecks:
    names: StageNames
    stage: Stage
    today: date

    def run(self) -> Iterator[Check]:
        yield from _run(self._check_bucket, self._check_certificate)
        configuration: dict[str, Any] | None = None
        try:
            configuration = self._read_function()
        except CheckFailed as error:
            yield Check(*error.args)
            return
        if configuration is None:
            to_do = f"Run `zappa deploy {self.names.stage}`."
            yield Check("function", "advice", f"{self.names.function} is not deployed yet", to_do)
            yield check_runtime_end(self.stage.get("runtime") or running_runtime(), self.today)
            return
        yield self._check_function(configuration)
        yield check_runtime_end(configuration["Runtime"], self.today)
        yield from _run(
            lambda: self._check_remote_environment(configuration["Role"]),
            lambda: self._check_dead_letters(configuration),
            self._check_log_group,
            self._check_mail_and_alarms,
        )

    def _check_bucket(self) -> Iterator[Check]:
        """Check the account of the bucket: that of the remote environment may be another one."""
        bucket = self.names.bucket
        found, to_do = f"there is no bucket {bucket}", f"Run `quoteapi setup {self.names.stage}`."
        with _unknown("bucket"):
            status = self._read_bucket_status()
        if status is None:
            yield Check("bucket", "ok", f"{bucket} belongs to this account")
        elif status == _NOT_FOUND:
            yield Check("bucket", "wrong", found, to_do)
        else:
            found = f"{bucket} belongs to another account than your credentials, or you may not read it"
            yield Check("bucket", "wrong", found, "Check AWS_PROFILE, and profile_name of the stage.")

    def _read_bucket_status(self) -> int | None:
        """Return the status of the error for the bucket; None if it belongs to the account."""
        client, owner = self.names.account.client("s3"), self.names.account.account_id
        try:
            client.head_bucket(Bucket=self.names.bucket, ExpectedBucketOwner=owner)
        except client.exceptions.ClientError as error:
            status: int = error.response["ResponseMetadata"]["HTTPStatusCode"]
            if status not in {_NOT_FOUND, _FORBIDDEN}:
                raise
            return status
        return None

    def _check_certificate(self) -> Iterator[Check]:
        yield from check_certificate(self.names.account, self.stage)

    def _read_function(self) -> dict[str, Any] | None:
        """Return the configuration of the function; None if it does not exist. Raises `CheckFailed`."""
        client = self.names.account.client("lambda")
        with _unknown("function"):
            try:
                configuration: dict[str, Any] = client.get_function_configuration(FunctionName=self.names.function)
            except client.exceptions.ResourceNotFoundException:
                return None
        return configuration

    def _check_function(self, configuration: dict[str, Any]) -> Check:
        status = {configuration.get(name) for name in ("State", "LastUpdateStatus")}
        if "Failed" in status:
            reason = (
                configuration.get("StateReason") or configuration.get("LastUpdateStatusReason") or "no reason given"
            )
            return Check("function", "wrong", f"it cannot run: {reason}", f"Run `zappa update {self.names.stage}`.")
        found = f"{self.names.function}, changed {configuration['LastModified'][:16].replace('T', ' ')} UTC"
        return Check("function", "ok", found)

    def _check_remote_environment(self, role: str) -> Iterator[Check]:
        """Check that the function may read its remote environment, which it does when it starts."""
        url = urlsplit(str(self.stage.get("remote_env") or ""))
        if not url.netloc:
            return
        arn = f"arn:{self.names.account.partition}:s3:::{url.netloc}{url.path}"
        with _unknown("remote env"):
            simulated = self.names.account.client("iam").simulate_principal_policy(
                PolicySourceArn=role, ActionNames=["s3:GetObject"], ResourceArns=[arn]
            )
        if all(each["EvalDecision"] == "allowed" for each in simulated["EvaluationResults"]):
            yield Check("remote env", "ok", f"the function may read {url.geturl()}")
        else:
            found = f"the function may not read {url.geturl()}, so it has no settings"
            yield Check(
                "remote env", "wrong", found, f"Run `zappa update {self.names.stage}`, which corrects its role."
            )

    def _check_dead_letters(self, configuration: dict[str, Any]) -> Iterator[Check]:
        with _unknown(DEAD_LETTERS):
            yield from check_dead_letters(self.names, self.stage, configuration)

    def _check_log_group(self) -> Iterator[Check]:
        name = self.names.log_group
        with _unknown("log group"):
            group = find_log_group(self.names)
        if days := (group or {}).get("retentionInDays"):
            yield Check("log group", "ok", f"{name}, kept for {days} days")
        else:
            found = f"{name} has no retention: logs stay, and cost, for ever"
            yield Check("log group", "advice", found, f"Run `zappa update {self.names.stage}`, which sets it.")

    def _check_mail_and_alarms(self) -> Iterator[Check]:
        with _unknown("mail"):
            remote = read_remote_environment(self.stage).values
            region = stage_environment(self.stage, remote).get("SNS_REGION") or DEFAULT_REGION
            addresses = list_mail_addresses(self.names.account, region)
        yield check_failure_mail(self.names.stage, addresses)
        with _unknown("alarms"):
            yield from check_alarms(self.names, self.stage, region, next(iter(addresses), None))


def _run(*checks: Callable[[], Iterable[Check]]) -> Iterator[Check]:
    """Run checks in order. One that fails does not stop the others."""
    for check in checks:
        try:
            yield from check()
        except CheckFailed as error:
            yield Check(*error.args)
