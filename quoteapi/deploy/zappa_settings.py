"""Reads a stage of `zappa_settings.json` as Zappa does."""

import json
import re
from pathlib import Path
from typing import Any

from quoteapi.deploy.check import CheckFailed, did_you_mean
from quoteapi.settings import ROOT

ZAPPA_SETTINGS = ROOT / "zappa_settings.json"
PLACEHOLDER = re.compile(r"(?<!\?)(?<!\?P)<[^<>]+>")
"""Text in angle brackets that the operator must replace; not a named group of a regular expression."""
Stage = dict[str, Any]


def read_stage(path: Path, stage: str) -> Stage:
    """Return the settings of a stage, with those that it inherits by `extends`. Raises `CheckFailed`."""
    try:
        stages = json.loads(path.read_bytes())
    except OSError as error:
        raise CheckFailed("stage", "wrong", f"{path.name} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise CheckFailed("stage", "wrong", f"{path.name} is no JSON: {error}", "Mend it, and ask again.") from error
    if not isinstance(stages, dict):
        raise CheckFailed("stage", "wrong", f"{path.name} has no stages", "Write them as one JSON object.")
    return _resolve_extends(stages, stage, ())


def _resolve_extends(stages: Stage, stage: str, descendants: tuple[str, ...]) -> Stage:
    if stage in descendants:
        found = f"{stage} extends itself: {' extends '.join((*descendants, stage))}"
        raise CheckFailed("stage", "wrong", found, "Remove an extends.")
    if not isinstance(stages.get(stage), dict):
        found = f"there is no stage {stage}" + (f", which {descendants[-1]} extends" if descendants else "")
        names = ", ".join(name for name in stages if name != "base")
        raise CheckFailed("stage", "wrong", found, did_you_mean(stage, stages) or f"There are {names or 'none'}.")
    settings: Stage = stages[stage]
    base = settings.get("extends")
    return {**(_resolve_extends(stages, str(base), (*descendants, stage)) if base else {}), **settings}


def nested_object(settings: Stage, key: str) -> dict[str, Any]:
    """Return the object under a key, empty if it is missing or not an object."""
    value = settings.get(key)
    return value if isinstance(value, dict) else {}


def list_events(stage: Stage) -> list[dict[str, Any]]:
    """Return the events of a stage, with an empty object for each that is not an object."""
    return [event if isinstance(event, dict) else {} for event in stage.get("events", [])]
