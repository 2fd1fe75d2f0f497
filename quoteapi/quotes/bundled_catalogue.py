"""Build the bundled catalogue, `quote_database.db`, from `catalogue/quotes.csv` and `catalogue/authors.csv`."""

import re
import sys
from collections.abc import Mapping
from datetime import date
from pathlib import Path

from quoteapi.clock import start_of_day
from quoteapi.quotes.import_export import BATCH_SIZE, COLUMNS, UnreadableFile, read_csv
from quoteapi.quotes.quotation import InvalidQuotation, Quotation, validate_quotation
from quoteapi.settings import BUNDLED_CATALOGUE, ROOT
from quoteapi.storage import database
from quoteapi.storage.catalogue import insert_quotes, quote_row
from quoteapi.storage.full_text_search import comparison_key

CATALOGUE = ROOT / "catalogue"
CATALOGUE_COLUMNS = ("id", *COLUMNS, "checked_in", "added")
AUTHOR_COLUMNS = ("author", "born", "died")
LAST_YEAR_OF_DEATH = 1929
_YEAR = re.compile(r"\b\d{3,4}\b|\bBC\b|\bcentury\b")


class InvalidCatalogue(Exception):
    """A catalogue that must not be published; the message names each line and what is wrong with it."""


def build(folder: Path = CATALOGUE, target: Path = BUNDLED_CATALOGUE) -> int:
    """Build the database file, and return how many quotes it has.

    Raises `InvalidCatalogue`, and then leaves the target unchanged.
    """
    rows = read_catalogue(folder)
    unfinished = target.with_suffix(".unfinished")
    unfinished.unlink(missing_ok=True)
    with database.create_database_file(unfinished):
        for start in range(0, len(rows), BATCH_SIZE):
            insert_quotes(rows[start : start + BATCH_SIZE])
    unfinished.replace(target)
    return len(rows)


def read_catalogue(folder: Path = CATALOGUE) -> list[dict[str, object]]:
    """Read and validate the catalogue. Return rows as `Quote` stores them. Raises `InvalidCatalogue`."""
    try:
        validator = _LineValidator(_read_years_of_death(folder / "authors.csv"))
        with (folder / "quotes.csv").open(encoding="utf-8-sig", newline="") as stream:
            lines = list(read_csv(stream, CATALOGUE_COLUMNS, CATALOGUE_COLUMNS))
    except (UnreadableFile, UnicodeDecodeError) as error:
        raise InvalidCatalogue(str(error)) from error
    rows, errors = [], []
    for line, fields in lines:
        try:
            rows.append(validator.validate(line, fields))
        except (InvalidQuotation, ValueError) as error:
            errors.append(f"line {line}: {error}")
    if errors:
        raise InvalidCatalogue("\n".join(errors))
    return rows


def _read_years_of_death(path: Path) -> dict[str, int]:
    """Return the year of death of each author; years BC are negative."""
    with path.open(encoding="utf-8-sig", newline="") as stream:
        rows = [fields for _, fields in read_csv(stream, AUTHOR_COLUMNS, AUTHOR_COLUMNS) if isinstance(fields, dict)]
    return {fields["author"]: int(fields["died"]) for fields in rows}


class _LineValidator:
    """Validates the lines of `quotes.csv` in order, each against those above it."""

    def __init__(self, years_of_death: Mapping[str, int]) -> None:
        self._years_of_death = years_of_death
        self._line_of_text: dict[str, int] = {}
        self._last_id = 0
        self._last_added = date.min

    def validate(self, line: int, fields: object) -> dict[str, object]:
        """Return the row to store. Raises `InvalidQuotation` or, for a date, `ValueError`."""
        if not isinstance(fields, dict):
            raise InvalidQuotation(str(fields))
        quotation = validate_quotation(fields)
        first_line = self._line_of_text.setdefault(comparison_key(quotation.quote), line)
        if first_line != line:
            raise InvalidQuotation(f"the same quote as line {first_line}")
        if any(fields[name] != value for name, value in quotation._asdict().items()):
            raise InvalidQuotation("white space to even out, or invisible characters")
        if not fields["checked_in"].strip():
            raise InvalidQuotation("checked_in is empty: name the text in which the words were found")
        self._validate_origin(quotation)
        quote_id, added = self._validate_order(fields["id"], fields["added"])
        return {"id": quote_id, **quote_row(quotation, start_of_day(added))}

    def _validate_origin(self, quotation: Quotation) -> None:
        if not _YEAR.search(quotation.source):
            raise InvalidQuotation("source is empty or has no year")
        died = self._years_of_death.get(quotation.author)
        if died is None:
            raise InvalidQuotation(f"author {quotation.author!r} is not in authors.csv")
        if died > LAST_YEAR_OF_DEATH:
            raise InvalidQuotation(f"{quotation.author} died in {died}, not before {LAST_YEAR_OF_DEATH + 1}")

    def _validate_order(self, quote_id: str, added_on: str) -> tuple[int, date]:
        if quote_id != str(self._last_id + 1):
            raise InvalidQuotation(f"id must be {self._last_id + 1}, one more than on the line above")
        self._last_id += 1
        added = date.fromisoformat(added_on)
        if added < self._last_added:
            raise InvalidQuotation(f"added must not be earlier than on the line above ({self._last_added})")
        self._last_added = added
        return self._last_id, added


if __name__ == "__main__":
    try:
        print(f"{build()} quotes in {BUNDLED_CATALOGUE.name}")
    except InvalidCatalogue as error:
        sys.exit(f"The catalogue was not built. In {CATALOGUE.name}/quotes.csv:\n{error}")
