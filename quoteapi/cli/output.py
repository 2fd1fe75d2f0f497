"""Output of commands: tables, progress bars, files."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeVar, cast

import click

from quoteapi.cli.root import CommandFailed
from quoteapi.quotes import import_export

if TYPE_CHECKING:
    from click._termui_impl import ProgressBar

STANDARD_STREAM = Path("-")
_Row = TypeVar("_Row")
FORMATS = click.Choice(["csv", "json", "jsonl"])


def format_cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)[:16].replace("T", " ")


@contextmanager
def silence_console_gateway(*, silent: bool) -> Iterator[None]:
    """Keep the SMS that the local gateway prints out of what a program reads."""
    with redirect_stdout(StringIO() if silent else sys.stdout):
        yield


def require_folder(file: Path) -> None:
    if not file.parent.is_dir():
        raise CommandFailed(f"The folder {file.parent} does not exist.")


@contextmanager
def open_private_file(file: Path) -> Iterator[IO[str]]:
    """Open a file of personal data for writing, whole or not at all; nobody but its owner can read it."""
    if file == STANDARD_STREAM:
        yield sys.stdout
        return
    require_folder(file)
    if file.exists() and not file.is_file():  # such as a pipe
        with file.open("w", encoding="utf-8", newline="") as stream:
            yield stream
        return
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")  # which is made for its owner alone
    new = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as stream:
            yield stream
        new.replace(file)
    finally:
        new.unlink(missing_ok=True)


def print_table(head: tuple[str, ...], rows: Sequence[tuple[object, ...]]) -> None:
    """Print a table; on a terminal, the last column is cut at its edge."""
    columns = list(zip(head, *([str(cell) for cell in row] for row in rows), strict=False))
    widths = [max(map(len, column)) for column in columns]
    edge = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    for cells in zip(*columns, strict=True):
        line = "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
        click.echo(line if len(line) <= edge else line[: edge - 1] + "…")


def file_format(file: Path) -> import_export.FileFormat:
    form = {".csv": "csv", ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl"}.get(file.suffix.lower())
    if form is None:
        raise click.UsageError("Say what the file is: --format csv, --format json or --format jsonl.")
    return cast("import_export.FileFormat", form)


def progress_bar(label: str, length: int) -> "ProgressBar[int]":
    """Make a progress bar on standard error; unseen where nobody looks or the length is not known."""
    unseen = not (length and sys.stderr.isatty())
    return click.progressbar(
        length=length, label=label, file=sys.stderr, hidden=unseen, update_min_steps=max(1, length // 200)
    )


def count_progress(rows: Iterable[_Row], bar: "ProgressBar[int]") -> Iterator[_Row]:
    for row in rows:
        bar.update(1)
        yield row
