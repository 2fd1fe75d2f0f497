"""Commands for quotes."""

import os
import shutil
import sys
from collections.abc import Iterator
from datetime import datetime
from io import TextIOWrapper
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import click

from quoteapi import clock
from quoteapi.cli import output
from quoteapi.cli.output import FORMATS, STANDARD_STREAM, print_lines, progress_bar
from quoteapi.cli.root import EXIT_FAILED, POSITIVE_INTEGER, json_option, limit_option, main, open_container
from quoteapi.printable import printable
from quoteapi.quotes import import_export
from quoteapi.quotes.errors import FutureDate
from quoteapi.quotes.import_export import FileFormat, ImportResult, ImportRow
from quoteapi.quotes.quotation import InvalidQuotation, Quotation, validate_quotation
from quoteapi.spelling import ask
from quoteapi.storage.catalogue import catalogue_size, iterate_quotations, list_quotes, store_quotation
from quoteapi.storage.full_text_search import Filters, search_error
from quoteapi.storage.name_suggestions import suggest_names

_LISTED_COLUMNS = ("id", "author", "category", "quote")
_category = click.option("--category", help="Of this category only.")
_author = click.option("--author", help="By this author only.")


@main.command()
@click.option("--date", "day", type=click.DateTime(["%Y-%m-%d"]), help="A past date instead of today (UTC).")
@json_option
def daily(day: datetime | None, *, as_json: bool) -> None:
    """Show the quote of the day."""
    date = (day or clock.now()).date()
    with open_container() as container:
        try:
            _print_quotation(container.quotes.quote_of_date(date), as_json=as_json)
        except FutureDate as error:
            message = f"The quote of {date} is not decided yet; it will be when that day begins, at midnight UTC."
            raise click.ClickException(message) from error


@main.command("random")
@_category
@_author
@click.option("--max-length", type=POSITIVE_INTEGER, help="Of at most so many characters.")
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
@click.option("--search", "words", help="With these words only, in the quote, its author or its source.")
@limit_option
@json_option
def list_(category: str | None, author: str | None, words: str | None, limit: int, *, as_json: bool) -> None:
    """List quotes, the newest first."""
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
        print_lines(" ".join(["No quotes.", *questions]), err=True)


@quotes_.command()
@click.argument("quote")
@click.option("--author", required=True, help="Who said it.")
@click.option("--category", required=True, help="What it is about, for example courage.")
@click.option("--source", default="", help="The work and its year, or the speech and its date.")
@json_option
def add(quote: str, author: str, category: str, source: str, *, as_json: bool) -> None:
    """Add a QUOTE."""
    try:
        quotation = validate_quotation({"quote": quote, "author": author, "category": category, "source": source})
    except InvalidQuotation as error:
        raise click.UsageError(f"{error}.") from error
    with open_container(may_create=True):
        quote_id, new = store_quotation(quotation, clock.now())
    if as_json:
        output.print_json({"id": quote_id, "new": new})
    else:
        print_lines(f"Added as quote {quote_id}." if new else f"It is there already, as quote {quote_id}.")


@quotes_.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path))
@click.option("--format", "format_", type=FORMATS, help="Of the file; by default its name's ending tells.")
@click.option("--strict", is_flag=True, help="Store nothing at all if a row is bad.")
@json_option
def import_(file: Path, format_: FileFormat | None, *, strict: bool, as_json: bool) -> None:
    """Add the quotes of a FILE: CSV, JSON or JSON lines; - is standard input.

    Columns are quote, author, category and, if you like, source. A quote that is there already is not added again.
    A bad row is reported with its line and skipped; then the exit code is 1.
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
@click.option("--format", "format_", type=FORMATS, help="Of the file; by default its name's ending tells, else csv.")
@output.escape_option
def export(file: Path, format_: FileFormat | None, *, escape: bool) -> None:
    """Write all quotes to a FILE (by default standard output), in a form that `import` reads.

    With --escape-formulas too: a column says so, and `import` takes the apostrophes out again.
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
        print_lines(f"Nothing was added: {len(imported.invalid)} bad, and --strict was asked for.", err=True)
    else:
        print_lines(f"{imported.new} added, {imported.duplicates} there already, {len(imported.invalid)} bad.")
