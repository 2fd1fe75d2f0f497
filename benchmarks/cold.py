"""`make bench`, part 1: a cold start on AWS Lambda, from a new process to the first response to `/daily`.

Each package runs alone in a new process, as on Lambda, with an event of API Gateway: QuoteAPI, a bare Falcon app in the
same packaging, and QuoteAPI as Zappa packages it by default. Results are ratios, because times depend on the machine.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from zipfile import ZipFile

import click

from quoteapi.deploy.package import build_package, environment_for_lambda, list_parts
from quoteapi.settings.model import LAMBDA_FOLDER, ROOT

ROUNDS = 15
QUOTEAPI, BARE_FALCON, ZAPPA_DEFAULT = (
    "QuoteAPI",
    "bare Falcon, packaged in the same way",
    "QuoteAPI, as Zappa packages it by default",
)

BARE_APP = """\
import falcon


class Daily:
    def on_get(self, req, resp):
        resp.media = {"quote": "Hope and keep busy.", "author": "Louisa May Alcott", "category": "hope"}


api = falcon.App()
api.add_route("/daily", Daily())
"""

HOST = "abc123.execute-api.us-east-1.amazonaws.com"
EVENT = {
    "resource": "/{proxy+}",
    "path": "/daily",
    "httpMethod": "GET",
    "headers": {"Host": HOST},
    "multiValueHeaders": {"Host": [HOST]},
    "queryStringParameters": None,
    "multiValueQueryStringParameters": None,
    "pathParameters": {"proxy": "daily"},
    "requestContext": {"path": "/dev/daily", "stage": "dev", "identity": {"sourceIp": "192.0.2.1"}},
    "body": None,
    "isBase64Encoded": False,
}
FIRST_REQUEST = f"""\
import sys
sys.path.insert(0, sys.argv[1])
import handler
response = handler.lambda_handler({EVENT!r}, None)
print(response["statusCode"], response["body"], flush=True)
"""


def main() -> None:
    """Build the three packages, start each in turn for several rounds, and print the ratios."""
    package = build_package("dev")
    zipped, unzipped = package.stat().st_size / 1e6, sum(size for _, _, size in list_parts(package)) / 1e6
    with tempfile.TemporaryDirectory() as name:
        folders = _prepare_folders(package, Path(name))
        seconds: dict[str, list[float]] = {contender: [] for contender in folders}
        with click.progressbar(range(ROUNDS), label="Cold starts", file=sys.stderr) as rounds:
            for _ in rounds:
                for contender, folder in folders.items():
                    seconds[contender].append(_time_cold_start(folder, early=contender != ZAPPA_DEFAULT))
    click.echo(f"\nPackage: {zipped:.1f} MB zipped (goal: at most 12), {unzipped:.1f} MB unzipped (goal: at most 35)")
    click.echo(f"\nCold start on Lambda, {ROUNDS} rounds: time to the first /daily, as a ratio to {BARE_FALCON}\n")
    for contender, times in seconds.items():
        ratios = [mine / bare for mine, bare in zip(times, seconds[BARE_FALCON], strict=True)]
        click.echo(f"{contender:<44}{statistics.median(ratios):5.2f}  ({min(ratios):.2f} to {max(ratios):.2f})")
    ratios = [mine / default for mine, default in zip(seconds[QUOTEAPI], seconds[ZAPPA_DEFAULT], strict=True)]
    share = statistics.median(ratios)
    click.echo(
        f"\nGoals: at most 1.25, and at most 0.50 of Zappa's default. Measured: {share:.2f} of Zappa's default.\n"
    )


def _prepare_folders(package: Path, folder: Path) -> dict[str, Path]:
    """Unzip the three packages. Return their folders."""
    ours, bare = _unzip(package, folder / "ours"), _unzip(package, folder / "bare")
    (bare / "hello.py").write_text(BARE_APP)
    _replace_setting(bare, "APP_MODULE='quoteapi.app'", "APP_MODULE='hello'")
    return {
        QUOTEAPI: ours,
        BARE_FALCON: bare,
        ZAPPA_DEFAULT: _unzip(_package_by_default(folder / "project"), folder / "default"),
    }


def _unzip(package: Path, folder: Path) -> Path:
    with ZipFile(package) as zipped:
        zipped.extractall(folder)
    remote = next(line for line in (folder / "zappa_settings.py").read_text().splitlines() if "REMOTE_ENV" in line)
    _replace_setting(folder, remote, "")  # no S3 in this benchmark
    return folder


def _replace_setting(folder: Path, old: str, new: str) -> None:
    settings = folder / "zappa_settings.py"
    settings.write_text(settings.read_text().replace(old, new))
    for compiled in (folder / "__pycache__").glob("zappa_settings.*"):
        compiled.unlink()


def _package_by_default(project: Path) -> Path:
    """Package a clone of the project with `.venv` and only the settings that Zappa requires. Return the zip file."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S607
    for tracked in filter(None, listed.stdout.split("\0")):
        (project / tracked).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / tracked, project / tracked)
    settings = {
        "app_function": "quoteapi.app.api",
        "project_name": "quoteapi",
        "runtime": f"python{sys.version_info.major}.{sys.version_info.minor}",
        "remote_env": "s3://bucket/env.json",
        "use_precompiled_packages": False,  # true would download the same wheels again
    }
    (project / "zappa_settings.json").write_text(json.dumps({"dev": settings}))
    subprocess.run(  # noqa: S603
        [ROOT / ".venv/bin/zappa", "package", "dev", "--json", "--output", "package.zip"],
        cwd=project,
        env={**os.environ, "VIRTUAL_ENV": str(ROOT / ".venv"), "AWS_DEFAULT_REGION": "us-east-1"},
        capture_output=True,
        check=True,
    )
    return project / "package.zip"


def _time_cold_start(folder: Path, *, early: bool) -> float:
    """Return the seconds from the start of a new process to the first response."""
    environment = {"AWS_LAMBDA_FUNCTION_NAME": "quoteapi-dev", "AWS_REGION": "us-east-1", "PATH": os.environ["PATH"]}
    if early:
        environment["INSTANTIATE_LAMBDA_HANDLER_ON_IMPORT"] = "true"
    started_at = time.perf_counter()
    # -S: no site-packages. -B: write no bytecode, because the package folder is read-only on Lambda.
    command = [sys.executable, "-I", "-S", "-B", "-c", FIRST_REQUEST, str(folder)]
    with subprocess.Popen(  # noqa: S603
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        response = next((line for line in process.stdout if line.startswith(b"200")), None)
        seconds = time.perf_counter() - started_at
    for file in LAMBDA_FOLDER.glob("quoteapi.db*"):  # a new container has an empty /tmp
        file.unlink()
    if response is None:
        raise click.ClickException(f"{folder.name} sent no response.")
    return seconds


if __name__ == "__main__":
    environment_for_lambda()
    main()
