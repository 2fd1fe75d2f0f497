"""Output of commands: JSON, tables, progress bars and files."""

import json
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stdout
from io import StringIO
from operator import methodcaller
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

import click

from quoteapi.printable import printable, printable_json
from quoteapi.quotes.import_export import FileFormat

if TYPE_CHECKING:
    from click._termui_impl import ProgressBar

NAME = "quoteapi"
STAGE_ARGUMENT = ("policy", "setup", "teardown")
"""The commands that take a stage as an argument, and no --stage before their name."""
STANDARD_STREAM = Path("-")
escape_option = click.option(
    "--escape-formulas", "escape", is_flag=True, help="Make the CSV safe to open in a spreadsheet."
)
_ISO_8601_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d")
FORMATS = click.Choice(["csv", "json", "jsonl"])


def command_name() -> str:
    """Return how the operator can run this command again: as it was started, quoted for a shell.

    That is `quoteapi` if `PATH` leads to this one, else its path, or `python -m quoteapi` if Python runs the module.
    """
    program = sys.argv[0]
    if program == str(Path(__file__).parents[1] / "__main__.py"):
        return f"{shlex.quote(sys.orig_argv[0])} -m quoteapi"
    in_path = shutil.which(NAME)
    is_in_path = in_path is not None and Path(in_path).resolve() == Path(program).resolve()
    return NAME if is_in_path or Path(program).name != NAME else shlex.quote(program)


def as_started(text: str) -> str:
    """Return a text in which each command in backticks, such as `quoteapi doctor`, is one that can be run here."""
    option = ""
    if (stage := stage_option()) is not None:
        option = f" --stage {shlex.quote(stage)}"
        text = re.sub(rf"`{NAME} ({'|'.join(STAGE_ARGUMENT)}) STAGE", rf"`{NAME} \1 {shlex.quote(stage)}", text)
    others = re.compile(rf"`{NAME} (?!{'|'.join(STAGE_ARGUMENT)})")
    return others.sub(f"`{NAME}{option} ", text).replace(f"`{NAME} ", f"`{command_name()} ")


def stage_option() -> str | None:
    """Return the stage that the command acts on; None for the service on this machine."""
    context = click.get_current_context(silent=True)
    return context.find_root().params.get("stage") if context is not None else None


def print_json(value: object, *, ensure_ascii: bool = False, indent: int | None = None) -> None:
    """Print a value as JSON, a list indented, anything else on one line unless `indent`; times in ISO 8601."""
    indent = 2 if isinstance(value, list) else indent
    click.echo(
        printable_json(json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, default=methodcaller("isoformat")))
    )


def rewrite_line(text: str) -> None:
    """Replace the last line on stderr, if it is a terminal. A longer text is cut, as it would wrap and stay."""
    if sys.stderr.isatty():
        fitting = printable(text)[: shutil.get_terminal_size().columns - 1]
        click.echo(f"\r\033[K{fitting}", err=True, nl=False)


def print_lines(*lines: str, mark: str = "", err: bool = False, bold: bool | None = None) -> None:
    """Print lines, each after a styled `mark` if given.

    What is not printable in a line is escaped, also a line feed: no text from elsewhere can forge a line.
    """
    for line in lines:
        click.echo(" ".join(filter(None, (mark, click.style(printable(line), bold=bold)))), err=err)


def print_table(head: tuple[str, ...], rows: Sequence[tuple[object, ...]]) -> None:
    """Print a table. On a terminal, cut lines at the width of the terminal."""
    columns = list(zip(head, *([printable(str(cell)) for cell in row] for row in rows), strict=False))
    widths = [max(map(len, column)) for column in columns]
    max_width = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    for cells in zip(*columns, strict=True):
        line = "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
        print_lines(line if len(line) <= max_width else line[: max_width - 1] + "…")


def format_cell(value: object) -> str:
    """Return a value as a table cell: yes or no, empty for None, an ISO 8601 time as YYYY-MM-DD HH:MM."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = "" if value is None else str(value)
    return text[:16].replace("T", " ") if _ISO_8601_TIME.match(text) else text


def progress_bar(label: str, length: int, rows: Iterable[Any] | None = None) -> "ProgressBar[Any]":
    """Return a progress bar, over `rows` if given; hidden if stderr is no terminal or the length is 0."""
    hidden, steps = not (length and sys.stderr.isatty()), max(1, length // 200)
    return click.progressbar(rows, length, printable(label), hidden=hidden, file=sys.stderr, update_min_steps=steps)


def silence_console_gateway(*, silent: bool) -> AbstractContextManager[object]:
    """Return a context that, if `silent`, discards stdout, where console SMS would break JSON output."""
    return redirect_stdout(StringIO()) if silent else nullcontext()


def file_format(file: Path) -> FileFormat:
    """Return the format that a file's extension names. Raises `click.UsageError` for an unknown one."""
    format_ = {".csv": "csv", ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl"}.get(file.suffix.lower())
    if format_ is None:
        raise click.UsageError("Unknown file extension. Add --format csv, --format json or --format jsonl.")
    return cast("FileFormat", format_)


def require_csv(format_: str) -> None:
    """Raise `click.UsageError` unless a file with escaped formulas is CSV, which alone has cells."""
    if format_ != "csv":
        raise click.UsageError("--escape-formulas works only with CSV. Add --format csv.")


def is_replaceable(file: Path) -> bool:
    """Return whether a file is no stream, pipe or device. Raises `ClickException` if it has no folder."""
    if not file.parent.is_dir():
        raise click.ClickException(f"The folder {file.parent} does not exist.")
    return file != STANDARD_STREAM and (file.is_file() or not file.exists())


@contextmanager
def open_private_file(file: Path) -> Iterator[IO[str]]:
    """Open a file of personal data for writing: replaced atomically, readable only by its owner."""
    if not is_replaceable(file):
        with click.open_file(str(file), "w", encoding="utf-8") as stream:
            yield stream
        return
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=f".{file.name}.") as folder:
        temporary = Path(folder, file.name)
        temporary.touch(0o600)
        with temporary.open("w", encoding="utf-8", newline="") as stream:
            yield stream
        temporary.replace(file)
