"""The Lambda package: fetches the libraries, and trims and compiles what Zappa zips.

Zappa zips the project's folder and a virtual environment. Its callbacks, in `zappa_callbacks.py`, make it use the
environment made here, and trim the zip. The environment is made from `Pipfile.lock` with its hashes, of wheels for
Lambda's Linux, whatever machine deploys. Bytecode is compiled with unchecked hashes (PEP 552): Zappa changes the dates
of files, so Lambda would reject bytecode with timestamps, and compile all modules at each cold start.
"""

import fcntl
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo, is_zipfile

import click

from quoteapi.deploy.runtimes import running_runtime
from quoteapi.settings import ROOT

ENVIRONMENTS = {"x86_64": ROOT / ".venv-lambda", "arm64": ROOT / ".venv-lambda-arm64"}
"""The environment of each architecture of Lambda."""
PLATFORMS = {
    "x86_64": ("manylinux2014_x86_64", "manylinux_2_17_x86_64"),
    "arm64": ("manylinux2014_aarch64", "manylinux_2_17_aarch64", "manylinux_2_28_aarch64"),
}
"""The platforms of wheels that run on Lambda. Runtimes since python3.12 have glibc 2.34, python3.11 has 2.26."""
EXCLUDED_DISTRIBUTIONS = (
    *("argcomplete", "cfn-flip", "click", "granian", "gunicorn", "hjson", "packaging", "pip", "placebo", "pycparser"),
    *("python-dotenv", "python-slugify", "pyyaml", "setuptools", "text-unidecode", "toml", "tqdm", "troposphere"),
    *("uvloop", "wheel"),
)
"""Distributions in the lock that only the CLI, a local server or a deploy needs."""
UNUSED_FILES = (
    *("bin", "*-stubs", "[!p]*.dist-info", "p[!s]*.dist-info", "pwiz.py", "**/*.pyi", "**/*.pyx", "**/*.c", "**/*.h"),
    *("boto3/examples", "falcon/bench", "falcon/testing", "zappa/cli.py", "zappa/core.py", "zappa/letsencrypt.py"),
    *("jinja2/constants.py", "jinja2/ext.py", "jinja2/meta.py", "jinja2/nativetypes.py", "jinja2/sandbox.py"),
    *(f"phonenumbers/{name}" for name in ("carrier.py", "carrierdata", "geocoder.py", "geodata", "prefix.py")),
    "phonenumbers/shortdata/region_*.py",
)
"""Files of the libraries that nothing uses on Lambda. psycopg's dist-info stays: psycopg reads its version there.

`phonenumbers` imports the folder `shortdata`, but not the data of its regions."""
AWS_SERVICES = ("dynamodb", "lambda", "s3", "sns", "sts")
"""The AWS services that are called on Lambda, also by Zappa at import; botocore's data of the others is removed."""
PROJECT_FILES = re.compile(
    r"handler\.py|quote_database\.db|zappa_settings\.py|quoteapi/(.+\.py|rds\.pem|http/openapi\.json"
    r"|http/templates/[a-z]+\.(html|svg|xml)|http/assets/[a-z]+\.(css|js|svg))"
)
"""The only files packaged from the project's folder: others may be exports of subscribers, or keys. An operator may add
`rds.pem`, the certificates of Amazon RDS. `zappa_settings.py` and `handler.py` are Zappa's."""
NOT_DEPLOYED = ("quoteapi/__main__.py", "quoteapi/cli/", "quoteapi/deploy/")
"""Files and folders that `exclude_glob` in `zappa_settings.json` leaves out."""
LAMBDA_TASK_ROOT = "/var/task"


def environment_for_lambda(architecture: str = "x86_64") -> Path:
    """Return the virtual environment for Lambda, made again if the lock, Python or this module changed."""
    environment = ENVIRONMENTS[architecture]
    lock = json.loads((ROOT / "Pipfile.lock").read_text())["default"]
    requirements = "".join(f"{line}\n" for line in _requirements(lock))
    state = f"{sys.version_info[:2]}\n{requirements}\n{Path(__file__).read_text()}"
    ready = environment / ".ready"
    with (ROOT / "Pipfile.lock").open() as lock_file:
        fcntl.flock(lock_file, fcntl.LOCK_EX)  # so that of two concurrent deploys only one fetches
        if ready.is_file() and ready.read_text() == state:
            return environment
        click.echo(f"Downloading the packages for Lambda into {environment.name} (once, half a minute) ...", err=True)
        shutil.rmtree(environment, ignore_errors=True)
        _install(requirements, environment, PLATFORMS[architecture])
        _trim_libraries(_site_packages(environment))
        ready.write_text(state)
    return environment


def _requirements(lock: Mapping[str, Any]) -> Iterator[str]:
    for name, package in lock.items():
        if name not in EXCLUDED_DISTRIBUTIONS:
            marker = f" ; {package['markers']}" if "markers" in package else ""
            yield f"{name}{package['version']}{marker} {' '.join(f'--hash={digest}' for digest in package['hashes'])}"


def _install(requirements: str, environment: Path, platforms: Collection[str]) -> None:
    target = _site_packages(environment)
    target.mkdir(parents=True)
    requirements_file = environment / "requirements.txt"
    requirements_file.write_text(requirements)
    command = [
        *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"),
        *("--no-deps", "--require-hashes", "--only-binary", ":all:", "--target", str(target)),
        *("-r", str(requirements_file), *(f"--platform={platform}" for platform in platforms)),
    ]
    pip = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 names are those of the lock
    if pip.returncode:
        raise click.ClickException(
            f"{pip.stderr}\nThe packages for Lambda could not be downloaded, for the reason above. Check the network."
            " To use a mirror, set PIP_INDEX_URL."
        )


def _site_packages(environment: Path) -> Path:
    return environment / "lib" / running_runtime() / "site-packages"


def _trim_libraries(libraries: Path) -> None:
    """Remove what Lambda does not use, and replace the sources with bytecode: once, not at each deploy."""
    data = [path for path in libraries.glob("boto*/data/*") if path.is_dir() and path.name not in AWS_SERVICES]
    for path in (*data, *(path for pattern in UNUSED_FILES for path in libraries.glob(pattern))):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    _compile(libraries, "-b")
    for source in list(libraries.rglob("*.py")):
        source.unlink()


def require_complete(package: Path) -> None:
    """Raise `click.ClickException` if a zip that Zappa made lacks a file of the project that Lambda needs."""
    if not is_zipfile(package):
        raise click.ClickException(f"{package.name} is not a zip file. Remove slim_handler from zappa_settings.json.")
    with ZipFile(package) as zipped:
        missing = sorted(required_files() - set(zipped.namelist()))
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise click.ClickException(
            f"The package does not contain {missing[0]}{more}. Run zappa in {ROOT}, and check exclude and exclude_glob"
            " in zappa_settings.json."
        )


def required_files() -> set[str]:
    """Return the paths of the project's own files that Lambda needs."""
    paths = {str(path.relative_to(ROOT)) for path in (*ROOT.glob("*.db"), *(ROOT / "quoteapi").rglob("*"))}
    return {path for path in paths if PROJECT_FILES.fullmatch(path) and not path.startswith(NOT_DEPLOYED)}


def trim_package(package: Path, environment: Path, excluded: Collection[str]) -> None:
    """Trim and compile Zappa's zip of an environment in place.

    Drops libraries whose top-level module is in `excluded`.
    """
    libraries = _site_packages(environment)
    installed = {str(path.relative_to(libraries)) for path in libraries.rglob("*") if path.is_file()}
    used = {path for path in installed if path.partition("/")[0].partition(".")[0] not in excluded}
    with tempfile.TemporaryDirectory() as folder, ZipFile(package) as zipped:
        names = [name for name in zipped.namelist() if name in used or PROJECT_FILES.fullmatch(name)]
        zipped.extractall(folder, names)
        _compile(Path(folder))
        _zip(Path(folder), package)


def _compile(folder: Path, *options: str) -> None:
    """Compile the modules in a folder, in a fresh process, so that the bytecode is reproducible.

    Bytecode depends on which modules the compiling process has loaded. `options` are those of `compileall`.
    """
    arguments = ("-q", "--invalidation-mode", "unchecked-hash", "-s", str(folder), "-p", LAMBDA_TASK_ROOT, *options)
    command = [sys.executable, "-I", "-m", "compileall", *arguments, str(folder)]
    if subprocess.run(command, check=False).returncode:  # noqa: S603
        raise click.ClickException("The package cannot be compiled, for the reason above.")


def _zip(folder: Path, target: Path) -> None:
    """Write a folder as a reproducible zip: sorted, and without the dates and permissions of the files."""
    with ZipFile(target, "w", ZIP_DEFLATED) as zipped:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = ZipInfo(str(path.relative_to(folder)))  # dated 1980-01-01, its default
            entry.create_system, entry.external_attr, entry.compress_type = 3, 0o644 << 16, ZIP_DEFLATED
            zipped.writestr(entry, path.read_bytes())


def list_parts(package: Path) -> list[tuple[str, int, int]]:
    """Return name, zipped and unzipped bytes of each top-level file or folder, the largest unzipped first."""
    zipped, unzipped = Counter[str](), Counter[str]()
    with ZipFile(package) as opened:
        for entry in opened.infolist():
            top = entry.filename.partition("/")[0]
            zipped[top] += entry.compress_size
            unzipped[top] += entry.file_size
    return [(name, zipped[name], size) for name, size in unzipped.most_common()]


def build_package(stage: str) -> Path:
    """Build the package of a stage as a deploy does, in `build/`. Raises `SystemExit` if Zappa stops."""
    from zappa.cli import ZappaCLI  # noqa: PLC0415 its import takes a second

    package = Path("build", f"quoteapi-{stage}.zip")  # in the working directory, which is what Zappa packages
    package.parent.mkdir(exist_ok=True)
    os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")  # boto3 wants one, although nothing is called
    logging.getLogger("zappa.core").setLevel(logging.WARNING)
    with redirect_stdout(StringIO()):  # `main` prints more than Zappa does
        ZappaCLI().handle(["package", stage, "--json", "--output", str(package)])
    return package


def main() -> None:
    """Build the package of the stage in the first argument, and print its largest parts."""
    package = build_package(sys.argv[1])
    parts = list_parts(package)
    total = ("total", package.stat().st_size, sum(unzipped for _, _, unzipped in parts))
    click.echo(f"\n{'':<24}{'zipped':>12}{'unzipped':>12}")
    for name, zipped, unzipped in (*parts[:10], total):
        click.echo(f"{name:<24}{zipped / 1e6:>9.1f} MB{unzipped / 1e6:>9.1f} MB")
    click.echo(f"\nBuilt {package}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("\nStopped.")
