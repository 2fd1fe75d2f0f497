"""Quotes as files: reading and writing CSV, JSON and JSON lines, and building the shipped catalogue."""

import csv
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from itertools import islice
from pathlib import Path
from typing import IO, Literal, NamedTuple

from quoteapi import database
from quoteapi.clock import Clock, midnight
from quoteapi.config import ROOT, SHIPPED_DATABASE
from quoteapi.quotes import InvalidQuote, Quotation, insert_all, keep_all, row_of, valid_quotation
from quoteapi.search import comparable

Format = Literal["csv", "json", "jsonl"]

REQUIRED = ("quote", "author", "category")
COLUMNS = (*REQUIRED, "source")
IGNORED = ("id", "checked_in", "added")
"""What an import does not read but does not refuse either, so that the catalogue's own file can be imported."""
CATALOGUE = ROOT / "catalogue"
CATALOGUE_COLUMNS = ("id", *COLUMNS, "checked_in", "added")
LAST_YEAR_OF_DEATH = 1929
BATCH = 500

_YEAR = re.compile(r"\b\d{3,4}\b|\bBC\b|\bcentury\b")


class UnreadableFile(Exception):
    """A file that is not of its format, or whose columns are others; the message says which."""


class Row(NamedTuple):
    """What a line of a file holds: a quotation, or why it is none."""

    line: int
    quotation: Quotation | InvalidQuote


@dataclass(slots=True)
class Imported:
    """What became of the rows of a file."""

    new: int = 0
    known: int = 0
    bad: list[tuple[int, str]] = field(default_factory=list)
    """Line and reason."""
    refused: bool = False
    """Whether nothing was stored because something was bad."""


# ---- reading and writing


def read_quotations(stream: IO[str], form: Format) -> Iterator[Row]:
    """Read quotations one by one; a bad one does not stop the others. Of JSON, elements are counted, not lines.

    Raises `UnreadableFile` where the file as a whole cannot be understood.
    """
    readers = {"csv": _read_csv, "json": _read_json, "jsonl": _read_json_lines}
    for line, fields in readers[form](stream):
        try:
            yield Row(line, _quotation(fields))
        except InvalidQuote as error:
            yield Row(line, error)


def write_quotations(quotations: Iterable[Quotation], stream: IO[str], form: Format) -> None:
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


def import_rows(rows: Iterable[Row], clock: Clock) -> Imported:
    """Store what is good of `rows`, a batch at a time, so that no other writer waits long."""
    imported = Imported()
    rows = iter(rows)
    while batch := list(islice(rows, BATCH)):
        imported.bad += bad_rows(batch)
        good = [row.quotation for row in batch if isinstance(row.quotation, Quotation)]
        new = keep_all(good, clock())
        imported.new += new
        imported.known += len(good) - new
    return imported


def bad_rows(rows: Iterable[Row]) -> list[tuple[int, str]]:
    """Answer line and reason of the rows that hold no quotation."""
    return [(row.line, str(row.quotation)) for row in rows if isinstance(row.quotation, InvalidQuote)]


def _json(quotation: Quotation) -> str:
    return json.dumps(quotation._asdict(), ensure_ascii=False)


def _quotation(fields: object) -> Quotation:
    if isinstance(fields, InvalidQuote):
        raise fields
    if not isinstance(fields, Mapping):
        raise InvalidQuote("not an object with quote, author and category")
    if unknown := sorted(str(name) for name in fields if name not in COLUMNS + IGNORED):
        raise InvalidQuote(f"unknown: {', '.join(unknown)}; known are {', '.join(COLUMNS)}")
    return valid_quotation(fields)


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
            yield line, InvalidQuote(str(error))
            continue
        if len(values) == len(header):
            yield line, dict(zip(header, values, strict=True))
        elif values:
            yield line, InvalidQuote(f"{len(values)} fields, where the first line has {len(header)}")


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
                yield line, InvalidQuote(f"not JSON: {error}")


# ---- the shipped catalogue


class FaultyCatalogue(Exception):
    """A catalogue that must not be shipped; the message names each line and what is wrong with it."""


def build(folder: Path = CATALOGUE, target: Path = SHIPPED_DATABASE) -> int:
    """Build the shipped database from `quotes.csv` and `authors.csv`. Answer how many quotes it has.

    Raises `FaultyCatalogue`, and leaves the target as it was.
    """
    rows = read_catalogue(folder)
    unfinished = target.with_suffix(".unfinished")
    unfinished.unlink(missing_ok=True)
    with database.made(unfinished):
        for start in range(0, len(rows), BATCH):
            insert_all(rows[start : start + BATCH])
    unfinished.replace(target)
    return len(rows)


def read_catalogue(folder: Path = CATALOGUE) -> list[dict[str, object]]:
    """Read and check the catalogue's files. Answer rows as `Quote` stores them. Raises `FaultyCatalogue`."""
    try:
        authors = _read_authors(folder / "authors.csv")
        with (folder / "quotes.csv").open(encoding="utf-8-sig", newline="") as stream:
            lines = list(_read_csv(stream, CATALOGUE_COLUMNS, CATALOGUE_COLUMNS))
    except (UnreadableFile, UnicodeDecodeError) as error:
        raise FaultyCatalogue(str(error)) from error
    checker = _Checker(authors)
    rows = [row for line, fields in lines if (row := checker.row(line, fields)) is not None]
    if checker.faults:
        raise FaultyCatalogue("\n".join(checker.faults))
    return rows


def _read_authors(path: Path) -> dict[str, int]:
    """Answer the year of death of each author; before Christ it is negative."""
    columns = ("author", "born", "died")
    with path.open(encoding="utf-8-sig", newline="") as stream:
        rows = [fields for _, fields in _read_csv(stream, columns, columns) if isinstance(fields, dict)]
    return {fields["author"]: int(fields["died"]) for fields in rows}


class _Checker:
    """Checks the catalogue line by line, and remembers what a later line may clash with."""

    def __init__(self, authors: Mapping[str, int]) -> None:
        self.faults: list[str] = []
        self._authors = authors
        self._line_of_text: dict[str, int] = {}
        self._last_id = 0
        self._last_added = date.min

    def row(self, line: int, fields: object) -> dict[str, object] | None:
        """Answer the row to store; None, with the fault noted, where something is wrong with the line."""
        try:
            return self._row(line, fields)
        except (InvalidQuote, ValueError) as error:
            self.faults.append(f"line {line}: {error}")
            return None

    def _row(self, line: int, fields: object) -> dict[str, object]:
        if not isinstance(fields, dict):
            raise InvalidQuote(str(fields))
        quotation = valid_quotation(fields)
        twin = self._line_of_text.setdefault(comparable(quotation.quote), line)
        if twin != line:
            raise InvalidQuote(f"the same quote as line {twin}")
        if any(fields[name] != value for name, value in quotation._asdict().items()):
            raise InvalidQuote("white space to even out, or invisible characters")
        if not fields["checked_in"].strip():
            raise InvalidQuote("checked_in is empty: name the text in which the words were found")
        self._check_truth(quotation)
        return {
            "id": self._next_id(fields["id"]),
            **row_of(quotation, midnight(self._next_added(fields["added"]))),
        }

    def _check_truth(self, quotation: Quotation) -> None:
        if not _YEAR.search(quotation.source):
            raise InvalidQuote("source is empty or has no year")
        died = self._authors.get(quotation.author)
        if died is None:
            raise InvalidQuote(f"author {quotation.author!r} is not in authors.csv")
        if died > LAST_YEAR_OF_DEATH:
            raise InvalidQuote(f"{quotation.author} died in {died}, not before {LAST_YEAR_OF_DEATH + 1}")

    def _next_id(self, text: str) -> int:
        if text != str(self._last_id + 1):
            raise InvalidQuote(f"id must be {self._last_id + 1}, one more than on the line above")
        self._last_id += 1
        return self._last_id

    def _next_added(self, text: str) -> date:
        added = date.fromisoformat(text)
        if added < self._last_added:
            raise InvalidQuote(f"added must not be earlier than on the line above ({self._last_added})")
        self._last_added = added
        return added


def _main() -> int:
    try:
        print(f"{build()} quotes in {SHIPPED_DATABASE.name}")
    except FaultyCatalogue as error:
        print(f"The catalogue was not built. In {CATALOGUE.name}/quotes.csv:\n{error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_main())
