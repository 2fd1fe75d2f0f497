"""Checks of a stage of `zappa_settings.json`: before each deploy, and for `quoteapi doctor --stage`."""

import importlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from quoteapi.deploy.checks import event_checks, path_checks, service_settings_checks, zappa_keys
from quoteapi.deploy.checks.check import Check, CheckFailed, State, check_file_mode
from quoteapi.deploy.remote_environment import read_remote_environment
from quoteapi.deploy.runtimes import (
    DEFAULT_RUNTIME,
    how_to_move_to,
    how_to_run_on,
    is_supported,
    running_runtime,
    supports_arm64,
)
from quoteapi.deploy.zappa_settings import (
    BUCKET_NAME,
    Stage,
    get_nested_object,
    list_events,
    read_stage,
    stage_environment,
)
from quoteapi.settings.parsers import AWS_REGION

_OBJECT_KEYS = ("authorizer", "aws_environment_variables", "callbacks", "environment_variables", "vpc_config")
_NUMBER_KEYS = ("memory_size", "timeout_seconds")
_BOOLEAN_KEYS = ("api_key_required", "debug", "iam_authorization", "keep_warm", "xray_tracing")
_CHECK_LOCAL_FILE = " Or, to check a local file, add --env-file FILE."
_LAMBDA_HANDLER = "handler.lambda_handler"
_CALLBACKS: dict[str, tuple[str, State, str]] = {
    "settings": ("prepare", "wrong", "deploys are not checked, and the package gets the libraries of this machine"),
    "zip": ("finish", "wrong", "the package gets every file of the folder, including databases and exports"),
    "post": ("set_up", "advice", "deploys create no table for subscribers, and apply no migrations"),
}
"""The function of each callback, the state of a check without it, and what happens then."""
_AN_ARN = "an ARN, with the 12 digits of the account"
_FORMATS = {
    "aws_region": (AWS_REGION, "a region, for example eu-central-1"),
    "certificate_arn": (r"arn:aws[a-z-]*:acm:[a-z0-9-]+:\d{12}:certificate/\S+", _AN_ARN),
    "dead_letter_arn": (r"arn:aws[a-z-]*:(sqs|sns):[a-z0-9-]+:\d{12}:\S+", _AN_ARN),
    "s3_bucket": (BUCKET_NAME, "a bucket name of lower-case letters, digits, - and ."),
}


def find_problems(path: Path, stage: str) -> list[Check]:
    """Return the checks of a stage that are not `ok`, from the file alone. Only `wrong` stops a deploy."""
    try:
        return list(_check_file(stage, read_stage(path, stage)))
    except CheckFailed as error:
        return [Check(*error.args)]


def check_stage(path: Path, stage: str, env_file: Path | None = None) -> Iterator[Check]:
    """Yield all checks of a stage: its file, and its remote environment from S3 or from `env_file`."""
    try:
        settings = read_stage(path, stage)
        yield Check("stage", "ok", f"{stage} of {path.name}")
        yield from list(_check_file(stage, settings)) or [Check("file", "ok", "no placeholders and no misspelt keys")]
        if env_file is not None:
            yield from check_file_mode(env_file)
        remote = read_remote_environment(settings, env_file)
    except CheckFailed as error:
        check = Check(*error.args)
        can_use_file = check.name == "remote env" and env_file is None
        yield check._replace(to_do=f"{check.to_do}{_CHECK_LOCAL_FILE}") if can_use_file else check
        return
    if env_file is None and remote.etag is None and settings.get("remote_env"):
        found = f"{settings['remote_env']} does not exist yet: `zappa deploy` and `zappa update` create it"
        yield Check(
            "remote env", "advice", found, "To upload your settings first, see the template docs/remote-env.json."
        )
    else:
        found = f"{sum(map(bool, remote.values.values()))} of {len(remote.values)} settings have a value"
        yield from list(_check_remote_environment(remote.values)) or [Check("remote env", "ok", found)]
    environment = stage_environment(settings, remote.values)
    if all(service_settings_checks.is_usable(name, value) for name, value in environment.items()):
        yield from service_settings_checks.check_settings(stage, settings, environment)


def _strings(environment: dict[str, Any]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if isinstance(value, str)}


def _check_file(name: str, stage: Stage) -> Iterator[Check]:
    for key in (*_OBJECT_KEYS, "events"):
        json_type, expected = (list, "a list, in [ ]") if key == "events" else (dict, "an object, in { }")
        if not isinstance(stage.get(key, json_type()), json_type):
            raise CheckFailed("value", "wrong", f"{key} has the wrong type", f"Write it as {expected}.")
    yield from service_settings_checks.check_placeholders(stage, "placeholder")
    if not stage.get("s3_bucket"):
        yield Check("bucket", "wrong", f"{name} is not set up: it has no s3_bucket", f"Run `quoteapi setup {name}`.")
    for check in zappa_keys.check_keys, _check_values, _check_package, _check_domain, _check_authorization:
        yield from check(stage)
    yield from _check_functions(stage)
    yield from path_checks.check_paths(name, stage)
    yield from event_checks.check_events(list_events(stage))
    for place in ("environment_variables", "aws_environment_variables"):
        yield from service_settings_checks.check_variables(place, get_nested_object(stage, place))
        yield from service_settings_checks.check_committed_secrets(place, get_nested_object(stage, place))


def _check_remote_environment(remote: dict[str, Any]) -> Iterator[Check]:
    for check in service_settings_checks.check_placeholders(_strings(remote), "remote env"):
        yield check._replace(to_do=f'To leave it out, write "". {check.to_do}')
    for check in service_settings_checks.check_variables("remote env", remote):
        yield check._replace(name="remote env")


def _wrong(found: str, to_do: str = "Remove it.") -> Check:
    return Check("value", "wrong", found, to_do)


def _check_values(stage: Stage) -> Iterator[Check]:
    if stage.get("debug", True):
        yield _wrong("debug is on (the default): clients see tracebacks", 'Set "debug": false.')
    if stage.get("log_level", "DEBUG") not in {"WARNING", "ERROR", "CRITICAL"}:
        found = "log_level is too low: whole requests, with phone numbers, get into the log (the default is DEBUG)"
        yield _wrong(found, 'Set "log_level": "WARNING".')
    yield from _check_runtime(stage)
    yield from _check_architecture(stage)
    yield from _check_types_and_formats(stage)
    if stage.get("apigateway_version", "v1") != "v1":
        yield _wrong("apigateway_version is not v1: Zappa ignores the authorizer, so the API is open to anyone")
    network = get_nested_object(stage, "vpc_config")
    if network and not (network.get("SubnetIds") and network.get("SecurityGroupIds")):
        to_do = "Add --subnet and --security-group to `quoteapi setup`, each with an ID."
        yield _wrong("vpc_config has no subnet or no security group", to_do)
    if stage.get("cors"):
        to_do = "Remove it, and set CORS_ORIGINS in environment_variables."
        yield _wrong("cors allows all origins, and conflicts with the headers of the service", to_do)
    if stage.get("cache_cluster_enabled"):
        yield _wrong("cache_cluster_enabled: the cache ignores the query, so requests get responses of other queries")
    if not stage.get("exception_handler"):
        to_do = 'Set "exception_handler": "quoteapi.aws.error_reports.unhandled_exceptions".'
        yield Check("value", "advice", "no exception_handler: errors are not reported", to_do)


def _check_package(stage: Stage) -> Iterator[Check]:
    """Yield what would leave the function without the app, or with files that are nobody's business."""
    if stage.get("slim_handler"):
        yield _wrong("slim_handler splits the package, so callbacks.zip cannot trim it")
    if stage.get("django_settings"):
        yield _wrong("django_settings is set: Zappa ignores app_function")
    elif not stage.get("app_function"):
        yield _wrong("app_function is not set: no request works", 'Set "app_function": "quoteapi.app.api".')
    if stage.get("app_type", "wsgi") != "wsgi":
        yield _wrong(f"app_type is {stage['app_type']}, but the app is WSGI")
    if stage.get("lambda_handler", _LAMBDA_HANDLER) != _LAMBDA_HANDLER:
        yield _wrong(f"lambda_handler is {stage['lambda_handler']}, which may be missing from the package")
    for key, (function, state, effect) in _CALLBACKS.items():
        if not get_nested_object(stage, "callbacks").get(key):
            to_do = f'Set "{key}": "quoteapi.deploy.zappa_callbacks.{function}" in callbacks.'
            yield Check("value", state, f"callbacks.{key} is not set: {effect}", to_do)


def _check_runtime(stage: Stage) -> Iterator[Check]:
    """Yield a problem if Lambda would run another Python than this one, whose bytecode the package has."""
    running = running_runtime()
    if (runtime := stage.get("runtime", running)) != running:
        to_do = f"To deploy for {running}, run `quoteapi setup STAGE`."
        if is_supported(runtime):
            to_do += f" To deploy for {runtime}: {how_to_run_on(runtime)}"
        yield Check("runtime", "wrong", f"runtime is {runtime}, but zappa runs on {running}", to_do)


def _check_architecture(stage: Stage) -> Iterator[Check]:
    architecture, runtime = stage.get("architecture", "x86_64"), stage.get("runtime", running_runtime())
    if architecture not in ("x86_64", "arm64"):
        yield _wrong(f"architecture is {architecture}", "Write x86_64 or arm64.")
    elif architecture == "arm64" and not supports_arm64(runtime):
        found = f"architecture is arm64, and {runtime} has a glibc that is too old for the PostgreSQL driver there"
        yield _wrong(found, f'{how_to_move_to(DEFAULT_RUNTIME)} Or set "architecture": "x86_64".')


def _check_types_and_formats(stage: Stage) -> Iterator[Check]:
    for key in (*_NUMBER_KEYS, *_BOOLEAN_KEYS):
        json_type, expected = (int, "a number, without quotes") if key in _NUMBER_KEYS else (bool, "true or false")
        if key in stage and type(stage[key]) is not json_type:
            yield _wrong(f"{key} is {json.dumps(stage[key])}", f"Write {expected}.")
    for key, (pattern, expected) in _FORMATS.items():
        value = str(stage.get(key, ""))
        if value and not re.fullmatch(pattern, value):
            yield _wrong(f"{key} is {value}", f"Write {expected}.")


def _check_domain(stage: Stage) -> Iterator[Check]:
    domain, certificate = stage.get("domain"), str(stage.get("certificate_arn", ""))
    if domain and not any(stage.get(key) for key in ("certificate_arn", "certificate", "lets_encrypt_key")):
        yield Check("domain", "wrong", "domain has no certificate", "Run `quoteapi setup STAGE`, which requests one.")
    if domain and not re.fullmatch(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+", domain):
        to_do = "Write your domain without https://, for example quotes.example.org."
        yield Check("domain", "wrong", f"domain is {domain}", to_do)
    if certificate and ":acm:us-east-1:" not in certificate and not stage.get("endpoint_configuration"):
        to_do = "Request one in us-east-1: API Gateway accepts no other region."
        yield Check("domain", "wrong", "certificate_arn is in another region", to_do)


def _check_authorization(stage: Stage) -> Iterator[Check]:
    authorizer = get_nested_object(stage, "authorizer")
    if "type" in authorizer:
        yield _wrong("authorizer.type makes the deploy fail")
    if authorizer and not (authorizer.get("function") or authorizer.get("arn")):
        yield _wrong("authorizer has no function", 'Set "function": "quoteapi.aws.authorizer.authorize".')
    if authorizer and stage.get("iam_authorization"):
        yield _wrong("authorizer is ignored while iam_authorization is on", "Remove one of them.")
    if stage.get("api_key") and not stage.get("api_key_required"):
        yield Check("value", "advice", "api_key is set, but not required", 'Set "api_key_required": true.')


def _check_functions(stage: Stage) -> Iterator[Check]:
    functions = {key: stage[key] for key in ("app_function", "exception_handler") if stage.get(key)}
    if function := get_nested_object(stage, "authorizer").get("function"):
        functions["authorizer.function"] = function
    functions |= {f"callbacks.{key}": value for key, value in get_nested_object(stage, "callbacks").items()}
    events = enumerate(list_events(stage))
    functions |= {f"events[{number}].function": event.get("function") for number, event in events}
    for key, value in functions.items():
        if problem := _import_problem(value):
            yield Check("function", "wrong", f"{key}: {problem}", "Write it as package.module.function.")


def _import_problem(function: object) -> str:
    """Return why a function cannot be imported, or an empty string if it can."""
    if not isinstance(function, str) or "." not in function:
        return "it does not name a function"
    name, _, attribute = function.rpartition(".")
    try:
        module = importlib.import_module(name)
    except Exception as error:  # noqa: BLE001 an import can raise anything
        return f"{name} cannot be imported ({type(error).__name__}: {error})"
    # app.py creates `api` on access, in its `__getattr__` (PEP 562); a check must not create it.
    lazy = getattr(module, "__getattr__", None)
    lazy_names = lazy.__code__.co_consts if lazy is not None else ()
    return "" if attribute in vars(module) or attribute in lazy_names else f"{name} has no {attribute}"
