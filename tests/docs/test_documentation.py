import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from falcon.testing import TestClient

from quoteapi.app import create_app
from quoteapi.cli.root import main
from quoteapi.quotes.bundled_catalogue import CATALOGUE, read_catalogue
from quoteapi.settings import ROOT, SETTING_NAMES, model, parsers, read_settings
from quoteapi.storage.full_text_search import comparison_key

PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "catalogue/README.md", *sorted((ROOT / "docs").glob("*.md"))]
README = (ROOT / "README.md").read_text()


def commands(page: Path) -> list[str]:
    """Answer the lines after a prompt in a page's console blocks."""
    blocks = re.findall(r"```console\n(.*?)```", page.read_text(), re.DOTALL)
    return [line.strip()[2:] for block in blocks for line in block.splitlines() if line.strip().startswith("$ ")]


def test_every_setting_is_in_the_readmes_table_and_no_other() -> None:
    section = README.split("## Settings")[1].split("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == list(SETTING_NAMES)


def test_the_readme_tells_the_defaults() -> None:
    defaults = model.Settings()
    assert f"| `HOST` | `{defaults.host}` |" in README
    assert f"| `PORT` | `{defaults.port}` |" in README
    assert f"| `LOG_LEVEL` | `{defaults.log_level}` |" in README


def test_the_readme_tells_the_limits() -> None:
    defaults = model.Settings()
    assert defaults.read_limit is not None
    letters = {60: "1m", 600: "10m", 3_600: "1h", 86_400: "1d"}

    def written(*windows: parsers.RateLimit) -> str:
        return ",".join(f"{window.limit}/{letters[window.seconds]}" for window in windows)

    for name, number in (
        ("SMS_DAILY_CAP", str(defaults.sms_daily_cap)),
        ("CODES_PER_NUMBER", written(*defaults.codes_per_number)),
        ("CODES_PER_ADDRESS", written(*defaults.codes_per_client_ip)),
        ("WRONG_TRIES_PER_NUMBER", written(defaults.wrong_tries_per_number)),
        ("WRONG_TRIES_PER_ADDRESS", written(*defaults.wrong_tries_per_client_ip)),
        ("READ_LIMIT", written(defaults.read_limit)),
        ("SNS_TOPIC", defaults.sns_topic),
        ("SNS_REGION", defaults.sns_region),
    ):
        assert f"| `{name}` | `{number}` |" in README


@pytest.mark.parametrize("page", [*PAGES, ROOT / "benchmarks/README.md"], ids=lambda page: page.parent.name)
def test_no_table_has_a_number_that_is_still_to_come(page: Path) -> None:
    assert re.findall(r"^\|.*\| [A-Z]{3,} \|.*$", page.read_text(), re.MULTILINE) == []


def test_the_pages_count_the_quotes_right() -> None:
    quotes = len((CATALOGUE / "quotes.csv").read_text().splitlines()) - 1
    authors = len((CATALOGUE / "authors.csv").read_text().splitlines()) - 1
    for page in PAGES:
        for number in re.findall(r"\b(\d+) quotes\b", page.read_text()):
            assert int(number) == quotes, page
        for number in re.findall(r"\b(\d+) authors\b", page.read_text()):
            assert int(number) == authors, page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_within_the_project_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_every_make_target_is_documented_and_every_documented_one_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):.* ## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    documented = {target for page in PAGES for target in re.findall(r"make ([a-z]+)\b`", page.read_text())}
    assert documented | {"help"} == targets


def test_every_command_of_the_package_is_in_the_readme() -> None:
    section = README.split("## The command")[1].split("\n## ")[0]
    for name in set(main.commands) - {"quotes", "serve"}:
        assert f"quoteapi {name}" in section
    for group in main.commands.values():
        for name in getattr(group, "commands", ()):
            assert f"quoteapi {group.name} {name}" in section


def test_the_readmes_commands_of_the_package_run(tmp_path: Path) -> None:
    written = re.findall(r"\.venv/bin/quoteapi (.*?)(?:\)\"|$)", "\n".join(commands(ROOT / "README.md")), re.MULTILINE)
    run = [shlex.split(words) for words in written]
    assert len(run) >= 7
    environment = {"PYTHONPATH": str(ROOT), "DATABASE_URL": f"sqlite:///{tmp_path}/working.db", "PATH": "/usr/bin:/bin"}
    for words in run:
        ran = subprocess.run(
            [sys.executable, "-m", "quoteapi", *words], cwd=tmp_path, env=environment, capture_output=True, check=False
        )
        assert ran.returncode == 0, (words, ran.stderr)


def test_the_readmes_categories_and_names_are_those_of_the_catalogue() -> None:
    rows = read_catalogue()
    listed = re.search(r"\*\*Categories\*\* are ([\w, \n]+);", README)
    assert listed is not None
    assert set(re.findall(r"\w+", listed[1])) - {"and"} == {row["category"] for row in rows}
    for name in re.findall(r"`\?author=([^`]+)`", README):
        if name:
            assert comparison_key(name.replace("+", " ")) in {row["author_key"] for row in rows}, name


def test_the_readmes_search_is_answered_as_it_says(tmp_path: Path) -> None:
    asked, answer = re.search(r"curl 'http://127\.0\.0\.1:8000(/quotes[^']+)'\n(.+)", README).groups()  # type: ignore[union-attr]
    client = TestClient(create_app(read_settings({"DATABASE_URL": f"sqlite:///{tmp_path}/working.db"})))
    assert client.simulate_get(asked).text == f"{answer}\n"


def test_every_other_command_of_the_pages_is_one_that_is_tested_or_run_by_hand() -> None:
    known = (
        r"make (run|test|lint|help)",
        r"curl '?http://127\.0\.0\.1:8000/(daily|random|quotes)[^']*'?",
        r"curl (-d \w+=\w+ )+http://127\.0\.0\.1:8000/(un)?subscribe",
        r"(eval \"\$\()?\.venv/bin/(quoteapi .*|gunicorn --workers 2 quoteapi\.app:api)",
        # Run by test_clients.py; newman by test_postman.py.
        r"(next=\$\()?curl -sS --(retry 3|fail-with-body) .+",
        r"http (--check-status )?http://127\.0\.0\.1:8000/.+",
        r"tests/npm/node_modules/\.bin/newman run postman/\S+ -e postman/\S+",
        r"\. \.venv/bin/activate",
        r"make (package|rehearse) STAGE=dev",
        # Tested by test_deploy_page.py, or run by the rehearsal.
        r"((export )?[A-Z_]+=\$\()?aws .*",
        r"(zappa|quoteapi) .*",
        r"export QUOTEAPI_TOKEN=\$\(python -c \"",
        r"curl (-X POST )?https://<(api-id>\.execute-api\.us-east-1\.amazonaws\.com/\w+|quotes\.example\.org>)/[a-z-]+",
        r"curl .*https://.*execute-api\.us-east-1\.amazonaws\.com/\w+/daily\"?",
        r"curl .*--aws-sigv4 .+ \\",
        r"eval \"\$\(aws configure export-credentials --format env\)\"",
        r"(cp docs/remote-env\.json|chmod 600) quoteapi-dev\.json",
        r"echo \"\$.*\"",
        r"eval \"\$\(register-python-argcomplete zappa\)\"",
        r"Mashape_API_Endpoint='\S+' X_Mashape_Key='\S+' make run",
    )
    for page in PAGES:
        for line in commands(page):
            assert any(re.fullmatch(form, line) for form in known), line
