"""A rehearsal from its first step to its last."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.helpers import postgresql_server
from tests.helpers.upstream_api import UpstreamApi
from tests.rehearsal.answers import answers
from tests.rehearsal.aws import emulated
from tests.rehearsal.deploying import certify, deploy, schedule, status, undeploy, update
from tests.rehearsal.happenings import events, failures
from tests.rehearsal.made import made, package
from tests.rehearsal.rehearsal import Rehearsal
from tests.rehearsal.stages import Stage

STEPS: tuple[Callable[[Rehearsal], None], ...] = (
    *(deploy, update, certify, schedule, status),
    *(made, package, answers, events, failures),
    undeploy,
)


IN_MEMORY = Path("/dev/shm")  # noqa: S108 files are left to a folder of our own
ENOUGH_BYTES = 2_000_000_000


class Step(NamedTuple):
    """A step that was done, or left out; and what was wrong."""

    name: str
    is_done: bool
    wrong: str | None = None


def rehearse(stage: Stage) -> Iterator[Step]:
    """Go through all steps of a stage, on an account of its own. Answer each as soon as it is done.

    A step that goes wrong does not stop the others, unless there is nothing to go on with.
    """
    with ExitStack() as until_the_end:
        folder = until_the_end.enter_context(_folder(f"quoteapi-{stage.name}-"))
        aws = until_the_end.enter_context(emulated())
        upstream = UpstreamApi()
        until_the_end.callback(upstream.stop)
        database = (
            until_the_end.enter_context(postgresql_server.a_database(with_tables=False)) if stage.shares_state else None
        )
        rehearsal = Rehearsal(stage, aws, folder, upstream, database)
        until_the_end.callback(rehearsal.close)
        for step in STEPS:
            name = step.__name__
            if step is certify and not stage.has_domain:
                yield Step(name, is_done=False)
                continue
            try:
                step(rehearsal)
            except Exception as error:  # noqa: BLE001 whatever it is, the others may still go well
                yield Step(name, is_done=True, wrong=f"{type(error).__name__}: {error}")
                if step is deploy:
                    return
            else:
                yield Step(name, is_done=True)


@contextmanager
def _folder(prefix: str) -> Iterator[Path]:
    """Make a folder; in memory where there is much, as Zappa copies thousands of files several times."""
    is_fast = IN_MEMORY.is_dir() and shutil.disk_usage(IN_MEMORY).free > ENOUGH_BYTES
    with tempfile.TemporaryDirectory(prefix=prefix, dir=IN_MEMORY if is_fast else None) as name:
        yield Path(name)
