"""The operator's other stages, which may share parts of a stage."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from quoteapi.deploy.checks.check import CheckFailed
from quoteapi.deploy.remote_environment import read_remote_environment
from quoteapi.deploy.zappa_settings import Stage, read_local_stages, read_stage, stage_settings
from quoteapi.settings import Settings, SettingsError


@dataclass
class OtherStages:
    """The stages that have local settings, without the one in question."""

    stages: dict[str, Stage]
    """By name."""

    def with_setting(self, name: str, value: object) -> list[str]:
        """Return the names of the stages with a setting of Zappa."""
        return [stage for stage, settings in self.stages.items() if settings.get(name) == value]

    def with_settings(self, is_meant: Callable[[Settings], bool]) -> list[str]:
        """Return the names of the stages whose service has such settings, or settings that cannot be read."""
        return [name for name, settings in self._settings.items() if settings is None or is_meant(settings)]

    @cached_property
    def _settings(self) -> dict[str, Settings | None]:
        return {name: _read_settings(name, stage) for name, stage in self.stages.items()}


def read_other_stages(path: Path, name: str) -> OtherStages:
    """Return the stages beside one, from the files of Zappa's settings. Raises `CheckFailed`."""
    return OtherStages({other: read_stage(path, other) for other in read_local_stages(path) if other != name})


def say_used(stages: list[str]) -> str:
    """Return that these stages use something, as the reason to keep it; empty if there are none."""
    return f"{', '.join(stages)} {'uses' if len(stages) == 1 else 'use'} it" if stages else ""


def _read_settings(name: str, stage: Stage) -> Settings | None:
    try:
        return stage_settings(name, stage, read_remote_environment(stage).values)
    except (CheckFailed, SettingsError):
        return None
