"""The operator's other stages, which may share parts of a stage."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from quoteapi.deploy.check import CheckFailed
from quoteapi.deploy.remote_environment import read_remote_environment
from quoteapi.deploy.zappa_settings import Stage, read_local_stages, read_stage, stage_settings
from quoteapi.settings import Settings, SettingsError


class OtherStages(NamedTuple):
    """The stages that have local settings, by name, without the one in question."""

    stages: dict[str, Stage]

    def with_setting(self, name: str, value: object) -> list[str]:
        """Return the names of the stages with a setting of Zappa."""
        return [stage for stage, settings in self.stages.items() if settings.get(name) == value]

    def with_settings(self, is_meant: Callable[[Settings], bool]) -> list[str]:
        """Return the names of the stages whose service has such settings, or settings that cannot be read."""
        return [name for name, stage in self.stages.items() if _may_be(name, stage, is_meant)]


def read_other_stages(path: Path, name: str) -> OtherStages:
    """Return the stages beside one, from the files of Zappa's settings. Raises `CheckFailed`."""
    return OtherStages({other: read_stage(path, other) for other in read_local_stages(path) if other != name})


def say_used(stages: list[str]) -> str:
    """Return that these stages use something; empty if there are none."""
    return f"{', '.join(stages)} {'uses' if len(stages) == 1 else 'use'} it" if stages else ""


def _may_be(name: str, stage: Stage, is_meant: Callable[[Settings], bool]) -> bool:
    try:
        return is_meant(stage_settings(name, stage, read_remote_environment(stage).values))
    except (CheckFailed, SettingsError):
        return True
