"""Copying a database into another one, such as a laptop's file into a server.

It goes table by table and batch by batch, and notes in the target how far it is, so that whoever says it again goes on
from there. In the end both are counted, and their rows compared by digests.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, cast

from peewee import CompositeKey, Database, Field, IntegrityError, Model, TextField, Tuple

from quoteapi.settings import Settings
from quoteapi.storage import database
from quoteapi.storage.database import COPYING
from quoteapi.storage.models import MODELS, Author, Category, Quote
from quoteapi.storage.models import database as bound

BATCH = database.BATCH
BEGUN = ""
"""Stands for no table, in the row that says that the target was looked at."""
FILLED = (Quote, Author, Category)
"""What a new database is filled with from the shipped catalogue."""
Progress = Callable[[int], object]
"""Is told how many rows were done since it was last told."""


class CannotCopy(Exception):
    """A copy that was refused or did not turn out the same; the message says why."""


class Copied(NamedTuple):
    """What a table of both databases has."""

    table: str
    rows: int
    digest: str
    """Of all rows, whatever their order."""


class CopiedSoFar(Model):
    """Up to where a table was copied. It is there only while a copy is under way."""

    table = TextField(primary_key=True)
    last = TextField()
    """The key of the last row, as JSON."""

    class Meta:
        database = bound
        table_name = COPYING


def rows_of(settings: Settings) -> int:
    """Answer how many rows a database has. Raises `CannotCopy`, `SettingsError`, `peewee.PeeweeException`."""
    with database.open_copy_source(settings) as opened, bound.override(opened):
        return sum(model.select().count() for model in MODELS)


def copy(source: Settings, target: Settings, progress: Progress = lambda _: None) -> list[Copied]:
    """Copy all tables, or go on with a copy that was broken off. Answer what both databases have now.

    `progress` counts each row twice: when it is copied, and when it is compared. Raises `CannotCopy`.
    """
    with database.open_copy_source(source) as ours, database.open_copy_target(target) as theirs:
        _begin(ours, theirs)
        try:
            for model in MODELS:
                _copy_table(model, ours, theirs, progress)
        except IntegrityError as error:  # a row that was copied has another key by now
            raise _begun_anew(theirs, "a row has another key by now") from error
        copied = [_compared(model, ours, theirs, progress) for model in MODELS]
        with bound.override(theirs):
            for model in MODELS:
                database.reset_sequence(model)
            database.analyze()
            CopiedSoFar.drop_table()
        return copied


def _begin(ours: Database, theirs: Database) -> None:
    """Make sure that the target is another database, with nothing of its own. Raises `CannotCopy`."""
    with bound.override(theirs):
        CopiedSoFar.create_table()
        if CopiedSoFar.select().exists():
            return
    try:
        _need_another_and_new(ours, theirs)
    except BaseException:
        with bound.override(theirs):
            CopiedSoFar.drop_table()
        raise
    with bound.override(theirs), bound.atomic():
        for model in FILLED:  # all of it comes again
            model.delete().execute()
        database.terminate_other_sessions()
        CopiedSoFar.insert(table=BEGUN, last="").execute()


def _need_another_and_new(ours: Database, theirs: Database) -> None:
    with bound.override(ours):
        if CopiedSoFar.table_exists():  # type: ignore[no-untyped-call] # however their addresses are written
            raise CannotCopy("both are the same database")
    with bound.override(theirs):
        of_their_own = [model for model in MODELS if model not in FILLED and model.select().exists()]
    if of_their_own or not _are_known(_batches(Quote, theirs), ours):
        raise CannotCopy("the target has data of its own (or a copy that was finished); name a database that is new")


def _are_known(batches: Iterable[list[dict[str, Any]]], ours: Database) -> bool:
    for batch in batches:
        prints = [row["fingerprint"] for row in batch]
        with bound.override(ours):
            if Quote.select().where(Quote.fingerprint.in_(prints)).count() < len(prints):
                return False
    return True


def _copy_table(model: type[Model], ours: Database, theirs: Database, progress: Progress) -> None:
    table = model._meta.table_name
    with bound.override(theirs):
        noted = CopiedSoFar.get_or_none(CopiedSoFar.table == table)
        progress(model.select().count())
    for batch in _batches(model, ours, json.loads(noted.last) if noted is not None else None):
        last = json.dumps([batch[-1][field.name] for field in _key(model)], default=str)
        with bound.override(theirs), bound.atomic():
            model.insert_many(batch).execute()
            CopiedSoFar.insert(table=table, last=last).on_conflict(
                conflict_target=[CopiedSoFar.table], update={CopiedSoFar.last: last}
            ).execute()
        progress(len(batch))


def _compared(model: type[Model], ours: Database, theirs: Database, progress: Progress) -> Copied:
    """Compare a table in both. Raises `CannotCopy`, after which all is copied anew."""
    here, there = _summed_up(model, ours, progress), _summed_up(model, theirs, lambda _: None)
    if here != there:
        raise _begun_anew(theirs, f"{here.table} has {here.rows} rows, and {there.rows} there, or a row is another")
    return here


def _begun_anew(theirs: Database, why: str) -> CannotCopy:
    """Empty the target, so that it can be copied to once more. Answer the error that says so."""
    with bound.override(theirs), bound.atomic():
        for table in (*reversed(MODELS), CopiedSoFar):
            table.delete().execute()
    return CannotCopy(f"{why}: somebody writes to one of the two. Stop the service, and say it again")


def _summed_up(model: type[Model], opened: Database, progress: Progress) -> Copied:
    rows = total = 0
    for batch in _batches(model, opened):
        for row in batch:
            text = json.dumps(row, default=str, sort_keys=True)
            total += int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest())
        rows += len(batch)
        progress(len(batch))
    return Copied(model._meta.table_name, rows, f"{total % 2**128:032x}")


def _batches(model: type[Model], opened: Database, last: list[Any] | None = None) -> Iterator[list[dict[str, Any]]]:
    """Answer the rows of a table in the order of its key, from one key on."""
    key = _key(model)
    while True:
        rows = model.select().order_by(*key).limit(BATCH)
        if last is not None:
            values = [field.to_value(value) for field, value in zip(key, last, strict=True)]
            rows = rows.where(Tuple(*key) > Tuple(*values))
        with bound.override(opened):
            batch: list[dict[str, Any]] = list(cast("Any", rows.dicts()))
        if batch:
            yield batch
        if len(batch) < BATCH:
            return
        last = [batch[-1][field.name] for field in key]


def _key(model: type[Model]) -> list[Field]:
    key: Any = model._meta.primary_key
    return [model._meta.fields[name] for name in key.field_names] if isinstance(key, CompositeKey) else [key]
