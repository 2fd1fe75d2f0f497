"""Run all steps of a rehearsal."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import NamedTuple

from tests.helpers import postgresql_server
from tests.helpers.temporary_folders import temporary_folder
from tests.helpers.upstream_api import UpstreamApi
from tests.rehearsal.aws import emulate_aws
from tests.rehearsal.check_events import events
from tests.rehearsal.check_failures import failures
from tests.rehearsal.check_night import night
from tests.rehearsal.check_requests import requests
from tests.rehearsal.check_resources import package, resources
from tests.rehearsal.permissions import check_permissions, enforce_policies, permissions
from tests.rehearsal.rehearsal import Rehearsal
from tests.rehearsal.setup_step import setup
from tests.rehearsal.stages import Stage
from tests.rehearsal.teardown_step import teardown
from tests.rehearsal.zappa_steps import certify, deploy, schedule, status, undeploy, update

STEPS: tuple[Callable[[Rehearsal], list[str] | None], ...] = (
    *(setup, deploy, update, certify, schedule, status),
    *(resources, package, requests, events, night, failures),
    *(permissions, undeploy, teardown),
)


class Step(NamedTuple):
    """The result of a step: done or left out, the error if it failed, and lines about what it found."""

    name: str
    is_done: bool
    error: str | None = None
    notes: list[str] = []  # noqa: RUF012 never changed


def rehearse(stage: Stage) -> Iterator[Step]:
    """Run all steps of a stage in an AWS account of its own. Yield each result at once.

    A failed step does not stop the others, except a failed `setup` or `deploy`.
    """
    with ExitStack() as exit_stack:
        folder = exit_stack.enter_context(temporary_folder(f"quoteapi-{stage.name}-"))
        aws = exit_stack.enter_context(emulate_aws())
        upstream = UpstreamApi()
        exit_stack.callback(upstream.stop)
        database = (
            exit_stack.enter_context(postgresql_server.create_database(with_tables=False))
            if stage.database == "PostgreSQL"
            else None
        )
        rehearsal = Rehearsal(stage, aws, folder, upstream, database)
        exit_stack.callback(rehearsal.close)
        enforce_policies(rehearsal)
        for step in STEPS:
            name = step.__name__
            if (step is certify and not stage.has_domain) or (step is night and not stage.lives_through_a_night):
                yield Step(name, is_done=False)
                continue
            try:
                with check_permissions(aws):
                    notes = step(rehearsal)
            except Exception as error:  # noqa: BLE001 other steps may still pass
                yield Step(name, is_done=True, error=f"{type(error).__name__}: {error}")
                if step in {setup, deploy}:
                    return
            else:
                yield Step(name, is_done=True, notes=notes or [])
