"""Finds and deletes what is left of a stage in AWS, and in the operator's settings, after `zappa undeploy`."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

from quoteapi.deploy.aws_account import aws_errors
from quoteapi.deploy.checks.check import CheckFailed
from quoteapi.deploy.remote_environment import read_remote_environment
from quoteapi.deploy.setup_result import SetupResult
from quoteapi.deploy.stage_setup import StageSetup
from quoteapi.deploy.teardown.domain_leftovers import find_domain
from quoteapi.deploy.teardown.leftover import Leftover
from quoteapi.deploy.teardown.other_stages import OtherStages, read_other_stages
from quoteapi.deploy.teardown.shared_leftovers import (
    find_account_budget,
    find_failure_topic,
    find_files,
    find_local_settings,
    has_remote_environment,
    list_foreign_environments,
)
from quoteapi.deploy.teardown.stage_leftovers import (
    find_alarms,
    find_dead_letters,
    find_logs,
    find_role,
    find_usage_plan,
)
from quoteapi.deploy.teardown.subscriber_leftovers import BACKUP, find_subscribers
from quoteapi.deploy.zappa_settings import stage_settings
from quoteapi.settings import Settings

SUBSCRIBERS_STAY = "the subscribers stay"
_LATER = "kept, as the rest is found by it. Run the command again."
_TO_DO = {
    "certificate": {
        "ResourceInUseException": "API Gateway releases it within an hour after its domain name is deleted. Then run"
        " the command again."
    },
    "hosted zone": {"HostedZoneNotEmpty": "Delete its other records if you need none. Then run the command again."},
    "bucket": {"BucketNotEmpty": "Delete its files, also their former versions. Then run the command again."},
    "domain name": {
        "TooManyRequestsException": "API Gateway deletes one domain name in 30 seconds. Then run the command again."
    },
}
"""For a kind of leftover, what to do about an error of AWS."""


@dataclass
class Teardown:
    """The leftovers of a stage."""

    setup: StageSetup
    leftovers: list[Leftover] = field(default_factory=list)
    failures: list[SetupResult] = field(default_factory=list)
    """What could not be looked up."""

    def find(self) -> None:
        """Look up the leftovers, in the order in which they can be deleted. Raises `CheckFailed`, `SettingsError`."""
        setup, names, others, settings = self.setup, self.setup.names, self._others, self._settings
        finders: dict[str, Callable[[], Iterable[Leftover]]] = {
            "alarms": lambda: find_alarms(names),
            "usage plan": lambda: find_usage_plan(names),
            "domain": lambda: find_domain(names, setup.stage, others),
            "log group": lambda: find_logs(names),
            "dead letters": lambda: find_dead_letters(names, others),
            "role": lambda: find_role(names, setup.stage),
            "mail": lambda: find_failure_topic(setup.account, settings.sns_region, others, self._foreign),
            "budget": lambda: find_account_budget(setup.account, others, self._foreign),
            "subscribers": lambda: find_subscribers(names, settings, others),
            "bucket": lambda: find_files(names, others),
            "local settings": lambda: find_local_settings(setup.path, setup.name),
        }
        for kind, finder in finders.items():
            try:
                with aws_errors(kind):
                    self.leftovers.extend(finder())
            except CheckFailed as error:
                self.failures.append(_failure(kind, error))

    @cached_property
    def _others(self) -> OtherStages:
        return read_other_stages(self.setup.path, self.setup.name)

    @cached_property
    def _foreign(self) -> list[str]:
        return list_foreign_environments(self.setup.names, self._others)

    @cached_property
    def _settings(self) -> Settings:
        stage = self.setup.stage
        with aws_errors("remote env"):
            has_remote = has_remote_environment(self.setup.names)  # else it was deleted in an earlier run
        remote = read_remote_environment(stage).values if has_remote else {"SNS_REGION": self.setup.account.region}
        return stage_settings(self.setup.name, stage, remote)

    @property
    def table(self) -> Leftover | None:
        """The table with the subscribers, if it can be deleted."""
        return next((each for each in self.leftovers if each.kind == "table" and not each.kept), None)

    @property
    def has_postgresql(self) -> bool:
        """Whether the subscribers are in a PostgreSQL database, which is never touched."""
        return any(each.kind == "database" for each in self.leftovers)

    def keep_subscribers(self) -> None:
        """Keep the subscribers, and the settings with which a new deploy continues with them."""
        self.leftovers = [
            each._replace(kept=each.kept or SUBSCRIBERS_STAY) if each.group != "parts" else each
            for each in self.leftovers
        ]

    def delete(self) -> Iterator[SetupResult]:
        """Delete the leftovers that are not kept, and yield what was done. What fails does not stop the rest."""
        has_failed = bool(self.failures)
        for leftover in self.leftovers:
            if leftover.kept:
                continue
            if has_failed and leftover.group == "settings":
                yield SetupResult(leftover.kind, "skipped", f"{leftover.name}: {_LATER}")
                continue
            result = _delete(leftover)
            has_failed = has_failed or result.state == "failed"
            yield result


def _delete(leftover: Leftover) -> SetupResult:
    try:
        with aws_errors(leftover.kind, _TO_DO.get(leftover.kind)):
            leftover.delete()
    except CheckFailed as error:
        return _failure(leftover.kind, error, f"{leftover.name}: ")
    note = f". {BACKUP}" if leftover.kind == "table" else ""
    return SetupResult(leftover.kind, "done", f"{leftover.name} deleted{note}")


def _failure(kind: str, error: CheckFailed, prefix: str = "") -> SetupResult:
    _, _, found, *to_do = error.args
    return SetupResult(kind, "failed", f"{prefix}{found}", *to_do)
