"""Build the bundled catalogue, `quote_database.db`, from the CSV files in the folder `catalogue`."""

import re
import sys
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from quoteapi.clock import start_of_day
from quoteapi.printable import printable
from quoteapi.quotes.import_export import BATCH_SIZE, COLUMNS, UnreadableFile, read_csv
from quoteapi.quotes.quotation import InvalidQuotation, validate_quotation
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


def read_catalogue(folder: Path = CATALOGUE) -> list[dict[str, Any]]:
    """Read and validate the catalogue. Return rows as `Quote` stores them. Raises `InvalidCatalogue`."""
    try:
        authors = _read_lines(folder / "authors.csv", AUTHOR_COLUMNS)
        lines = _read_lines(folder / "quotes.csv", CATALOGUE_COLUMNS)
    except (UnreadableFile, UnicodeDecodeError) as error:
        raise InvalidCatalogue(str(error)) from error
    # Years BC are negative.
    validator = _LineValidator({row["author"]: int(row["died"]) for _, row in authors if isinstance(row, dict)})
    errors = []
    for quote_id, (line, fields) in enumerate(lines, start=1):
        try:
            validator.add(line, fields, quote_id)
        except (InvalidQuotation, ValueError) as error:
            errors.append(f"line {line}: {error}")
    if errors:
        raise InvalidCatalogue("\n".join(errors))
    return validator.rows


def _read_lines(path: Path, columns: tuple[str, ...]) -> list[tuple[int, object]]:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        return list(read_csv(stream, columns, columns))


class _LineValidator:
    """Validates the lines of `quotes.csv` in order, each against those above it."""

    def __init__(self, years_of_death: Mapping[str, int]) -> None:
        self._years_of_death = years_of_death
        self._line_of_text: dict[str, int] = {}
        self.rows: list[dict[str, Any]] = []
        """The valid lines as `Quote` stores them."""

    def add(self, line: int, fields: object, quote_id: int) -> None:
        """Add a line to `rows`. Raises `InvalidQuotation`, or `ValueError` if a date is invalid."""
        if not isinstance(fields, dict):
            raise InvalidQuotation(str(fields))
        quotation = validate_quotation(fields)
        first_line = self._line_of_text.setdefault(comparison_key(quotation.quote), line)
        died = self._years_of_death.get(author := quotation.author)
        added = start_of_day(date.fromisoformat(fields["added"]))
        last_added = self.rows[-1]["created_at"] if self.rows else added
        problems = (
            (first_line != line, f"the same quote as in line {first_line}"),
            (quotation._asdict().items() - fields.items(), "extra white space or invisible characters"),
            (not fields["checked_in"].strip(), "checked_in is empty: name the text in which the words were found"),
            (not _YEAR.search(quotation.source), "source is empty or has no year"),
            (died is None, f"author {author!r} is not in authors.csv"),
            (
                (died or 0) > LAST_YEAR_OF_DEATH,
                f"{author} died in {died}; only authors who died by {LAST_YEAR_OF_DEATH} are accepted",
            ),
            (fields["id"] != str(quote_id), f"id must be {quote_id}, one more than on the line above"),
            (added < last_added, f"added must not be earlier than on the line above ({last_added:%Y-%m-%d})"),
        )
        if problem := next((text for is_wrong, text in problems if is_wrong), None):
            raise InvalidQuotation(problem)
        self.rows.append({"id": quote_id, **quote_row(quotation, added)})


if __name__ == "__main__":
    try:
        print(f"Built {BUNDLED_CATALOGUE.name} with {build()} quotes.")
    except InvalidCatalogue as error:
        problems = printable(str(error), keep="\n")
        sys.exit(f"The catalogue was not built. Correct {CATALOGUE.name}/quotes.csv:\n{problems}")
