"""Build the bundled catalogue from `catalogue/quotes.csv`."""

import re
import sys
from collections.abc import Mapping
from datetime import date
from pathlib import Path

from quoteapi.clock import start_of_day
from quoteapi.quotes.import_export import BATCH, COLUMNS, UnreadableFile, _read_csv
from quoteapi.quotes.quotation import InvalidQuotation, Quotation, validate_quotation
from quoteapi.settings import BUNDLED_CATALOGUE, ROOT
from quoteapi.storage import database
from quoteapi.storage.catalogue import insert_quotes, quote_row
from quoteapi.storage.full_text_search import comparison_key

CATALOGUE = ROOT / "catalogue"
CATALOGUE_COLUMNS = ("id", *COLUMNS, "checked_in", "added")
LAST_YEAR_OF_DEATH = 1929
_YEAR = re.compile(r"\b\d{3,4}\b|\bBC\b|\bcentury\b")


class InvalidCatalogue(Exception):
    """A catalogue that must not be shipped; the message names each line and what is wrong with it."""


def build(folder: Path = CATALOGUE, target: Path = BUNDLED_CATALOGUE) -> int:
    """Build the shipped database from `quotes.csv` and `authors.csv`. Answer how many quotes it has.

    Raises `InvalidCatalogue`, and leaves the target as it was.
    """
    rows = read_catalogue(folder)
    unfinished = target.with_suffix(".unfinished")
    unfinished.unlink(missing_ok=True)
    with database.create_database_file(unfinished):
        for start in range(0, len(rows), BATCH):
            insert_quotes(rows[start : start + BATCH])
    unfinished.replace(target)
    return len(rows)


def read_catalogue(folder: Path = CATALOGUE) -> list[dict[str, object]]:
    """Read and check the catalogue's files. Answer rows as `Quote` stores them. Raises `InvalidCatalogue`."""
    try:
        authors = _read_authors(folder / "authors.csv")
        with (folder / "quotes.csv").open(encoding="utf-8-sig", newline="") as stream:
            lines = list(_read_csv(stream, CATALOGUE_COLUMNS, CATALOGUE_COLUMNS))
    except (UnreadableFile, UnicodeDecodeError) as error:
        raise InvalidCatalogue(str(error)) from error
    checker = _Checker(authors)
    rows = [row for line, fields in lines if (row := checker.row(line, fields)) is not None]
    if checker.faults:
        raise InvalidCatalogue("\n".join(checker.faults))
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
        except (InvalidQuotation, ValueError) as error:
            self.faults.append(f"line {line}: {error}")
            return None

    def _row(self, line: int, fields: object) -> dict[str, object]:
        if not isinstance(fields, dict):
            raise InvalidQuotation(str(fields))
        quotation = validate_quotation(fields)
        twin = self._line_of_text.setdefault(comparison_key(quotation.quote), line)
        if twin != line:
            raise InvalidQuotation(f"the same quote as line {twin}")
        if any(fields[name] != value for name, value in quotation._asdict().items()):
            raise InvalidQuotation("white space to even out, or invisible characters")
        if not fields["checked_in"].strip():
            raise InvalidQuotation("checked_in is empty: name the text in which the words were found")
        self._check_truth(quotation)
        return {
            "id": self._next_id(fields["id"]),
            **quote_row(quotation, start_of_day(self._next_added(fields["added"]))),
        }

    def _check_truth(self, quotation: Quotation) -> None:
        if not _YEAR.search(quotation.source):
            raise InvalidQuotation("source is empty or has no year")
        died = self._authors.get(quotation.author)
        if died is None:
            raise InvalidQuotation(f"author {quotation.author!r} is not in authors.csv")
        if died > LAST_YEAR_OF_DEATH:
            raise InvalidQuotation(f"{quotation.author} died in {died}, not before {LAST_YEAR_OF_DEATH + 1}")

    def _next_id(self, text: str) -> int:
        if text != str(self._last_id + 1):
            raise InvalidQuotation(f"id must be {self._last_id + 1}, one more than on the line above")
        self._last_id += 1
        return self._last_id

    def _next_added(self, text: str) -> date:
        added = date.fromisoformat(text)
        if added < self._last_added:
            raise InvalidQuotation(f"added must not be earlier than on the line above ({self._last_added})")
        self._last_added = added
        return added


def _main() -> int:
    try:
        print(f"{build()} quotes in {BUNDLED_CATALOGUE.name}")
    except InvalidCatalogue as error:
        print(f"The catalogue was not built. In {CATALOGUE.name}/quotes.csv:\n{error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_main())
