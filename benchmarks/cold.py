"""`make bench`, first part: a cold start on AWS Lambda, from a new process to the first answered `/daily`.

Each package alone is on the path of a new process, as on Lambda, and is asked by an event of API Gateway: ours, a bare
Falcon app packaged in the same way, and ours as Zappa packages it when nobody tells it more. Only ratios are told.
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

from quoteapi.deploy.package import build, environment_for_lambda, parts_of
from quoteapi.settings import LAMBDA_FOLDER, ROOT

ROUNDS = 15
OURS, BARE, BY_DEFAULT = (
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
CONTAINER = f"""\
import sys
sys.path.insert(0, sys.argv[1])
import handler
answer = handler.lambda_handler({EVENT!r}, None)
print(answer["statusCode"], answer["body"], flush=True)
"""


def main() -> None:
    """Build the three packages, start each again and again in turn, and show what came of it."""
    package = build("dev")
    zipped, unzipped = package.stat().st_size / 1e6, sum(part.unzipped for part in parts_of(package)) / 1e6
    with tempfile.TemporaryDirectory() as name:
        folders = _unzipped(package, Path(name))
        took: dict[str, list[float]] = {contender: [] for contender in folders}
        with click.progressbar(range(ROUNDS), label="Cold starts", file=sys.stderr) as rounds:
            for _ in rounds:
                for contender, folder in folders.items():
                    took[contender].append(_cold_start(folder, early=contender != BY_DEFAULT))
    click.echo(f"\nThe package: {zipped:.1f} MB zipped (12 at most), {unzipped:.1f} MB unzipped (35 at most)")
    click.echo(f"\nA cold start on Lambda, {ROUNDS} rounds in turn: time to the first /daily against {BARE}\n")
    for contender, times in took.items():
        ratios = [mine / bare for mine, bare in zip(times, took[BARE], strict=True)]
        click.echo(f"{contender:<44}{statistics.median(ratios):5.2f}  ({min(ratios):.2f} to {max(ratios):.2f})")
    of_default = [mine / default for mine, default in zip(took[OURS], took[BY_DEFAULT], strict=True)]
    share = statistics.median(of_default)
    click.echo(f"\nTo reach: 1.3, and half of the default; it is {share:.2f} of the default.\n")


def _unzipped(package: Path, folder: Path) -> dict[str, Path]:
    """Answer where each package is unzipped."""
    ours, bare = _unzip(package, folder / "ours"), _unzip(package, folder / "bare")
    (bare / "hello.py").write_text(BARE_APP)
    _settings_changed(bare, "APP_MODULE='quoteapi.app'", "APP_MODULE='hello'")
    return {OURS: ours, BARE: bare, BY_DEFAULT: _unzip(_by_default(folder / "project"), folder / "default")}


def _unzip(package: Path, folder: Path) -> Path:
    with ZipFile(package) as zipped:
        zipped.extractall(folder)
    remote = next(line for line in (folder / "zappa_settings.py").read_text().splitlines() if "REMOTE_ENV" in line)
    _settings_changed(folder, remote, "")  # there is no S3 here
    return folder


def _settings_changed(folder: Path, old: str, new: str) -> None:
    settings = folder / "zappa_settings.py"
    settings.write_text(settings.read_text().replace(old, new))
    for compiled in (folder / "__pycache__").glob("zappa_settings.*"):
        compiled.unlink()


def _by_default(project: Path) -> Path:
    """Package the project as it was cloned, from the service's environment, with no more settings than Zappa needs."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S607
    for tracked in filter(None, listed.stdout.split("\0")):
        (project / tracked).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / tracked, project / tracked)
    settings = {
        "app_function": "quoteapi.app.api",
        "project_name": "quoteapi",
        "runtime": f"python{sys.version_info.major}.{sys.version_info.minor}",
        "remote_env": "s3://bucket/env.json",
        "use_precompiled_packages": False,  # which would fetch the same wheels once more
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


def _cold_start(folder: Path, *, early: bool) -> float:
    """Answer how many seconds a new container took."""
    environment = {"AWS_LAMBDA_FUNCTION_NAME": "quoteapi-dev", "AWS_REGION": "us-east-1", "PATH": os.environ["PATH"]}
    if early:
        environment["INSTANTIATE_LAMBDA_HANDLER_ON_IMPORT"] = "true"
    began = time.perf_counter()
    # -S: no other packages. -B: Lambda's file system cannot be written to.
    command = [sys.executable, "-I", "-S", "-B", "-c", CONTAINER, str(folder)]
    with subprocess.Popen(  # noqa: S603
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as run:
        assert run.stdout is not None
        answer = next((line for line in run.stdout if line.startswith(b"200")), None)
        took = time.perf_counter() - began
    for left in LAMBDA_FOLDER.glob("quoteapi.db*"):  # the next container finds an empty /tmp
        left.unlink()
    if answer is None:
        raise click.ClickException(f"{folder.name} did not answer.")
    return took


if __name__ == "__main__":
    environment_for_lambda()
    main()
