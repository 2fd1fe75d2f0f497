"""Check that the README and the docs agree with the code."""

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
EXAMPLE_FILES = {"quoteapi/storage/migrations/0007_what_it_does.py"}
FORMER_MODULES = {f"quoteapi/{name}.py" for name in ("authorizer", "notify", "package", "schedulers", "tasks")}


def commands(page: Path) -> list[str]:
    """Return the lines after a prompt in a page's console blocks."""
    blocks = re.findall(r"```console\n(.*?)```", page.read_text(), re.DOTALL)
    return [line.strip()[2:] for block in blocks for line in block.splitlines() if line.strip().startswith("$ ")]


def test_every_setting_is_in_the_readmes_table_and_no_other() -> None:
    section = README.split("## Settings")[1].split("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == list(SETTING_NAMES)


def test_the_readme_has_the_defaults() -> None:
    defaults = model.Settings()
    assert f"| `HOST` | `{defaults.host}` |" in README
    assert f"| `PORT` | `{defaults.port}` |" in README
    assert f"| `LOG_LEVEL` | `{defaults.log_level}` |" in README


def test_the_readme_has_the_limits() -> None:
    defaults = model.Settings()
    assert defaults.read_limit is not None
    names = {60: "1m", 600: "10m", 3_600: "1h", 86_400: "1d"}

    def shown(*windows: parsers.RateLimit) -> str:
        return ",".join(f"{window.limit}/{names[window.seconds]}" for window in windows)

    for name, number in (
        ("SMS_DAILY_CAP", str(defaults.sms_daily_cap)),
        ("SMS_MAX_SUBSCRIBERS", f"{defaults.max_subscribers}`, or `SMS_DAILY_CAP` if that is larger"),
        ("CODES_PER_NUMBER", shown(*defaults.codes_per_number)),
        ("CODES_PER_ADDRESS", shown(*defaults.codes_per_client_ip)),
        ("WRONG_TRIES_PER_NUMBER", shown(defaults.wrong_tries_per_number)),
        ("WRONG_TRIES_PER_ADDRESS", shown(*defaults.wrong_tries_per_client_ip)),
        ("READ_LIMIT", shown(defaults.read_limit)),
        ("SNS_TOPIC", defaults.sns_topic),
        ("SNS_REGION", defaults.sns_region),
    ):
        assert re.search(rf"\| `{name}` \| `{re.escape(number)}`? ", README), name


@pytest.mark.parametrize("page", [*PAGES, ROOT / "benchmarks/README.md"], ids=lambda page: page.parent.name)
def test_no_table_has_a_placeholder(page: Path) -> None:
    assert re.findall(r"^\|.*\| [A-Z]{3,} \|.*$", page.read_text(), re.MULTILINE) == []


def test_the_pages_have_the_right_number_of_quotes() -> None:
    quotes = len((CATALOGUE / "quotes.csv").read_text().splitlines()) - 1
    authors = len((CATALOGUE / "authors.csv").read_text().splitlines()) - 1
    for page in PAGES:
        for number in re.findall(r"\b(\d+) quotes\b", page.read_text()):
            assert int(number) == quotes, page
        for number in re.findall(r"\b(\d+) authors\b", page.read_text()):
            assert int(number) == authors, page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_works(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_named_file_of_the_code_exists(page: Path) -> None:
    named = re.findall(r"`((?:quoteapi|tests|benchmarks)/[\w/]+(?:\.py)?)`", page.read_text())
    assert [path for path in named if not (ROOT / path).exists() and path not in EXAMPLE_FILES] == []


def test_the_package_map_names_every_module() -> None:
    page = (ROOT / "docs/development.md").read_text()
    tree = page.partition("\nquoteapi/\n")[2].partition("```")[0]
    folders, named = ["quoteapi"], set[str]()
    for line in tree.splitlines():
        indent, rest = re.fullmatch(r"([│├└─ ]*)(.*)", line).groups()  # type: ignore[union-attr]
        folders[len(indent) // 4 :] = []
        names = re.match(r"(?:[\w]+(?:/|\.py)(?: |$))*", rest)[0].split()  # type: ignore[index]
        named |= {"/".join([*folders, name]) for name in names if name.endswith(".py")}
        folders += [name.rstrip("/") for name in names if name.endswith("/")]
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "quoteapi").rglob("[!_]*.py")} - FORMER_MODULES
    assert sorted(named ^ {path for path in modules if "/migrations/" not in path}) == []


def test_the_documented_make_targets_are_those_of_the_makefile() -> None:
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


def test_the_quoteapi_commands_of_the_readme_work(tmp_path: Path) -> None:
    documented = re.findall(
        r"\.venv/bin/quoteapi (.*?)(?:\)\"|$)", "\n".join(commands(ROOT / "README.md")), re.MULTILINE
    )
    commands_to_run = [shlex.split(words) for words in documented]
    assert len(commands_to_run) >= 7
    environment = {"PYTHONPATH": str(ROOT), "DATABASE_URL": f"sqlite:///{tmp_path}/working.db", "PATH": "/usr/bin:/bin"}
    for arguments in [["db", "migrate"], *commands_to_run]:
        ran = subprocess.run(
            [sys.executable, "-m", "quoteapi", *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            check=False,
        )
        assert ran.returncode == 0, (arguments, ran.stderr)


def test_the_categories_and_authors_of_the_readme_are_those_of_the_catalogue() -> None:
    rows = read_catalogue()
    listed = re.search(r"\*\*Categories\*\* are ([\w, \n]+);", README)
    assert listed is not None
    assert set(re.findall(r"\w+", listed[1])) - {"and"} == {row["category"] for row in rows}
    for name in re.findall(r"`\?author=([^`]+)`", README):
        if name:
            assert comparison_key(name.replace("+", " ")) in {row["author_key"] for row in rows}, name


def test_the_search_of_the_readme_has_the_shown_response(tmp_path: Path) -> None:
    url, response = re.search(r"curl 'http://127\.0\.0\.1:8000(/quotes[^']+)'\n(.+)", README).groups()  # type: ignore[union-attr]
    client = TestClient(create_app(read_settings({"DATABASE_URL": f"sqlite:///{tmp_path}/working.db"})))
    assert client.simulate_get(url).text == f"{response}\n"


def test_every_command_of_the_pages_is_known_to_be_tested() -> None:
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
        # Run by test_deploy.py or the rehearsal.
        r"((export )?[A-Z_]+=\$\()?aws .*",
        r"(zappa|quoteapi) .*",
        # Run by test_cli.py.
        r"(export SOURCE|read -rs TARGET)_DATABASE_URL.*",
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
