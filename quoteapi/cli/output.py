"""Output of commands: JSON, tables, progress bars and files."""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from operator import methodcaller
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeVar, cast

import click

from quoteapi.cli.root import CommandFailed
from quoteapi.quotes.import_export import FileFormat

if TYPE_CHECKING:
    from click._termui_impl import ProgressBar

STANDARD_STREAM = Path("-")
FORMATS = click.Choice(["csv", "json", "jsonl"])
_Row = TypeVar("_Row")


def print_json(value: object, *, ensure_ascii: bool = False) -> None:
    """Print a value as JSON, a list indented, anything else on one line; dates and times in ISO 8601."""
    indent = 2 if isinstance(value, list) else None
    click.echo(json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, default=methodcaller("isoformat")))


def print_table(head: tuple[str, ...], rows: Sequence[tuple[object, ...]]) -> None:
    """Print a table; on a terminal, cut each line at its width."""
    columns = list(zip(head, *([str(cell) for cell in row] for row in rows), strict=False))
    widths = [max(map(len, column)) for column in columns]
    max_width = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    for cells in zip(*columns, strict=True):
        line = "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
        click.echo(line if len(line) <= max_width else line[: max_width - 1] + "…")


def format_cell(value: object) -> str:
    """Return a value as a table shows it: yes or no, nothing for None, an ISO 8601 time without its seconds."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)[:16].replace("T", " ")


def progress_bar(label: str, length: int) -> "ProgressBar[int]":
    """Return a progress bar on standard error, hidden if that is not a terminal or the length is 0 (unknown)."""
    hidden = not (length and sys.stderr.isatty())
    return click.progressbar(
        length=length, label=label, file=sys.stderr, hidden=hidden, update_min_steps=max(1, length // 200)
    )


def count_progress(rows: Iterable[_Row], bar: "ProgressBar[int]") -> Iterator[_Row]:
    """Yield the rows, and advance the progress bar by one for each."""
    for row in rows:
        bar.update(1)
        yield row


@contextmanager
def silence_console_gateway(*, silent: bool) -> Iterator[None]:
    """Discard the SMS that the console gateway prints, which would break JSON output."""
    with redirect_stdout(StringIO() if silent else sys.stdout):
        yield


def file_format(file: Path) -> FileFormat:
    """Return the format that a file's extension names. Raises `click.UsageError` for an unknown one."""
    form = {".csv": "csv", ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl"}.get(file.suffix.lower())
    if form is None:
        raise click.UsageError("Say what the file is: --format csv, --format json or --format jsonl.")
    return cast("FileFormat", form)


def require_folder(file: Path) -> None:
    """Raise `CommandFailed` if the folder of a file does not exist."""
    if not file.parent.is_dir():
        raise CommandFailed(f"The folder {file.parent} does not exist.")


@contextmanager
def open_private_file(file: Path) -> Iterator[IO[str]]:
    """Open a file of personal data for writing; it is replaced atomically, and only its owner can read it."""
    if file == STANDARD_STREAM:
        yield sys.stdout
        return
    require_folder(file)
    if file.exists() and not file.is_file():  # a pipe or a device
        with file.open("w", encoding="utf-8", newline="") as stream:
            yield stream
        return
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")  # with mode 0600
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as stream:
            yield stream
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)
