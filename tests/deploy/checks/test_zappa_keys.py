import importlib.metadata
import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

from quoteapi.deploy.checks.zappa_keys import ZAPPA_KEYS
from tests.deploy.conftest import ProblemsOf


def test_the_keys_are_those_that_the_installed_zappa_reads() -> None:
    cli, core, utilities = (source_of_zappa(name) for name in ("cli.py", "core.py", "utilities.py"))
    (custom,) = re.findall(r"^CUSTOM_SETTINGS = \[(.*?)\]", cli, re.DOTALL | re.MULTILINE)
    read = {
        "stage": (
            *re.findall(r'(?:stage_config|zappa_settings\[stage\])(?:\.get\(|\[)\s*"(\w+)"', cli),
            *re.findall(r'"(\w+)" in (?:self\.stage_config|settings):', cli),
            *re.findall(r"\w+", custom),
        ),
        "authorizer": re.findall(r'\bauthorizer\.get\("(\w+)"', cli + core),
        "callbacks": re.findall(r'\.callback\("(\w+)"\)', cli),
        "event": re.findall(r'\bevent(?:\.get\(|\[)"(\w+)"', core),
        "event_source": re.findall(r'\b_?config\.get\("([a-z_]+)"', utilities),
        "vpc_config": ZAPPA_KEYS["vpc_config"],  # boto3 reads these
    }
    assert {place: frozenset(keys) for place, keys in read.items()} == ZAPPA_KEYS


def source_of_zappa(name: str) -> str:
    zappa = importlib.util.find_spec("zappa")
    assert zappa is not None
    assert zappa.origin is not None
    return Path(zappa.origin).with_name(name).read_text()


def test_every_key_that_zappa_documents_is_known() -> None:
    manual = importlib.metadata.metadata("zappa").get_payload()  # type: ignore[attr-defined]
    advanced = manual.split("## Advanced Settings")[1].split("```\n")[0]
    documented = re.findall(r'^ {8}"(\w+)" ?:', advanced, re.MULTILINE)
    assert len(documented) > 80
    assert set(documented) <= ZAPPA_KEYS["stage"]
    of_authorizer = re.split(r'^ {8}"authorizer": \{', advanced, flags=re.MULTILINE)[1].split("}")[0]
    assert set(re.findall(r'^ +"(\w+)":', of_authorizer, re.MULTILINE)) <= ZAPPA_KEYS["authorizer"]


def test_the_keys_of_events_event_sources_and_callbacks_are_known() -> None:
    assert ZAPPA_KEYS["event"] >= {"name", "function", "expression", "expressions", "event_source", "kwargs"}
    assert ZAPPA_KEYS["event_source"] >= {"arn", "events", "batch_size", "enabled", "filters", "prefix"}
    assert "debug" not in ZAPPA_KEYS["event_source"]
    assert ZAPPA_KEYS["callbacks"] == {"settings", "zip", "post"}


@pytest.mark.parametrize(
    ("changes", "found", "to_do"),
    [
        ({"log_levle": "ERROR"}, "log_levle", "Did you mean log_level?"),
        ({"Timeout_Seconds": 9}, "Timeout_Seconds", "Did you mean timeout_seconds?"),
        ({"frobnicate": 1}, "frobnicate", "Remove it: Zappa ignores it."),
        ({"vpc_config": {"SubnetIDs": []}}, "vpc_config.SubnetIDs", "Did you mean SubnetIds?"),
        ({"callbacks": {"zipped": "quoteapi.deploy.zappa_callbacks.finish"}}, "callbacks.zipped", "Did you mean zip?"),
        (
            {"events": [{"functoin": "quoteapi.aws.schedulers.x", "expression": "rate(1 day)"}]},
            "events[0].functoin",
            "Did you mean function?",
        ),
        (
            {"events": [{"function": "quoteapi.aws.error_reports.unhandled_exceptions", "event_source": {"arm": "x"}}]},
            "events[0].event_source.arm",
            "Did you mean arn?",
        ),
    ],
)
def test_a_misspelled_key_is_reported_with_a_suggestion(
    problems_of: ProblemsOf, changes: dict[str, Any], found: str, to_do: str
) -> None:
    check = next(check for check in problems_of(**changes) if check.name == "key")
    assert check == ("key", "wrong", f"{found} is not a key that Zappa knows", to_do)
