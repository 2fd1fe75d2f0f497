"""Reads a stage of `zappa_settings.json` as Zappa does, and the settings that its function gets.

What belongs to one operator, such as the bucket and the domain, is in `zappa_settings.local.json` beside it, which git
ignores and `quoteapi setup` writes: an object of stages whose keys replace those of `zappa_settings.json`. Objects,
such as `environment_variables`, are merged key by key.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slugify import slugify  # a dependency of Zappa

from quoteapi.deploy.checks.check import CheckFailed
from quoteapi.settings import ROOT, Settings, read_settings
from quoteapi.spelling import did_you_mean
from quoteapi.storage.atomic_file import locked_folder

if TYPE_CHECKING:
    import boto3

ZAPPA_SETTINGS = ROOT / "zappa_settings.json"
PLACEHOLDER = re.compile(r"(?<!\?)(?<!\?P)<[^<>]+>")
"""Text in angle brackets that the operator must replace; not a named group of a regular expression."""
BUCKET_NAME = r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"
USUAL_BUCKET = r"quoteapi-(?P<account>\d{12})-[a-z0-9-]+"
"""The name of a bucket that `quoteapi setup` creates, with the account that it belongs to."""
Stage = dict[str, Any]
_invalid_stage = partial(CheckFailed, "stage", "wrong")


def read_stage(path: Path, stage: str) -> Stage:
    """Return the settings of a stage: inherited by `extends`, its own, local ones. Raises `CheckFailed`."""
    return _merge(read_tracked_stage(path, stage), read_local_stage(path, stage))


def read_tracked_stage(path: Path, stage: str) -> Stage:
    """Return the settings of a stage without the local ones. Raises `CheckFailed`."""
    return _resolve_extends(_read_stages(path), stage, ())


def local_settings_file(path: Path) -> Path:
    """Return the path of the operator's own settings that belong to a settings file of Zappa."""
    return path.with_suffix(".local.json")


def read_local_stage(path: Path, stage: str) -> Stage:
    """Return the local settings of a stage; empty if there are none. Raises `CheckFailed`."""
    settings = read_local_stages(path).get(stage, {})
    if not isinstance(settings, dict):
        found = f"{stage} in {local_settings_file(path).name} is not a JSON object"
        raise _invalid_stage(found, "Write its keys as one JSON object.")
    return settings


def read_local_stages(path: Path) -> Stage:
    """Return the local settings of all stages, by name; empty if there are none. Raises `CheckFailed`."""
    local = local_settings_file(path)
    return _read_stages(local) if local.exists() else {}


def write_local_stage(path: Path, stage: str, settings: Stage) -> None:
    """Replace the local settings of a stage, or remove them if `settings` is empty. Other stages stay.

    Only the operator can read the file. Raises `CheckFailed`.
    """
    local = local_settings_file(path)
    temporary = local.with_name(f".{local.name}.new")
    with locked_folder(local.parent):  # another stage may be set up meanwhile
        stages = read_local_stages(path)
        stages.pop(stage, None)
        content = json.dumps(stages | ({stage: settings} if settings else {}), indent=4, ensure_ascii=False)
        temporary.unlink(missing_ok=True)
        temporary.touch(mode=0o600)
        temporary.write_text(f"{content}\n")
        temporary.replace(local)


def _merge(stage: Stage, local: Stage) -> Stage:
    """Return a stage with local settings: an object of both has the keys of both."""
    merged = {
        key: {**stage[key], **value} if isinstance(value, dict) and isinstance(stage.get(key), dict) else value
        for key, value in local.items()
    }
    return stage | merged


def _read_stages(path: Path) -> Stage:
    try:
        stages = json.loads(path.read_bytes())
    except OSError as error:
        raise _invalid_stage(f"{path.name} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise _invalid_stage(f"{path.name} is not valid JSON: {error}", "Correct it, then try again.") from error
    if not isinstance(stages, dict):
        raise _invalid_stage(f"{path.name} is not a JSON object", "Write the stages as one JSON object.")
    return stages


def _resolve_extends(stages: Stage, stage: str, descendants: tuple[str, ...]) -> Stage:
    if stage in descendants:
        found = f"{stage} extends itself: {' extends '.join((*descendants, stage))}"
        raise _invalid_stage(found, "Remove an extends.")
    if not isinstance(stages.get(stage), dict):
        found = f"there is no stage {stage}" + (f", which {descendants[-1]} extends" if descendants else "")
        names = ", ".join(name for name in stages if name != "base")
        raise _invalid_stage(found, did_you_mean(stage, stages) or f"The stages are: {names or 'none'}.")
    settings: Stage = stages[stage]
    base = settings.get("extends")
    return {**(_resolve_extends(stages, str(base), (*descendants, stage)) if base else {}), **settings}


def has_generated_policy(stage: Stage) -> bool:
    """Return whether the function's role gets the generated policy: the stage has no policy or role of its own."""
    return stage.get("manage_roles", True) and not any(map(stage.get, ("attach_policy", "role_arn", "role_name")))


def get_nested_object(settings: Stage, key: str) -> dict[str, Any]:
    """Return the object under a key, empty if it is missing or not an object."""
    value = settings.get(key)
    return value if isinstance(value, dict) else {}


def list_events(stage: Stage) -> list[dict[str, Any]]:
    """Return the events of a stage, with an empty object for each that is not an object."""
    return [event if isinstance(event, dict) else {} for event in stage.get("events", [])]


def function_name(name: str, stage: Stage) -> str:
    """Return the name that Zappa gives the function of a stage."""
    project = stage.get("project_name") or slugify(ROOT.name)[:15]
    return slugify(f"{project}-{name}")


def aws_region(stage: Stage) -> str | None:
    """Return the region that Zappa deploys a stage to; None if that is the default region of boto3.

    `AWS_DEFAULT_REGION` comes first if the environment has the credentials too.
    """
    has_key = bool(os.environ.get("AWS_ACCESS_KEY_ID") and os.environ.get("AWS_SECRET_ACCESS_KEY"))
    by_environment = os.environ.get("AWS_DEFAULT_REGION") if has_key and not stage.get("profile_name") else None
    return by_environment or stage.get("aws_region")


def open_session(stage: Stage) -> "boto3.Session":
    """Return a boto3 session with the profile and the region of a stage.

    If there is no such profile, botocore raises `ProfileNotFound`, here or when the session is used. All these
    sessions share the models of services, as parsing that of one service takes up to 0.1 s.
    """
    import boto3  # noqa: PLC0415 slow
    from botocore.session import get_session  # noqa: PLC0415

    session = get_session()
    session.register_component("data_loader", _model_loader())
    profile, region = stage.get("profile_name"), aws_region(stage)
    return boto3.Session(profile_name=profile, region_name=region, botocore_session=session)


@cache
def _model_loader() -> object:
    from botocore.loaders import create_loader  # noqa: PLC0415 slow

    return create_loader()


@contextmanager
def restored_environment() -> Iterator[None]:
    """Undo at the end what the block changes in the environment: `zappa deploy --all` goes on with another stage."""
    before = dict(os.environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def use_aws_account(stage: Stage) -> None:
    """Make all boto3 sessions that this process creates use the profile and the region of a stage."""
    import boto3  # noqa: PLC0415 the checks do not need it

    if region := aws_region(stage):
        os.environ["AWS_DEFAULT_REGION"] = region
    if profile := stage.get("profile_name"):
        os.environ["AWS_PROFILE"] = profile
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):  # they would come first
            os.environ.pop(name, None)
    boto3.setup_default_session()  # the one before may have read other credentials


def stage_environment(stage: Stage, remote: Mapping[str, Any]) -> dict[str, str]:
    """Return the environment variables of a function, in the order in which Zappa sets them: the last one wins."""
    places = (
        get_nested_object(stage, "aws_environment_variables"),
        remote,
        get_nested_object(stage, "environment_variables"),
    )
    return {name: value for place in places for name, value in place.items() if isinstance(value, str)}


def stage_settings(name: str, stage: Stage, remote: Mapping[str, Any]) -> Settings:
    """Return the settings as the function of a stage reads them. Raises `SettingsError`."""
    return read_settings(stage_environment(stage, remote) | {"AWS_LAMBDA_FUNCTION_NAME": function_name(name, stage)})
