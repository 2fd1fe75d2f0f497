"""The package that `zappa deploy` uploads: what Lambda needs, and nothing else.

Zappa zips the project's folder and a virtual environment, and `zappa_settings.json` has it call this module. The
environment is made here for Lambda's own Linux, from `Pipfile.lock` with its hashes, whatever machine deploys; and what
Zappa zipped is cut down and compiled: bytecode that Zappa packs is dated, and Lambda would never believe it.
"""

import fcntl
import hashlib
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import click
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as NoConnection

from quoteapi.deploy.check import Check
from quoteapi.deploy.zappa_settings import find_problems
from quoteapi.settings import ROOT

ENVIRONMENT = ROOT / ".venv-lambda"
BUILT = Path("build")
"""Where `make package` builds, in the folder that Zappa packages: the one where it is called."""
LARGEST = 10
PLATFORMS = ("manylinux2014_x86_64", "manylinux_2_17_x86_64")
"""Linuxes as old as the oldest that Lambda runs; for its arm64 some libraries want newer ones."""
LEFT_HERE = {
    *("argcomplete", "cfn-flip", "click", "granian", "gunicorn", "hjson", "packaging", "pip", "placebo", "pycparser"),
    *(
        "python-dotenv",
        "python-slugify",
        "pyyaml",
        "setuptools",
        "text-unidecode",
        "toml",
        "tqdm",
        "troposphere",
        "wheel",
    ),
}
"""Distributions of the lock that only serving on a laptop, or deploying, needs."""
FOR_TOKENS = ("_cffi_backend", "cffi", "cryptography", "jwt")
FOR_TRACING = ("aws_xray_sdk", "wrapt")
OF_PROJECT = ("handler.py", "quote_database.db", "quoteapi", "zappa_settings.py")
"""What the package has of the project's folder: a list of people, or a file of keys, may lie beside it."""
OF_OUR_FOLDER = re.compile(
    r".+\.py|rds\.pem|http/(openapi\.json|templates/[a-z]+\.(html|svg|xml)|assets/[a-z]+\.(css|js|svg))"
)
"""What it has of `quoteapi/`: modules, what pages are made of, and who vouches for Amazon's databases, if an operator
puts that there."""
NOT_RUN = (
    *("bin", "*-stubs", "[!p]*.dist-info", "p[!s]*.dist-info", "pwiz.py", "**/*.pyi", "**/*.pyx", "**/*.c", "**/*.h"),
    *("boto3/examples", "falcon/bench", "falcon/testing", "zappa/cli.py", "zappa/core.py", "zappa/letsencrypt.py"),
    *("jinja2/constants.py", "jinja2/ext.py", "jinja2/meta.py", "jinja2/nativetypes.py", "jinja2/sandbox.py"),
)
"""What libraries bring that nothing runs; psycopg looks for its own release."""
AWS_SERVICES = ("dynamodb", "lambda", "s3", "sns", "sts")
"""The services that are called from Lambda, by us or when Zappa's tasks are loaded."""
ON_LAMBDA = "/var/task"
EPOCH = (1980, 1, 1, 0, 0, 0)


class Part(NamedTuple):
    """A file or folder at the top of a package, in bytes."""

    name: str
    zipped: int
    unzipped: int


def prepare(cli: Any) -> None:  # noqa: ANN401 Zappa has no types
    """Stop what cannot work, and have Zappa package an environment for Lambda: Zappa's callback `settings`."""
    packages = cli.command in {"deploy", "update", "package"}
    if packages or cli.command in {"certify", "schedule"}:
        path = Path(cli.vargs.get("settings_file") or "zappa_settings.json")
        _stop_for([check for check in find_problems(path, cli.api_stage) if check.state == "wrong"], cli)
    if cli.command in {"deploy", "update", "certify", "schedule"}:
        _ask_who_deploys(cli)
    if packages:
        os.environ["VIRTUAL_ENV"] = str(environment_for_lambda())
        warnings.filterwarnings("ignore", module="_distutils_hack")  # Zappa loads pip and setuptools in that order


def _stop_for(wrong: list[Check], cli: Any) -> None:  # noqa: ANN401 Zappa has no types
    if cli.command == "package":  # which goes nowhere, so nobody need say where
        wrong = [check for check in wrong if check.name != "placeholder"]
    if wrong:
        listed = "".join(f"\n  {check.found}\n    {check.to_do}" for check in wrong)
        raise click.ClickException(f"`zappa {cli.command} {cli.api_stage}` was stopped:{listed}")


def _ask_who_deploys(cli: Any) -> None:  # noqa: ANN401 Zappa has no types
    try:
        cli.zappa.sts_client.get_caller_identity()
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "without a code")
        raise click.ClickException(
            f"AWS does not take your credentials ({code}): run `aws sso login`, or `aws configure`."
        ) from None
    except (NoConnection, HTTPClientError):
        raise click.ClickException("AWS cannot be reached. Is the network up, and aws_region right?") from None
    except BotoCoreError as error:
        raise click.ClickException(
            f"No AWS credentials can be used ({type(error).__name__}): run `aws configure`, or `aws sso login`."
        ) from None


def finish(cli: Any) -> None:  # noqa: ANN401 Zappa has no types
    """Leave out of the zip what this stage does not use, and compile our part: Zappa's callback `zip`."""
    unused = {
        *(() if cli.authorizer.get("function") else FOR_TOKENS),
        *(() if cli.xray_tracing else FOR_TRACING),
    }
    libraries = _site_packages(environment_for_lambda())
    brought = {str(path.relative_to(libraries)) for path in libraries.rglob("*") if path.is_file()}
    used = {path for path in brought if path.partition("/")[0].partition(".")[0] not in unused}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with ZipFile(cli.zip_path) as zipped:
            zipped.extractall(folder, [name for name in zipped.namelist() if name in used or _is_ours(name)])
        _compile(folder)
        _zip(folder, Path(cli.zip_path))


def _is_ours(path: str) -> bool:
    top, _, rest = path.partition("/")
    return top in OF_PROJECT and (not rest or OF_OUR_FOLDER.fullmatch(rest) is not None)


def _compile(folder: Path, *options: str) -> None:
    """Compile all of a folder, in a process of its own: what this one has loaded would show in the bytecode."""
    words = ("-q", "--invalidation-mode", "unchecked-hash", "-s", str(folder), "-p", ON_LAMBDA, *options, str(folder))
    if subprocess.run([sys.executable, "-I", "-m", "compileall", *words], check=False).returncode:  # noqa: S603
        raise click.ClickException("The package cannot be compiled: the lines above say which file.")


def _zip(folder: Path, target: Path) -> None:
    """Write a folder as a zip that is the same whoever makes it, and whenever."""
    with ZipFile(target, "w", ZIP_DEFLATED, compresslevel=9) as zipped:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = ZipInfo(str(path.relative_to(folder)), EPOCH)
            entry.create_system, entry.external_attr, entry.compress_type = 3, 0o644 << 16, ZIP_DEFLATED
            zipped.writestr(entry, path.read_bytes())


def environment_for_lambda() -> Path:
    """Answer the environment with the lock's packages for Lambda; it is made anew where it is not of this lock."""
    lock = json.loads((ROOT / "Pipfile.lock").read_text())["default"]
    requirements = "".join(f"{line}\n" for line in _requirements(lock))
    made_by = Path(__file__).read_text()
    state = hashlib.sha256(f"{sys.version_info[:2]}\n{requirements}\n{made_by}".encode()).hexdigest()
    ready = ENVIRONMENT / ".ready"
    with (ROOT / "Pipfile.lock").open() as lock_file:
        fcntl.flock(lock_file, fcntl.LOCK_EX)  # of two deploys at once, one fetches
        if ready.is_file() and ready.read_text() == state:
            return ENVIRONMENT
        click.echo("Fetching what Lambda needs into .venv-lambda (once, half a minute) ...", err=True)
        shutil.rmtree(ENVIRONMENT, ignore_errors=True)
        _fetch(requirements)
        _cut_down(_site_packages(ENVIRONMENT))
        ready.write_text(state)
    return ENVIRONMENT


def _cut_down(libraries: Path) -> None:
    """Remove what is of no use on Lambda, and compile the rest: once, and not at each deploy."""
    for data in (*(libraries / "botocore/data").iterdir(), *(libraries / "boto3/data").iterdir()):
        if data.is_dir() and data.name not in AWS_SERVICES:
            shutil.rmtree(data)
    for pattern in NOT_RUN:
        for path in list(libraries.glob(pattern)):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    _compile(libraries, "-b")
    for source in list(libraries.rglob("*.py")):  # whose bytecode stands beside it
        source.unlink()


def _requirements(lock: Mapping[str, Any]) -> Iterator[str]:
    for name, package in lock.items():
        if name not in LEFT_HERE:
            marker = f" ; {package['markers']}" if "markers" in package else ""
            yield f"{name}{package['version']}{marker} {' '.join(f'--hash={digest}' for digest in package['hashes'])}"


def _fetch(requirements: str) -> None:
    target = _site_packages(ENVIRONMENT)
    target.mkdir(parents=True)
    listed = ENVIRONMENT / "requirements.txt"
    listed.write_text(requirements)
    fetched = subprocess.run(  # noqa: S603 pip, with the lock's names and hashes
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"),
            *("--no-deps", "--require-hashes", "--only-binary", ":all:", "--target", str(target), "-r", str(listed)),
            *(f"--platform={platform}" for platform in PLATFORMS),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if fetched.returncode:
        raise click.ClickException(
            f"{fetched.stderr}\nWhat Lambda needs could not be fetched: the lines above say why. Is the network up?"
            " (A mirror: set PIP_INDEX_URL.)"
        )


def _site_packages(environment: Path) -> Path:
    return environment / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"


def parts_of(package: Path) -> list[Part]:
    """Answer what stands at the top of a package, the largest first."""
    zipped, unzipped = Counter[str](), Counter[str]()
    with ZipFile(package) as opened:
        for entry in opened.infolist():
            top = entry.filename.partition("/")[0]
            zipped[top] += entry.compress_size
            unzipped[top] += entry.file_size
    return [Part(name, zipped[name], size) for name, size in unzipped.most_common()]


def build(stage: str) -> Path:
    """Build the package of a stage as a deploy does, into `build/`. Raises `SystemExit` where Zappa stops."""
    from zappa.cli import ZappaCLI  # noqa: PLC0415 it takes a second to load

    BUILT.mkdir(exist_ok=True)
    package = BUILT / f"quoteapi-{stage}.zip"
    os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")  # nothing is called
    logging.getLogger("zappa.core").setLevel(logging.WARNING)
    with redirect_stdout(StringIO()):  # we say the same, and more
        ZappaCLI().handle(["package", stage, "--json", "--output", str(package)])
    return package


def main() -> None:
    """Build the package of the stage that is named, and show its largest parts."""
    package = build(sys.argv[1])
    parts = parts_of(package)
    whole = Part("the whole package", package.stat().st_size, sum(part.unzipped for part in parts))
    click.echo(f"\n{'':<24}{'zipped':>12}{'unzipped':>12}")
    for part in (*parts[:LARGEST], whole):
        click.echo(f"{part.name:<24}{part.zipped / 1e6:>9.1f} MB{part.unzipped / 1e6:>9.1f} MB")
    click.echo(f"\n{package}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("\nStopped.")
