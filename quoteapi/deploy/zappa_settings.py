"""A stage of `zappa_settings.json`: read as Zappa reads it, and what is wrong with it told before it is deployed.

Zappa ignores in silence what it does not know. What it does know is read out of the source of the installed one.
"""

import importlib.util
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from quoteapi.deploy.check import Check, CheckFailed, did_you_mean
from quoteapi.observability.redaction import OTHER_SECRETS
from quoteapi.settings import (
    ANY_REGION,
    AWS_REGION,
    HOW_TO_MAKE_A_SECRET,
    ROOT,
    SETTING_NAMES,
    Settings,
    SettingsError,
    read_settings,
)

ZAPPA_SETTINGS = ROOT / "zappa_settings.json"
Stage = dict[str, Any]
MOST_NAME = 57
"""Characters of an event's name with its function, which become the name of a rule. It has 64, and
begins with as much of a hash of the stage's name as there is room for: with none, two stages would have one rule."""
KNOWN = re.compile(r"python3\.1[1-9]")
QUIET = ("WARNING", "ERROR", "CRITICAL")
PLACEHOLDER = re.compile(r"(?<!\?)(?<!\?P)<[^<>]+>")
"""And no named group of a regular expression."""
MEANINGS: Mapping[str, str] = {field.metadata["name"]: field.metadata["meaning"] for field in fields(Settings)}
SECRETS = {
    *(field.metadata["name"] for field in fields(Settings) if not field.repr and field.name != "jwt_public_key"),
    *OTHER_SECRETS,
}
READERS = {field.metadata["name"]: field.metadata["parse"] for field in fields(Settings)}
NOT_TO_SET = ("AWS_LAMBDA_FUNCTION_NAME", "STAGE")
READ_BY_OTHERS = ("AWS_", "LAMBDA_", "PG", "PYTHON", "TZ")
"""How names begin that AWS, libpq and Python read."""
AT_INIT = "INSTANTIATE_LAMBDA_HANDLER_ON_IMPORT"
SHAPES = {
    **dict.fromkeys(
        ("authorizer", "aws_environment_variables", "callbacks", "environment_variables", "vpc_config"), dict
    ),
    "events": list,
}
WHAT_TO_PUT = {
    "s3_bucket": "Put your bucket's name there; to make one: aws s3 mb s3://NAME",
    "remote_env": "Put your bucket's name there; a template of the file is docs/remote-env.json.",
    "domain": "Put your domain there, without https://, for example quotes.example.org.",
    "certificate_arn": "Put the certificate's ARN there: aws acm list-certificates --region us-east-1",
    "dead_letter_arn": "Put your queue's ARN there; to make one: aws sqs create-queue --queue-name quoteapi-failures",
    **dict.fromkeys(("JWT_SECRET", "SECRET_KEY"), f"Put text there that nobody can guess; {HOW_TO_MAKE_A_SECRET}"),
    "DATABASE_URL": "Put your server's there, as in postgresql://user:password@host:5432/quoteapi.",
    "vpc_config.SubnetIds": "Put your private subnets there: aws ec2 describe-subnets",
    "vpc_config.SecurityGroupIds": "Put your security groups there: aws ec2 describe-security-groups",
}


def find_problems(path: Path, stage: str) -> list[Check]:
    """Answer what is wrong with a stage as the file alone shows it; only what is `wrong` need stop a deploy."""
    try:
        return list(_problems(read_stage(path, stage)))
    except CheckFailed as error:
        return [error.check]


def check_stage(path: Path, stage: str, env_file: Path | None = None) -> Iterator[Check]:
    """Look at all of a stage: at the file, and at the remote environment, on S3 or in a file that is to go there."""
    try:
        settings = read_stage(path, stage)
        yield Check("stage", "ok", f"{stage} of {path.name}")
        problems = list(_problems(settings))
        yield from problems or [Check("file", "ok", "no placeholder, no misspelt key")]
        remote = _remote(settings, env_file)
    except CheckFailed as error:
        yield error.check
        return
    at_fault = list(_remote_problems(remote))
    filled = sum(1 for value in remote.values() if value)
    yield from at_fault or [Check("remote env", "ok", f"{filled} of {len(remote)} settings have a value")]
    environment = _texts({**_part(settings, "aws_environment_variables"), **remote})
    environment |= _texts(_part(settings, "environment_variables"))  # which Zappa sets last
    if not any(PLACEHOLDER.search(value) or _unreadable(name, value) for name, value in environment.items()):
        yield from _together(settings, environment)


def read_stage(path: Path, stage: str) -> Stage:
    """Read a stage with all that it extends. Raises `Unreadable`."""
    try:
        stages = json.loads(path.read_bytes())
    except OSError as error:
        raise CheckFailed(Check("stage", "wrong", f"{path.name} cannot be read: {error.strerror}")) from error
    except (ValueError, RecursionError) as error:
        raise CheckFailed(
            Check("stage", "wrong", f"{path.name} is no JSON: {error}", "Mend it, and ask again.")
        ) from error
    if not isinstance(stages, dict):
        raise CheckFailed(Check("stage", "wrong", f"{path.name} has no stages", "Write them as one JSON object."))
    return _extended(stages, stage, ())


def _extended(stages: Stage, stage: str, extending: tuple[str, ...]) -> Stage:
    if stage in extending:
        found = f"{stage} extends itself: {' extends '.join((*extending, stage))}"
        raise CheckFailed(Check("stage", "wrong", found, "Remove an extends."))
    if not isinstance(stages.get(stage), dict):
        found = f"there is no stage {stage}" + (f", which {extending[-1]} extends" if extending else "")
        to_do = (
            did_you_mean(stage, stages)
            or f"There are {', '.join(name for name in stages if name != 'base') or 'none'}."
        )
        raise CheckFailed(Check("stage", "wrong", found, to_do))
    settings: Stage = stages[stage]
    base = settings.get("extends")
    return {**(_extended(stages, str(base), (*extending, stage)) if base else {}), **settings}


def _problems(settings: Stage) -> Iterator[Check]:
    for key, shape in SHAPES.items():
        if not isinstance(settings.get(key, shape()), shape):
            written = "an object, in { }" if shape is dict else "a list, in [ ]"
            raise CheckFailed(Check("value", "wrong", f"{key} is not what Zappa reads", f"Write it as {written}."))
    yield from _placeholders(settings, "placeholder")
    yield from _misspelt(settings)
    yield from _values(settings)
    yield from _domain(settings)
    yield from _authorization(settings)
    yield from _functions(settings)
    yield from _events(_events_of(settings))
    for place in ("environment_variables", "aws_environment_variables"):
        yield from _names(place, _part(settings, place))
        yield from _committed_secrets(place, _part(settings, place))


def _part(settings: Stage, key: str) -> dict[str, Any]:
    part = settings.get(key, {})
    return part if isinstance(part, dict) else {}


def _events_of(settings: Stage) -> list[dict[str, Any]]:
    return [event if isinstance(event, dict) else {} for event in settings.get("events", [])]


def _texts(environment: Mapping[str, Any]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if isinstance(value, str)}


def _placeholders(value: object, name: str, path: str = "") -> Iterator[Check]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _placeholders(inner, name, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _placeholders(inner, name, f"{path}[{number}]")
    elif isinstance(value, str) and (found := PLACEHOLDER.findall(value)):
        is_secret = path.rpartition(".")[2] in SECRETS  # of which a part may look like one
        yield Check(name, "wrong", f"{path} still has {'<…>' if is_secret else ', '.join(found)}", _what_to_put(path))


def _what_to_put(path: str) -> str:
    name = path.rpartition(".")[2]
    to_put = WHAT_TO_PUT.get(path.partition("[")[0]) or WHAT_TO_PUT.get(name)
    return to_put or f"Put yours there{f': {MEANINGS[name]}' if name in MEANINGS else ''}."


@cache
def known_keys() -> Mapping[str, frozenset[str]]:
    """Answer the keys that Zappa reads, by the place where they stand; the stage itself is the place "stage"."""
    cli, core, utilities = (_source_of_zappa(name) for name in ("cli.py", "core.py", "utilities.py"))
    (custom,) = re.findall(r"^CUSTOM_SETTINGS = \[(.*?)\]", cli, re.DOTALL | re.MULTILINE)
    known = {
        "stage": (
            *re.findall(r'(?:stage_config|zappa_settings\[stage\])(?:\.get\(|\[)\s*"(\w+)"', cli),
            *re.findall(r'"(\w+)" in (?:self\.stage_config|settings):', cli),
            *re.findall(r"\w+", custom),
        ),
        "authorizer": re.findall(r'\bauthorizer\.get\("(\w+)"', cli + core),
        "callbacks": re.findall(r'\.callback\("(\w+)"\)', cli),
        "event": re.findall(r'\bevent(?:\.get\(|\[)"(\w+)"', core),
        "event_source": re.findall(r'\b_?config\.get\("([a-z_]+)"', utilities),
        "vpc_config": ("Ipv6AllowedForDualStack", "SecurityGroupIds", "SubnetIds"),  # which boto3 reads
    }
    return {place: frozenset(keys) for place, keys in known.items()}


def _source_of_zappa(name: str) -> str:
    zappa = importlib.util.find_spec("zappa")
    assert zappa is not None
    assert zappa.origin is not None
    return Path(zappa.origin).with_name(name).read_text()


def _misspelt(settings: Stage) -> Iterator[Check]:
    yield from _unknown("", settings, "stage")
    for place in ("authorizer", "callbacks", "vpc_config"):
        yield from _unknown(f"{place}.", _part(settings, place), place)
    for number, event in enumerate(_events_of(settings)):
        yield from _unknown(f"events[{number}].", event, "event")
        yield from _unknown(f"events[{number}].event_source.", _part(event, "event_source"), "event_source")


def _unknown(path: str, keys: Iterable[str], place: str) -> Iterator[Check]:
    known = known_keys()[place]
    for key in keys:
        if key not in known:
            to_do = did_you_mean(key, known) or "Remove it: Zappa ignores it in silence."
            yield Check("key", "wrong", f"{path}{key} is no key that Zappa knows", to_do)


def _names(place: str, environment: Mapping[str, Any]) -> Iterator[Check]:
    for name, value in environment.items():
        if not isinstance(value, str):
            found = f"{place}: {name} is no text, and Zappa drops it"
            yield Check("name", "wrong", found, "Write its value in double quotes.")
        elif wrong := _unreadable(name, value):
            yield Check("name", "wrong", f"{place}: {wrong}", "Mend it: the service would not start.")
        if name in NOT_TO_SET:
            yield Check("name", "wrong", f"{place}: {name} is set by itself", "Remove it.")
        elif name == AT_INIT and place != "aws_environment_variables":
            yield Check("name", "wrong", f"{place}: {name} comes too late", "Move it to aws_environment_variables.")
        elif name not in (*SETTING_NAMES, AT_INIT) and not name.startswith(READ_BY_OTHERS):
            close = did_you_mean(name, SETTING_NAMES)
            to_do = close or "Remove it, or see the README for the names."
            yield Check("name", "wrong" if close else "advice", f"{place}: {name} is no setting of QuoteAPI", to_do)


def _unreadable(name: str, value: str) -> str:
    """Say what is wrong with the value of a setting of ours; nothing where it can be read, or is none of ours."""
    read = READERS.get(name)
    if read is None or not value.strip() or PLACEHOLDER.search(value):
        return ""
    try:
        read(value.strip())
    except ValueError as error:
        return f"{name} must be {error}"
    return ""


def _committed_secrets(place: str, environment: Mapping[str, Any]) -> Iterator[Check]:
    for name, value in environment.items():
        if name in SECRETS and value and not str(value).startswith("sqlite:"):
            found = f"{place}: {name} is a secret, and everybody who has the project reads it here"
            yield Check(
                "secret", "wrong", found, "Move it to the remote environment; if it was committed, get a new one."
            )


def _values(settings: Stage) -> Iterator[Check]:
    running = f"python{sys.version_info.major}.{sys.version_info.minor}"
    runtime = settings.get("runtime", running)
    if settings.get("debug", True):
        yield Check(
            "value", "wrong", "debug is on, as where it is not set: strangers see tracebacks", 'Set "debug": false.'
        )
    if settings.get("log_level", "DEBUG") not in QUIET:
        found = "log_level lets whole requests into the log, with phone numbers (not set, it is DEBUG)"
        yield Check("value", "wrong", found, 'Set "log_level": "WARNING".')
    if runtime != running:
        anew = f", or have {runtime} here: make clean, then PYTHON={runtime} make run" * bool(KNOWN.fullmatch(runtime))
        to_do = f'Set "runtime": "{running}"{anew}.'
        yield Check("value", "wrong", f"runtime is {runtime}, and this is {running}", to_do)
    yield from _kinds(settings)
    if settings.get("apigateway_version", "v1") != "v1":
        found = "apigateway_version is not v1: with any other, Zappa drops the authorizer, and the API is open"
        yield Check("value", "wrong", found, "Remove it.")
    if settings.get("architecture", "x86_64") != "x86_64":
        found = "architecture is not x86_64: the PostgreSQL driver has no library that such a Lambda can load"
        yield Check("value", "wrong", found, "Remove it.")
    if settings.get("cors"):
        found = "cors answers for all origins, beside what the service itself answers"
        yield Check("value", "wrong", found, "Remove it, and set CORS_ORIGINS in environment_variables.")
    if settings.get("cache_cluster_enabled"):
        found = "cache_cluster_enabled: the cache gives the answer to one query to all others"
        yield Check("value", "wrong", found, "Remove it.")
    if not settings.get("exception_handler"):
        to_do = 'Set "exception_handler": "quoteapi.aws.error_reports.unhandled_exceptions".'
        yield Check("value", "advice", "no exception_handler: nobody is told of failures", to_do)


KINDS = {
    **dict.fromkeys(("memory_size", "timeout_seconds"), (int, "a number, without quotes")),
    **dict.fromkeys(
        ("api_key_required", "debug", "iam_authorization", "keep_warm", "xray_tracing"), (bool, "true or false")
    ),
}
FORMS = {
    "aws_region": (AWS_REGION, "a region, for example eu-central-1"),
    "certificate_arn": (
        r"arn:aws[a-z-]*:acm:[a-z0-9-]+:\d{12}:certificate/\S+",
        "an ARN, with the account's 12 digits",
    ),
    "dead_letter_arn": (r"arn:aws[a-z-]*:(sqs|sns):[a-z0-9-]+:\d{12}:\S+", "an ARN, with the account's 12 digits"),
    "s3_bucket": (r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", "small letters, digits, - and ."),
}


def _kinds(settings: Stage) -> Iterator[Check]:
    for key, (kind, written) in KINDS.items():
        if key in settings and type(settings[key]) is not kind:
            yield Check("value", "wrong", f"{key} is {json.dumps(settings[key])}", f"Write {written}.")
    for key, (form, written) in FORMS.items():
        value = str(settings.get(key, ""))
        if value and not PLACEHOLDER.search(value) and not re.fullmatch(form, value):
            yield Check("value", "wrong", f"{key} is {value}", f"Write {written}.")


def _domain(settings: Stage) -> Iterator[Check]:
    domain, certificate = settings.get("domain"), str(settings.get("certificate_arn", ""))
    if domain and not any(settings.get(key) for key in ("certificate_arn", "certificate", "lets_encrypt_key")):
        yield Check("domain", "wrong", "domain has no certificate", 'Set "certificate_arn": see docs/deploy.md.')
    if domain and not PLACEHOLDER.search(domain) and not re.fullmatch(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+", domain):
        yield Check("domain", "wrong", f"domain is {domain}", WHAT_TO_PUT["domain"])
    if certificate and ":acm:us-east-1:" not in certificate and not settings.get("endpoint_configuration"):
        yield Check(
            "domain",
            "wrong",
            "certificate_arn is of another region",
            "Ask for one in us-east-1: API Gateway takes it from there only.",
        )


def _authorization(settings: Stage) -> Iterator[Check]:
    authorizer = _part(settings, "authorizer")
    if "type" in authorizer:
        yield Check("value", "wrong", "authorizer.type breaks the deploy", "Remove it.")
    if authorizer and not (authorizer.get("function") or authorizer.get("arn")):
        to_do = 'Set "function": "quoteapi.aws.authorizer.authorize".'
        yield Check("value", "wrong", "authorizer names no function", to_do)
    if authorizer and settings.get("iam_authorization"):
        yield Check("value", "wrong", "authorizer is ignored where iam_authorization is on", "Remove one of them.")
    if settings.get("api_key") and not settings.get("api_key_required"):
        yield Check("value", "advice", "api_key: nobody is asked for it", 'Set "api_key_required": true.')


def _functions(settings: Stage) -> Iterator[Check]:
    named = {key: settings[key] for key in ("app_function", "exception_handler") if settings.get(key)}
    if function := _part(settings, "authorizer").get("function"):
        named["authorizer.function"] = function
    named |= {f"callbacks.{key}": value for key, value in _part(settings, "callbacks").items()}
    for number, event in enumerate(_events_of(settings)):
        named[f"events[{number}].function"] = event.get("function")
    for key, value in named.items():
        if wrong := _not_importable(value):
            yield Check("function", "wrong", f"{key}: {wrong}", "Name it as in package.module.function.")


def _not_importable(function: object) -> str:
    """Say why a function cannot be imported; nothing where it can."""
    if not isinstance(function, str) or "." not in function:
        return "it names no function"
    name, _, attribute = function.rpartition(".")
    try:
        module = importlib.import_module(name)
    except Exception as error:  # noqa: BLE001 whatever an import may raise
        return f"{name} cannot be imported ({type(error).__name__}: {error})"
    makes = getattr(module, "__getattr__", None)  # as app.py makes `api`, and not before it has to
    made = makes.__code__.co_consts if makes is not None else ()
    return "" if attribute in vars(module) or attribute in made else f"{name} has no {attribute}"


EXPRESSION = re.compile(r"cron\(\S+( \S+){5}\)|rate\((1 (minute|hour|day)|([2-9]|[1-9]\d+) (minute|hour|day)s)\)")


def _events(events: list[dict[str, Any]]) -> Iterator[Check]:
    taken: dict[str, int] = {}
    for number, event in enumerate(events):
        expressions = [event["expression"]] if event.get("expression") else event.get("expressions") or []
        if not expressions and not event.get("event_source"):
            yield Check("event", "wrong", f"events[{number}] never happens", 'Give it an "expression".')
        for index, expression in enumerate(expressions):
            if not EXPRESSION.fullmatch(str(expression)):
                found = f"events[{number}]: EventBridge does not understand {expression}"
                yield Check(
                    "event", "wrong", found, "Write it as in rate(1 hour), rate(5 minutes) or cron(0 2 * * ? *)."
                )
            name = _rule_name(event, index)
            if taken.setdefault(name, number) != number:
                found = f"events[{number}] has the name of events[{taken[name]}]: both would be one, called twice"
                yield Check("event", "wrong", found, 'Give it a "name" of its own.')
        if expressions:
            yield from _wrong_name(f"events[{number}]", event, _rule_name(event, len(expressions) - 1))


def _rule_name(event: Mapping[str, Any], index: int) -> str:
    """Name the rule of an event's n-th expression as Zappa does, without the stage in front."""
    function = str(event.get("function", ""))
    name = str(event.get("name", function))
    return f"{index}-" * bool(index) + (name if name == function else f"{name}-{function}")


def _wrong_name(path: str, event: Mapping[str, Any], rule: str) -> Iterator[Check]:
    if len(rule) > MOST_NAME:
        found = f"{path}: its name and function are {len(rule)} characters together, and {MOST_NAME} the most"
        yield Check("event", "wrong", found, "Shorten its name.")
    if not re.fullmatch(r"[._A-Za-z0-9]*", str(event.get("function", ""))):
        yield Check("event", "wrong", f"{path}.function has a character that is none of A-Z a-z 0-9 . _", "Rename it.")
    if not re.fullmatch(r"[-._A-Za-z0-9]+", rule):
        yield Check("event", "wrong", f"{path}.name has a character that is none of A-Z a-z 0-9 . _ -", "Rename it.")


def _remote(settings: Stage, env_file: Path | None) -> dict[str, Any]:
    """Read the remote environment. Raises `Unreadable`."""
    url = str(settings.get("remote_env", ""))
    if env_file is not None:
        content, where = env_file.read_bytes(), env_file.name
    elif url:
        content, where = _from_s3(settings, url), url
    else:
        return {}
    try:
        remote = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise CheckFailed(Check("remote env", "wrong", f"{where} is no JSON: {error}", "Mend it.")) from error
    if not isinstance(remote, dict):
        to_do = "See docs/remote-env.json for how it is written."
        raise CheckFailed(Check("remote env", "wrong", f"{where} is not one JSON object", to_do))
    return remote


def _from_s3(settings: Stage, url: str) -> bytes:
    bucket, key = urlsplit(url).netloc, urlsplit(url).path.strip("/")
    if PLACEHOLDER.search(url):
        to_do = "Fill that in or, before it is uploaded: --env-file FILE"
        raise CheckFailed(Check("remote env", "advice", "not looked at, as nobody knows where it is", to_do))
    if not (bucket and key):
        found = f"remote_env is {url}, which Zappa ignores in silence"
        raise CheckFailed(Check("remote env", "wrong", found, "Write it as in s3://BUCKET/quoteapi-prod.json."))
    import boto3  # noqa: PLC0415 most of what is looked at needs no AWS
    from botocore.config import Config  # noqa: PLC0415
    from botocore.exceptions import (  # noqa: PLC0415
        BotoCoreError,
        ClientError,
        HTTPClientError,
    )
    from botocore.exceptions import ConnectionError as NoConnection  # noqa: PLC0415

    try:
        session = boto3.Session(profile_name=settings.get("profile_name"), region_name=settings.get("aws_region"))
        config = Config(connect_timeout=3, read_timeout=5, retries={"total_max_attempts": 2, "mode": "standard"})
        return session.client("s3", config=config).get_object(Bucket=bucket, Key=key)["Body"].read()
    except ClientError as error:
        raise CheckFailed(_refused(url, error.response.get("Error", {}).get("Code", ""))) from None
    except (NoConnection, HTTPClientError):
        to_do = "Is the network up, and aws_region right? Or look at a file on this machine: --env-file FILE"
        raise CheckFailed(Check("remote env", "wrong", "not looked at: S3 cannot be reached", to_do)) from None
    except BotoCoreError as error:
        to_do = "Run `aws configure`, or `aws sso login`. Or look at a file on this machine: --env-file FILE"
        found = f"not looked at: no AWS credentials can be used ({type(error).__name__})"
        raise CheckFailed(Check("remote env", "wrong", found, to_do)) from None


def _refused(url: str, code: str) -> Check:
    if code in {"NoSuchKey", "NoSuchBucket", "404"}:
        found = f"there is no {url}: the service would start without it, and say nothing"
        to_do = f"aws s3 cp FILE {url} uploads one; a template is docs/remote-env.json."
        return Check("remote env", "wrong", found, to_do)
    if code in {"AccessDenied", "403"}:
        to_do = "Allow s3:GetObject and s3:ListBucket; without the second, S3 says the same of a file that is missing."
        return Check("remote env", "wrong", f"S3 lets you not read {url}", to_do)
    return Check(
        "remote env", "advice", f"not looked at: S3 answered {code} for {url}", "Try again, or: --env-file FILE"
    )


def _remote_problems(remote: Mapping[str, Any]) -> Iterator[Check]:
    for check in _placeholders(_texts(remote), "remote env"):
        yield check._replace(to_do=f'"" leaves it out. {check.to_do}')
    yield from (check._replace(name="remote env") for check in _names("remote env", remote))


def _together(stage: Stage, environment: Mapping[str, str]) -> Iterator[Check]:
    """Look at the settings as the service will find them, where it will be."""
    try:
        settings = read_settings({**environment, "AWS_LAMBDA_FUNCTION_NAME": "quoteapi"})
    except SettingsError as error:
        yield Check("settings", "wrong", str(error), "Mend it: the service would not start.")
        return
    yield Check("settings", "ok", "the service starts with them")
    if settings.has_shared_state:
        yield Check("database", "ok", "on a server")
    else:
        found = "quotes only: every container of Lambda has its own database, so nobody can subscribe"
        yield Check("database", "advice", found, "For SMS, set DATABASE_URL to PostgreSQL in the remote environment.")
    yield from unknown_countries(settings)
    yield from _upstream(settings)
    yield from _address(stage, settings)
    if settings.async_failure and stage.get("domain"):
        found = "ASYNC_FAILURE is on: whoever knows the address has tasks of yours fail"
        yield Check("failures", "advice", found, "Remove it when you have seen where failures go.")
    yield from _tokens(stage, settings)
    if settings.xray_tracing and not stage.get("xray_tracing"):
        found = "XRAY_TRACING without xray_tracing: the package has nothing to trace with"
        yield Check("tracing", "wrong", found, 'Set "xray_tracing": true in zappa_settings.json.')
    if stage.get("xray_tracing") and not settings.xray_tracing:
        found = "xray_tracing without XRAY_TRACING: traces show no calls out"
        yield Check("tracing", "advice", found, "Set XRAY_TRACING=true in environment_variables.")


def unknown_countries(settings: Settings) -> Iterator[Check]:
    """Look for countries that are none."""
    from quoteapi.subscriptions.phone import all_countries  # noqa: PLC0415

    if settings.sms_allowed_regions and (unknown := settings.sms_allowed_regions - {ANY_REGION} - all_countries()):
        found = f"SMS_ALLOWED_REGIONS has {', '.join(sorted(unknown))}, which is no country"
        yield Check("countries", "wrong", found, "Countries are written as in IN or GB.")


def _upstream(settings: Settings) -> Iterator[Check]:
    if settings.upstream_endpoint and not settings.upstream_key:
        yield Check("upstream", "advice", "Mashape_API_Endpoint has no key", "If it needs one, set X_Mashape_Key.")
    if settings.upstream_key and not settings.upstream_endpoint:
        yield Check(
            "upstream", "advice", "X_Mashape_Key is for nothing", "Set Mashape_API_Endpoint, or remove the key."
        )


def _address(stage: Stage, settings: Settings) -> Iterator[Check]:
    if not stage.get("domain"):
        if settings.has_shared_state and settings.public_url is None:
            to_do = "Set PUBLIC_URL to the address that zappa deploy prints, stage and all."
            yield Check("address", "advice", "SMS do not say where to leave", to_do)
        return
    address = "/".join(filter(None, (f"https://{stage['domain']}", str(stage.get("base_path") or "").strip("/"))))
    if settings.public_url is None:
        yield Check("address", "advice", "SMS do not say where to leave", f"Set PUBLIC_URL to {address}.")
    elif settings.public_url != address:
        found = f"PUBLIC_URL is {settings.public_url}, and the domain {address}"
        yield Check("address", "wrong", found, f"Set PUBLIC_URL to {address}.")


def _tokens(stage: Stage, settings: Settings) -> Iterator[Check]:
    can_check = settings.jwt_issuer is not None
    if stage.get("authorizer") and not can_check:
        to_do = "Set JWT_ISSUER, JWT_AUDIENCE, and JWT_SECRET or JWT_PUBLIC_KEY in the remote environment."
        yield Check("tokens", "wrong", "the authorizer has nothing to check tokens by: nobody gets in", to_do)
