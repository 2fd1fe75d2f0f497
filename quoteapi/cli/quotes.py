"""Commands for quotes."""

import os
import shutil
import sys
from collections.abc import Iterator
from datetime import datetime
from io import TextIOWrapper
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import click

from quoteapi import clock
from quoteapi.cli import output
from quoteapi.cli.output import FORMATS, STANDARD_STREAM, print_lines, progress_bar
from quoteapi.cli.root import EXIT_FAILED, POSITIVE_INTEGER, json_option, limit_option, main, open_container
from quoteapi.printable import counted, printable
from quoteapi.quotes import import_export
from quoteapi.quotes.errors import FutureDate
from quoteapi.quotes.import_export import FileFormat, ImportResult, ImportRow
from quoteapi.quotes.quotation import InvalidQuotation, Quotation, validate_quotation
from quoteapi.spelling import ask
from quoteapi.storage.catalogue import catalogue_size, iterate_quotations, list_quotes, store_quotation
from quoteapi.storage.full_text_search import Filters, search_error
from quoteapi.storage.name_suggestions import suggest_names

_LISTED_COLUMNS = ("id", "author", "category", "quote")
_category = click.option("--category", help="Only quotes in this category.")
_author = click.option("--author", help="Only quotes by this author.")


class _Date(click.DateTime):
    """Dates as YYYY-MM-DD, with an error that shows this form and not Python's."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401
        """Return the date. Raises `click.BadParameter`."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"{value!r} is not a date. Write it as YYYY-MM-DD, for example 2026-11-22.", param, ctx)


@main.command()
@click.option(
    "--date",
    "day",
    type=_Date(["%Y-%m-%d"]),
    metavar="YYYY-MM-DD",
    help="Show the quote of this day.  [default: today, in UTC]",
)
@json_option
def daily(day: datetime | None, *, as_json: bool) -> None:
    """Show the quote of the day."""
    date = (day or clock.now()).date()
    with open_container() as container:
        try:
            _print_quotation(container.quotes.quote_of_date(date), as_json=as_json)
        except FutureDate as error:
            message = (
                f"The quote of {date} is not chosen yet. Try again when that day has begun in UTC+14, at 10:00 UTC on"
                " the day before."
            )
            raise click.ClickException(message) from error


@main.command("random")
@_category
@_author
@click.option("--max-length", type=POSITIVE_INTEGER, metavar="N", help="Only quotes of at most N characters.")
@json_option
def random_quote(category: str | None, author: str | None, max_length: int | None, *, as_json: bool) -> None:
    """Show a random quote."""
    with open_container() as container:
        _print_quotation(container.quotes.random_quote(Filters(category, author, max_length)), as_json=as_json)


@main.group("quotes")
def quotes_() -> None:
    """List, add, import and export quotes."""


@quotes_.command("list")
@_category
@_author
@click.option("--search", "words", help="Only quotes with these words in their text, author or source.")
@limit_option
@json_option
def list_(category: str | None, author: str | None, words: str | None, limit: int, *, as_json: bool) -> None:
    """List quotes, newest first."""
    if error := search_error(words or ""):
        raise click.UsageError(error)
    with open_container():
        filters = Filters(category, author, words=words or None)
        found = list_quotes(filters, limit)
        questions = map(ask, suggest_names(filters).values() if not found else ())
        rows = [{column: getattr(quote, column) for column in _LISTED_COLUMNS} for quote in found]
    if as_json:
        output.print_json(rows)
    elif rows:
        output.print_table(_LISTED_COLUMNS, [tuple(row.values()) for row in rows])
    else:
        print_lines(" ".join(["No quotes found.", *questions]), err=True)


@quotes_.command()
@click.argument("quote")
@click.option("--author", required=True, help="The author.")
@click.option("--category", required=True, help="The subject, for example courage.")
@click.option("--source", default="", help="The work and its year, or the speech and its date.")
@json_option
def add(quote: str, author: str, category: str, source: str, *, as_json: bool) -> None:
    """Add a quote."""
    try:
        quotation = validate_quotation({"quote": quote, "author": author, "category": category, "source": source})
    except InvalidQuotation as error:
        raise click.UsageError(f"{error}.") from error
    with open_container(may_create=True):
        quote_id, new = store_quotation(quotation, clock.now())
    if as_json:
        output.print_json({"id": quote_id, "new": new})
    else:
        print_lines(f"Added as quote {quote_id}." if new else f"The quote exists already, as quote {quote_id}.")


@quotes_.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path))
@click.option("--format", "format_", type=FORMATS, help="The format of FILE.  [default: by its extension]")
@click.option("--strict", is_flag=True, help="Add no quote if any row is invalid.")
@json_option
def import_(file: Path, format_: FileFormat | None, *, strict: bool, as_json: bool) -> None:
    """Add quotes from FILE, which is CSV, JSON or JSON lines.

    The columns are quote, author, category and, optionally, source. Quotes that exist already are skipped. Invalid rows
    are reported and skipped; the exit code is then 1. To read standard input, set FILE to -.
    """
    format_ = format_ or output.file_format(file)
    with open_container(may_create=True), _open_seekable(file) as raw:
        try:
            if strict and (invalid := import_export.invalid_rows(_read_rows(raw, format_, f"Checking {file.name}"))):
                imported = ImportResult(invalid=invalid, refused=True)
            else:
                imported = import_export.import_rows(_read_rows(raw, format_, f"Reading {file.name}"), clock.now)
        except import_export.UnreadableFile as error:
            raise click.ClickException(f"{file}: {error}") from error
    _print_result(imported, as_json=as_json)
    if imported.invalid:
        sys.exit(EXIT_FAILED)


@quotes_.command()
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path), default="-")
@click.option("--format", "format_", type=FORMATS, help="The format of FILE.  [default: by its extension, or csv]")
@output.escape_option
def export(file: Path, format_: FileFormat | None, *, escape: bool) -> None:
    """Write all quotes to FILE or standard output.

    The command quotes import can read FILE, and reverses --escape-formulas.
    """
    format_ = format_ or ("csv" if file == STANDARD_STREAM else output.file_format(file))
    if escape:
        output.require_csv(format_)
    is_replaceable, rows = output.is_replaceable(file), iterate_quotations()
    with (
        open_container(),
        click.open_file(str(file), "w", encoding="utf-8", atomic=is_replaceable) as stream,
        progress_bar(f"Writing {file.name}", catalogue_size() if file != STANDARD_STREAM else 0, rows) as bar,
    ):
        import_export.write_quotations(bar, stream, format_, escape=escape)


def _print_quotation(quotation: Quotation, *, as_json: bool) -> None:
    if as_json:
        output.print_json(quotation._asdict())
        return
    width = min(shutil.get_terminal_size().columns, 100)
    attribution = ", ".join(filter(None, ("— " + quotation.author, quotation.source)))
    print_lines(*click.wrap_text(printable(f"“{quotation.quote}”"), width).split("\n"))
    print_lines(*click.wrap_text(printable(attribution), width, "    ", "      ").split("\n"))


def _open_seekable(file: Path) -> IO[bytes]:
    """Open a file that can be read twice. Standard input is copied to a temporary file first."""
    if file != STANDARD_STREAM:
        return file.open("rb")
    copy = TemporaryFile()  # noqa: SIM115 the caller closes it
    shutil.copyfileobj(sys.stdin.buffer, copy)
    return copy


def _read_rows(raw: IO[bytes], format_: FileFormat, label: str) -> Iterator[ImportRow]:
    """Yield the rows of a file from its beginning, and show the progress in bytes."""
    size = raw.seek(0, os.SEEK_END)
    raw.seek(0)
    # Bytes that are not UTF-8 become surrogates, so that only their rows are rejected, with line numbers.
    text = TextIOWrapper(raw, encoding="utf-8-sig", errors="surrogateescape", newline="")
    with progress_bar(label, size) as bar:
        for row in import_export.read_quotations(text, format_):
            if not bar.hidden:
                bar.update(raw.tell() - bar.pos)
            yield row
    text.detach()


def _print_result(imported: ImportResult, *, as_json: bool) -> None:
    if as_json:
        invalid_rows = [{"line": line, "reason": reason} for line, reason in imported.invalid]
        result = {"new": imported.new, "known": imported.duplicates, "bad": invalid_rows, "refused": imported.refused}
        output.print_json(result, ensure_ascii=True)
        return
    for line, reason in imported.invalid:
        print_lines(f"line {line}: {reason}", err=True)
    if imported.refused:
        print_lines(
            f"Nothing was added, because of --strict: {counted(len(imported.invalid), 'invalid row')}.", err=True
        )
    else:
        print_lines(f"{imported.new} added, {imported.duplicates} already there, {len(imported.invalid)} invalid.")
