"""Commands for quotes."""

import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from io import TextIOWrapper
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import click

from quoteapi import clock
from quoteapi.cli.output import (
    FORMATS,
    STANDARD_STREAM,
    count_progress,
    file_format,
    print_table,
    progress_bar,
    require_folder,
)
from quoteapi.cli.root import EXIT_FAILED, MOST, CommandFailed, as_json, main, newest_first, open_container, open_quotes
from quoteapi.quotes import import_export
from quoteapi.quotes.errors import FutureDate
from quoteapi.quotes.import_export import iterate_quotations
from quoteapi.quotes.quotation import InvalidQuotation, Quotation, validate_quotation
from quoteapi.storage.catalogue import catalogue_size, list_quotes, store_quotation
from quoteapi.storage.full_text_search import LONGEST_SEARCH, Filters


@main.command()
@click.option("--date", "day", type=click.DateTime(["%Y-%m-%d"]), help="A past date instead of today (UTC).")
@as_json
def daily(day: datetime | None, *, as_json: bool) -> None:
    """Show the quote of the day."""
    with open_quotes() as quotes:
        asked = day.date() if day is not None else clock.now().date()
        try:
            _show(quotes.quote_of_date(asked), as_json=as_json)
        except FutureDate as error:
            raise CommandFailed(
                f"The quote of {asked} is not decided yet; it will be when that day begins, at midnight UTC."
            ) from error


@main.command("random")
@click.option("--category", help="Of this category only.")
@click.option("--author", help="By this author only.")
@click.option("--max-length", type=click.IntRange(1, MOST), help="Of at most so many characters.")
@as_json
def random_quote(category: str | None, author: str | None, max_length: int | None, *, as_json: bool) -> None:
    """Show a random quote."""
    with open_quotes() as quotes:
        _show(quotes.random_quote(Filters(category, author, max_length)), as_json=as_json)


@main.group("quotes")
def quotes_() -> None:
    """List, add, import and export quotes."""


@quotes_.command("list")
@click.option("--category", help="Of this category only.")
@click.option("--author", help="By this author only.")
@click.option("--search", "words", help="With these words only, in the quote, its author or its source.")
@newest_first
@as_json
def list_(category: str | None, author: str | None, words: str | None, limit: int, *, as_json: bool) -> None:
    """List quotes, the newest first."""
    if words is not None and len(words) > LONGEST_SEARCH:
        raise click.UsageError(f"At most {LONGEST_SEARCH} characters can be searched for.")
    with open_container():
        rows = [
            (quote.id, quote.author, quote.category, quote.quote)
            for quote in list_quotes(Filters(category, author, words=words or None), limit)
        ]
    if as_json:
        keys = ("id", "author", "category", "quote")
        click.echo(json.dumps([dict(zip(keys, row, strict=True)) for row in rows], ensure_ascii=False, indent=2))
    elif rows:
        print_table(("id", "author", "category", "quote"), rows)
    else:
        click.echo("No quotes.", err=True)


@quotes_.command()
@click.argument("quote")
@click.option("--author", required=True, help="Who said it.")
@click.option("--category", required=True, help="What it is about, for example courage.")
@click.option("--source", default="", help="The work and its year, or the speech and its date.")
@as_json
def add(quote: str, author: str, category: str, source: str, *, as_json: bool) -> None:
    """Add a QUOTE."""
    try:
        quotation = validate_quotation({"quote": quote, "author": author, "category": category, "source": source})
    except InvalidQuotation as error:
        raise click.UsageError(f"{error}.") from error
    with open_container():
        quote_id, new = store_quotation(quotation, clock.now())
    if as_json:
        click.echo(json.dumps({"id": quote_id, "new": new}))
    else:
        click.echo(f"Added as quote {quote_id}." if new else f"It is there already, as quote {quote_id}.")


@quotes_.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path))
@click.option("--format", "form", type=FORMATS, help="Of the file; by default its name's ending tells.")
@click.option("--strict", is_flag=True, help="Store nothing at all if a row is bad.")
@as_json
def import_(file: Path, form: import_export.FileFormat | None, *, strict: bool, as_json: bool) -> None:
    """Add the quotes of a FILE: CSV, JSON or JSON lines; - is standard input.

    Columns are quote, author, category and, if you like, source. A quote that is there already is not added again.
    A bad row is reported with its line and skipped; then the exit code is 1.
    """
    form = form or file_format(file)
    with open_container(), _seekable(file) as raw:
        try:
            if strict and (bad := import_export.invalid_rows(_rows(raw, form, f"Checking {file.name}"))):
                imported = import_export.ImportResult(bad=bad, refused=True)
            else:
                imported = import_export.import_rows(_rows(raw, form, f"Reading {file.name}"), clock.now)
        except import_export.UnreadableFile as error:
            raise CommandFailed(f"{file}: {error}") from error
    _report(imported, as_json=as_json)
    if imported.bad:
        sys.exit(EXIT_FAILED)


@quotes_.command()
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path), default="-")
@click.option("--format", "form", type=FORMATS, help="Of the file; by default its name's ending tells, else csv.")
def export(file: Path, form: import_export.FileFormat | None) -> None:
    """Write all quotes to a FILE (by default standard output), in a form that `import` reads."""
    form = form or ("csv" if file == STANDARD_STREAM else file_format(file))
    require_folder(file)
    # Whole or not at all, except where it goes into something that is no file, such as a pipe.
    whole = not file.exists() or file.is_file()
    with (
        open_container(),
        click.open_file(str(file), "w", encoding="utf-8", atomic=whole) as stream,
        progress_bar(f"Writing {file.name}", catalogue_size() if file != STANDARD_STREAM else 0) as bar,
    ):
        import_export.write_quotations(count_progress(iterate_quotations(), bar), stream, form)


def _show(quotation: Quotation, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(quotation._asdict(), ensure_ascii=False))
        return
    width = min(shutil.get_terminal_size().columns, 100)
    click.echo(click.wrap_text(f"“{quotation.quote}”", width))
    click.echo(
        click.wrap_text(", ".join(filter(None, ("— " + quotation.author, quotation.source))), width, "    ", "      ")
    )


@contextmanager
def _seekable(file: Path) -> Iterator[IO[bytes]]:
    """Open a file to be read more than once; standard input is kept aside for that."""
    if file != STANDARD_STREAM:
        with file.open("rb") as stream:
            yield stream
        return
    with TemporaryFile() as kept:
        shutil.copyfileobj(sys.stdin.buffer, kept)
        yield kept


def _rows(raw: IO[bytes], form: import_export.FileFormat, label: str) -> Iterator[import_export.ImportRow]:
    """Read rows from the beginning, and show how far it is."""
    size = raw.seek(0, os.SEEK_END)
    raw.seek(0)
    # What is not UTF-8 becomes surrogates, which are refused row by row, with the line.
    text = TextIOWrapper(raw, encoding="utf-8-sig", errors="surrogateescape", newline="")
    with progress_bar(label, size) as bar:
        for row in import_export.read_quotations(text, form):
            if not bar.hidden:
                bar.update(raw.tell() - bar.pos)
            yield row
    text.detach()


def _report(imported: import_export.ImportResult, *, as_json: bool) -> None:
    if as_json:
        bad = [{"line": line, "reason": reason} for line, reason in imported.bad]
        click.echo(json.dumps({"new": imported.new, "known": imported.known, "bad": bad, "refused": imported.refused}))
        return
    for line, reason in imported.bad:
        click.echo(f"line {line}: {reason}", err=True)
    if imported.refused:
        click.echo(f"Nothing was added: {len(imported.bad)} bad, and --strict was asked for.", err=True)
    else:
        click.echo(f"{imported.new} added, {imported.known} there already, {len(imported.bad)} bad.")
