"""Import and export of quotes as CSV, JSON and JSON lines."""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import IO, Literal

from quoteapi.clock import Clock
from quoteapi.quotes.csv_formulas import escape_formulas, unescape_formulas
from quoteapi.quotes.quotation import InvalidQuotation, Quotation, validate_quotation
from quoteapi.storage.catalogue import store_quotations

FileFormat = Literal["csv", "json", "jsonl"]
REQUIRED_COLUMNS = ("quote", "author", "category")
COLUMNS = (*REQUIRED_COLUMNS, "source")
FORMULAS_COLUMN, ESCAPED = "formulas", "escaped"
"""A column, and its value in rows whose cells have escaped formulas, so that an import restores them."""
KNOWN_COLUMNS = (*COLUMNS, FORMULAS_COLUMN, "id", "checked_in", "added")
"""`id`, `checked_in` and `added` are allowed but ignored, so that `catalogue/quotes.csv` can be imported."""
BATCH_SIZE = 500
MAX_NAME_LENGTH = 40
"""How many characters of an unknown column or key a message shows."""
MAX_LISTED_NAMES = 10
ImportRow = tuple[int, Quotation | InvalidQuotation]
"""The line number of a row, and its quotation or the error."""


class UnreadableFile(Exception):
    """A file has an invalid format or wrong columns; the message says which."""


@dataclass(slots=True)
class ImportResult:
    """The result of an import: numbers of rows, and the invalid ones."""

    new: int = 0
    duplicates: int = 0
    invalid: list[tuple[int, str]] = field(default_factory=list)
    """The line number and the reason of each invalid row."""
    refused: bool = False
    """Whether nothing was stored because a row is invalid."""


def read_quotations(stream: IO[str], form: FileFormat) -> Iterator[ImportRow]:
    """Yield the rows of a file, invalid ones too.

    In JSON, the line number is the element's position in the array, from 1. Raises `UnreadableFile` if the file as a
    whole cannot be read.
    """
    readers = {"csv": read_csv, "json": _read_json, "jsonl": _read_json_lines}
    for line, fields in readers[form](stream):
        try:
            yield line, _validate_fields(fields)
        except InvalidQuotation as error:
            yield line, error


def write_quotations(
    quotations: Iterable[Quotation], stream: IO[str], form: FileFormat, *, escape: bool = False
) -> None:
    """Write quotations in a format that `read_quotations` reads, without collecting them in memory.

    With `escape`, write CSV that is safe to open in a spreadsheet.
    """
    if escape:
        _write_escaped(quotations, stream)
    elif form == "csv":
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(quotations)
    elif form == "jsonl":
        stream.writelines(f"{_to_json(quotation)}\n" for quotation in quotations)
    else:
        separator = "[\n"
        for quotation in quotations:
            stream.write(separator + _to_json(quotation))
            separator = ",\n"
        stream.write("[]\n" if separator == "[\n" else "\n]\n")


def _write_escaped(quotations: Iterable[Quotation], stream: IO[str]) -> None:
    # In quotation marks, a spreadsheet that separates cells at semicolons too finds the right ones.
    writer = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerow((*COLUMNS, FORMULAS_COLUMN))
    writer.writerows((*map(escape_formulas, quotation), ESCAPED) for quotation in quotations)


def import_rows(rows: Iterable[ImportRow], clock: Clock) -> ImportResult:
    """Store the valid rows, in batches so that other writers can write between them."""
    result = ImportResult()
    rows = iter(rows)
    while batch := list(islice(rows, BATCH_SIZE)):
        result.invalid += invalid_rows(batch)
        quotations = [quotation for _, quotation in batch if isinstance(quotation, Quotation)]
        new = store_quotations(quotations, clock())
        result.new += new
        result.duplicates += len(quotations) - new
    return result


def invalid_rows(rows: Iterable[ImportRow]) -> list[tuple[int, str]]:
    """Return the line number and the reason of each invalid row."""
    return [(line, str(reason)) for line, reason in rows if isinstance(reason, InvalidQuotation)]


def _to_json(quotation: Quotation) -> str:
    return json.dumps(quotation._asdict(), ensure_ascii=False)


def _validate_fields(fields: object) -> Quotation:
    if isinstance(fields, InvalidQuotation):
        raise fields
    if not isinstance(fields, Mapping):
        raise InvalidQuotation("not an object with quote, author and category")
    if unknown := sorted(str(name) for name in fields if name not in KNOWN_COLUMNS):
        raise InvalidQuotation(f"unknown names: {_list_names(unknown)}; use {', '.join(COLUMNS)}")
    if (state := fields.get(FORMULAS_COLUMN) or ESCAPED) != ESCAPED:
        raise InvalidQuotation(f"{FORMULAS_COLUMN} must be {ESCAPED} or empty, not {state!r}")
    if fields.get(FORMULAS_COLUMN):
        fields = {name: unescape_formulas(cell) if isinstance(cell, str) else cell for name, cell in fields.items()}
    return validate_quotation(fields)


def _list_names(names: list[str]) -> str:
    """Return the beginnings of the first names: a file that is no text may have long and many ones."""
    shown = [
        name if len(name) <= MAX_NAME_LENGTH else f"{name[:MAX_NAME_LENGTH]}…" for name in names[:MAX_LISTED_NAMES]
    ]
    return ", ".join(shown + ["…"] * (len(names) > len(shown)))


def read_csv(
    stream: IO[str], required: tuple[str, ...] = REQUIRED_COLUMNS, known: tuple[str, ...] = KNOWN_COLUMNS
) -> Iterator[tuple[int, object]]:
    """Yield each row's first line number, and its fields or `InvalidQuotation`. Raises `UnreadableFile`."""
    reader = csv.reader(stream, strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
    except csv.Error as error:
        raise UnreadableFile(f"line 1: {error}") from error
    if unknown := [name for name in header if name not in known]:
        raise UnreadableFile(f"line 1: unknown columns: {_list_names(unknown)}; use {', '.join(known)}")
    if missing := [name for name in required if name not in header]:
        raise UnreadableFile(f"line 1: missing columns: {', '.join(missing)}")
    if len(set(header)) < len(header):
        raise UnreadableFile("line 1: a column appears twice")
    while True:
        line = reader.line_num + 1
        try:
            values = next(reader, None)
        except csv.Error as error:
            yield line, InvalidQuotation(str(error))
            continue
        if values is None:
            return
        if len(values) == len(header):
            yield line, dict(zip(header, values, strict=True))
        elif values:
            yield line, InvalidQuotation(f"{len(values)} fields, but the first line has {len(header)}")


def _read_json(stream: IO[str]) -> Iterator[tuple[int, object]]:
    try:
        parsed = json.load(stream)
    except (ValueError, RecursionError) as error:
        raise UnreadableFile(f"not valid JSON: {error}") from error
    yield from enumerate(parsed if isinstance(parsed, list) else [parsed], start=1)


def _read_json_lines(stream: IO[str]) -> Iterator[tuple[int, object]]:
    for line, text in enumerate(stream, start=1):
        if text.strip():
            try:
                yield line, json.loads(text)
            except (ValueError, RecursionError) as error:
                yield line, InvalidQuotation(f"not valid JSON: {error}")
