"""Quotes as files: reading and writing CSV, JSON and JSON lines."""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import IO, Literal, NamedTuple

from quoteapi.clock import Clock
from quoteapi.quotes.quotation import (
    QUOTATION_COLUMNS,
    InvalidQuotation,
    Quotation,
    quotation_from_row,
    validate_quotation,
)
from quoteapi.storage.catalogue import store_quotations
from quoteapi.storage.database import iterate_in_batches
from quoteapi.storage.models import Quote

FileFormat = Literal["csv", "json", "jsonl"]
REQUIRED = ("quote", "author", "category")
COLUMNS = (*REQUIRED, "source")
IGNORED = ("id", "checked_in", "added")
"""What an import does not read but does not refuse either, so that the catalogue's own file can be imported."""
BATCH = 500


class UnreadableFile(Exception):
    """A file that is not of its format, or whose columns are others; the message says which."""


class ImportRow(NamedTuple):
    """What a line of a file holds: a quotation, or why it is none."""

    line: int
    quotation: Quotation | InvalidQuotation


@dataclass(slots=True)
class ImportResult:
    """What became of the rows of a file."""

    new: int = 0
    known: int = 0
    bad: list[tuple[int, str]] = field(default_factory=list)
    """Line and reason."""
    refused: bool = False
    """Whether nothing was stored because something was bad."""


def read_quotations(stream: IO[str], form: FileFormat) -> Iterator[ImportRow]:
    """Read quotations one by one; a bad one does not stop the others. Of JSON, elements are counted, not lines.

    Raises `UnreadableFile` where the file as a whole cannot be understood.
    """
    readers = {"csv": _read_csv, "json": _read_json, "jsonl": _read_json_lines}
    for line, fields in readers[form](stream):
        try:
            yield ImportRow(line, _quotation(fields))
        except InvalidQuotation as error:
            yield ImportRow(line, error)


def write_quotations(quotations: Iterable[Quotation], stream: IO[str], form: FileFormat) -> None:
    """Write quotations one by one, in a form that `read_quotations` reads."""
    if form == "csv":
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(quotations)
    elif form == "jsonl":
        stream.writelines(f"{_json(quotation)}\n" for quotation in quotations)
    else:
        before = "[\n"
        for quotation in quotations:
            stream.write(before + _json(quotation))
            before = ",\n"
        stream.write("[]\n" if before == "[\n" else "\n]\n")


def import_rows(rows: Iterable[ImportRow], clock: Clock) -> ImportResult:
    """Store what is good of `rows`, a batch at a time, so that no other writer waits long."""
    imported = ImportResult()
    rows = iter(rows)
    while batch := list(islice(rows, BATCH)):
        imported.bad += invalid_rows(batch)
        good = [row.quotation for row in batch if isinstance(row.quotation, Quotation)]
        new = store_quotations(good, clock())
        imported.new += new
        imported.known += len(good) - new
    return imported


def invalid_rows(rows: Iterable[ImportRow]) -> list[tuple[int, str]]:
    """Answer line and reason of the rows that hold no quotation."""
    return [(row.line, str(row.quotation)) for row in rows if isinstance(row.quotation, InvalidQuotation)]


def _json(quotation: Quotation) -> str:
    return json.dumps(quotation._asdict(), ensure_ascii=False)


def _quotation(fields: object) -> Quotation:
    if isinstance(fields, InvalidQuotation):
        raise fields
    if not isinstance(fields, Mapping):
        raise InvalidQuotation("not an object with quote, author and category")
    if unknown := sorted(str(name) for name in fields if name not in COLUMNS + IGNORED):
        raise InvalidQuotation(f"unknown: {', '.join(unknown)}; known are {', '.join(COLUMNS)}")
    return validate_quotation(fields)


def _read_csv(
    stream: IO[str], required: tuple[str, ...] = REQUIRED, known: tuple[str, ...] = COLUMNS + IGNORED
) -> Iterator[tuple[int, object]]:
    reader = csv.reader(stream, strict=True)
    header = [name.strip() for name in next(reader, [])]
    if unknown := [name for name in header if name not in known]:
        raise UnreadableFile(f"line 1: unknown columns: {', '.join(unknown)}; known are {', '.join(known)}")
    if missing := [name for name in required if name not in header]:
        raise UnreadableFile(f"line 1: missing columns: {', '.join(missing)}")
    if len(set(header)) < len(header):
        raise UnreadableFile("line 1: a column comes twice")
    while True:
        line = reader.line_num + 1
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield line, InvalidQuotation(str(error))
            continue
        if len(values) == len(header):
            yield line, dict(zip(header, values, strict=True))
        elif values:
            yield line, InvalidQuotation(f"{len(values)} fields, where the first line has {len(header)}")


def _read_json(stream: IO[str]) -> Iterator[tuple[int, object]]:
    try:
        parsed = json.load(stream)
    except (ValueError, RecursionError) as error:
        raise UnreadableFile(f"this is not JSON: {error}") from error
    yield from enumerate(parsed if isinstance(parsed, list) else [parsed], start=1)


def _read_json_lines(stream: IO[str]) -> Iterator[tuple[int, object]]:
    for line, text in enumerate(stream, start=1):
        if text.strip():
            try:
                yield line, json.loads(text)
            except (ValueError, RecursionError) as error:
                yield line, InvalidQuotation(f"not JSON: {error}")


def iterate_quotations() -> Iterator[Quotation]:
    """Answer every quote in order, one by one and in constant memory."""
    for row in iterate_in_batches(Quote.select(Quote.id, *QUOTATION_COLUMNS), Quote.id):
        yield quotation_from_row(row)
