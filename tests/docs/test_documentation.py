"""Check that the README and the docs agree with the code."""

import re
import shlex
import subprocess
import sys
from dataclasses import fields
from datetime import date
from pathlib import Path

import pytest

from quoteapi.cli.root import main
from quoteapi.quotes.bundled_catalogue import CATALOGUE, read_catalogue
from quoteapi.settings import ROOT, SETTING_NAMES, model, parsers
from quoteapi.settings.loader import find_unknown_names, load_settings, read_dotenv
from quoteapi.settings.quiet_hours import COUNTRY_QUIET_HOURS
from quoteapi.storage.full_text_search import comparison_key
from quoteapi.subscriptions.delivery_hours import DeliveryHours
from quoteapi.time_zones import place_name, zone_info

DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [*sorted(ROOT.glob("*.md")), ROOT / "catalogue/README.md", *DOCS]
API = (ROOT / "docs/api.md").read_text()
SETTINGS = (ROOT / "docs/settings.md").read_text()
MAX_README_LINES = 150
COUNTRIES = {
    "India": "IN",
    "United States": "US",
    "American Samoa": "AS",
    "Guam": "GU",
    "Northern Mariana Islands": "MP",
    "Puerto Rico": "PR",
    "US Minor Outlying Islands": "UM",
    "US Virgin Islands": "VI",
}
EXAMPLE_FILES = {"quoteapi/storage/migrations/0008_what_it_does.py"}
FORMER_MODULES = {f"quoteapi/{name}.py" for name in ("authorizer", "notify", "package", "schedulers", "tasks")}


def commands(page: Path) -> list[str]:
    """Return the lines after a prompt in a page's console blocks."""
    blocks = re.findall(r"```console\n(.*?)```", page.read_text(), re.DOTALL)
    return [line.strip()[2:] for block in blocks for line in block.splitlines() if line.strip().startswith("$ ")]


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a page."""
    without_code = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", without_code, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= MAX_README_LINES


@pytest.mark.parametrize("page", DOCS, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_page_begins_with_a_heading_and_says_for_whom_it_is(page: Path) -> None:
    heading, paragraph, *_ = page.read_text().split("\n\n")
    assert re.fullmatch(r"# .+", heading)
    assert re.match(r"This page is for \w+", paragraph), paragraph


def test_every_setting_is_in_one_table_and_no_other() -> None:
    assert sorted(re.findall(r"^\| `(\w+)` \|", SETTINGS, re.MULTILINE)) == sorted(SETTING_NAMES)


def test_the_page_of_settings_has_the_defaults() -> None:
    defaults = model.Settings()
    assert f"| `HOST` | `{defaults.host}` |" in SETTINGS
    assert f"| `PORT` | `{defaults.port}` |" in SETTINGS
    assert f"| `LOG_LEVEL` | `{defaults.log_level}` |" in SETTINGS
    for setting in fields(model.Settings):
        if isinstance(setting.default, bool):
            assert f"| `{setting.metadata['name']}` | `{str(setting.default).lower()}` |" in SETTINGS
        elif setting.default in {None, ()}:
            assert not re.search(rf"\| `{setting.metadata['name']}` \| `[^`]+` \|", SETTINGS), setting.name


def test_the_page_of_settings_has_the_hours_of_the_daily_sms() -> None:
    defaults = model.Settings()
    assert defaults.quiet_hours is not None
    start, end = defaults.quiet_hours
    assert f"| `DAILY_SMS_AT` | `{defaults.daily_sms_at:%H:%M}` |" in SETTINGS
    assert f"| `QUIET_HOURS` | `{start:%H:%M}-{end:%H:%M}` |" in SETTINGS
    assert f"| `DEFAULT_TIME_ZONE` | `{defaults.default_time_zone}` |" in SETTINGS


def test_the_example_of_a_settings_file_is_valid(tmp_path: Path) -> None:
    (block,) = re.findall(r"^```ini\n(.*?)^```", SETTINGS, re.MULTILINE | re.DOTALL)
    (tmp_path / ".env").write_text(block)
    load_settings({}, tmp_path / ".env")
    assert len(read_dotenv(tmp_path / ".env")) == len(block.splitlines())
    assert list(find_unknown_names(tmp_path / ".env")) == []


def test_the_pages_have_the_limits() -> None:
    defaults = model.Settings()
    assert defaults.read_limit is not None
    names = {60: "1m", 600: "10m", 3_600: "1h", 86_400: "1d"}

    def shown(*windows: parsers.RateLimit) -> str:
        return ",".join(f"{window.limit}/{names[window.seconds]}" for window in windows)

    assert f"{defaults.read_limit.limit} requests a minute" in API
    assert f"| {defaults.codes_per_client_ip[0].limit} an hour | `codes` |" in API
    assert f"| {defaults.wrong_tries_per_client_ip[0].limit} an hour | `tries` |" in API
    assert (
        "| {} a minute, {} in ten minutes, {} a day |".format(*(one.limit for one in defaults.codes_per_number)) in API
    )
    assert f"| {defaults.wrong_tries_per_number.limit}, then it is locked for an hour |" in API
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
        assert re.search(rf"\| `{name}` \| `{re.escape(number)}`? ", SETTINGS), name


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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_a_file_works(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_a_heading_works(page: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", page.read_text()):
        linked = page.parent / target if target else page
        assert anchor in anchors(linked), f"{target}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
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


def test_every_command_of_the_package_is_in_the_page_of_the_command() -> None:
    page = (ROOT / "docs/cli.md").read_text()
    for name in set(main.commands) - {"quotes", "serve"}:
        assert f"quoteapi {name}" in page
    for group in main.commands.values():
        for name in getattr(group, "commands", ()):
            assert f"quoteapi {group.name} {name}" in page


def test_the_quoteapi_commands_of_the_pages_work(tmp_path: Path) -> None:
    documented = [
        line.removeprefix(".venv/bin/quoteapi ")
        for page in ("README.md", "docs/api.md", "docs/settings.md", "docs/clients.md", "docs/upstream.md")
        for line in commands(ROOT / page)
        if line.startswith(".venv/bin/quoteapi ")
    ]
    assert sorted(documented) == ["doctor", "publish", "sms inbox"]
    environment = {"PYTHONPATH": str(ROOT), "DATABASE_URL": f"sqlite:///{tmp_path}/working.db", "PATH": "/usr/bin:/bin"}
    for line in ["db migrate", *documented]:
        ran = subprocess.run(
            [sys.executable, "-m", "quoteapi", *shlex.split(line)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            check=False,
        )
        assert ran.returncode == 0, (line, ran.stderr)


def test_the_command_of_the_page_of_settings_makes_a_valid_secret() -> None:
    (line,) = (line for line in commands(ROOT / "docs/settings.md") if line.startswith("python3 "))
    ran = subprocess.run([sys.executable, *shlex.split(line)[1:]], capture_output=True, text=True, check=True)
    assert parsers.parse_secret(ran.stdout.strip())


def test_the_categories_and_authors_of_the_page_are_those_of_the_catalogue() -> None:
    rows = read_catalogue()
    listed = re.search(r"\*\*categories\*\* are ([\w,\s]+)\.", API)
    assert listed is not None
    assert set(re.findall(r"\w+", listed[1])) - {"and"} == {row["category"] for row in rows}
    named = re.findall(r"`\?author=([^`]+)`", API)
    assert named
    for name in named:
        assert comparison_key(name.replace("+", " ")) in {row["author_key"] for row in rows}, name


def test_every_command_of_the_pages_is_known_to_be_tested() -> None:
    known = (
        r"make (run|test|lint|help)",
        r"git clone <url-of-this-repository> quoteapi|cd quoteapi",
        # Run by test_api.py.
        r"curl '?http://127\.0\.0\.1:8000/(daily|random|quotes)[^']*'?",
        r"curl (-d \w+=\+?\w+ )+http://127\.0\.0\.1:8000/(pause|(un)?subscribe)",
        r"python3 -c 'import secrets; print\(secrets\.token_urlsafe\(48\)\)'",
        r"(eval \"\$\()?\.venv/bin/(quoteapi .*|gunicorn --workers 2 quoteapi\.app:api)",
        # Run by test_clients.py; newman by test_postman.py.
        r"(next=\$\()?curl -sS --(retry 3|fail-with-body) .+",
        r"http (--check-status )?http://127\.0\.0\.1:8000/.+",
        r"tests/npm/node_modules/\.bin/newman run postman/\S+ -e postman/\S+",
        r"(make setup && )?\. \.venv/bin/activate",
        r"make (package|rehearse) STAGE=dev",
        # Run by test_deploy.py or the rehearsal.
        r"((export )?[A-Z_]+=\$\()?aws .*",
        r"(zappa|quoteapi) .*",
        # Run by test_cli.py.
        r"(export SOURCE|read -rs TARGET)_DATABASE_URL.*",
        r"export QUOTEAPI_TOKEN=\$\(python -c \"",
        r"curl (-X POST |-d \w+=\w+ )*https://(<api-id>\.execute-api\.us-east-1\.amazonaws\.com/\w+|quotes\.example\.org)/[a-z-]+",
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


def test_the_page_of_the_sms_has_its_hours_and_the_quiet_hours_of_countries() -> None:
    page = (ROOT / "docs/sms.md").read_text()
    delivery_hours = DeliveryHours(model.Settings())
    for zone in ("America/New_York", "Asia/Kolkata", "Pacific/Auckland"):
        opens_at, closes_at = delivery_hours.window(zone, date(2026, 12, 8))
        opens, closes = (moment.astimezone(zone_info(zone)) for moment in (opens_at, closes_at))
        utc = f"{opens_at:%B} {opens_at.day}, {opens_at:%H:%M}"
        assert f"| {place_name(zone)} | {opens:%H:%M} | {utc} | {closes:%H:%M} |" in page
    rows = re.findall(r"^\| ([^|]+) \| (\d\d:\d\d-\d\d:\d\d) \|", page, re.MULTILINE)
    assert {COUNTRIES[name]: hours for names, hours in rows for name in names.split(", ")} == {
        country: f"{start:%H:%M}-{end:%H:%M}" for country, (start, end) in COUNTRY_QUIET_HOURS.items()
    }
