"""Full-text search of quotes, and how many quotes each author and category has."""

import unicodedata
from hashlib import blake2b
from typing import Any

from peewee import SQL, CharField, IntegerField, Model, SqliteDatabase, TextField, fn

BATCH_SIZE = 500


def up(migrator: object, db: Any) -> None:  # noqa: ANN401
    """Add the search tokens of each quote, their index, and the counts."""
    is_sqlite = isinstance(db, SqliteDatabase)

    class Quote(Model):
        id = IntegerField(primary_key=True)
        quote = TextField()
        author = CharField()
        category = CharField()
        source = CharField()
        author_key = TextField()
        category_key = TextField()
        words = TextField()

    class Counted(Model):
        key = TextField(primary_key=True, collation="BINARY" if is_sqlite else '"C"')  # the order of code points
        name = CharField()
        quotes = IntegerField()

    class Author(Counted):
        pass

    class Category(Counted):
        pass

    db.bind([Quote, Author, Category])
    db.execute_sql("ALTER TABLE quote ADD COLUMN words TEXT NOT NULL DEFAULT ''")
    last_id = 0
    while rows := list(Quote.select().where(Quote.id > last_id).order_by(Quote.id).limit(BATCH_SIZE)):
        for row in rows:
            row.words = search_tokens(row)
        Quote.bulk_update(rows, [Quote.words])  # type: ignore[no-untyped-call]
        last_id = rows[-1].id

    db.create_tables([Author, Category])
    for table, key, name in ((Author, Quote.author_key, Quote.author), (Category, Quote.category_key, Quote.category)):
        counts = Quote.select(key, fn.MIN(name), fn.COUNT(SQL("*"))).group_by(key)
        table.insert_from(counts, [table.key, table.name, table.quotes]).execute()

    db.execute_sql('DROP INDEX "quote_length"')  # the index of tokens includes lengths
    for statement in ON_SQLITE if is_sqlite else ON_POSTGRESQL:
        db.execute_sql(statement)


def search_tokens(quote: Any) -> str:  # noqa: ANN401
    """Return the tokens that a quote is found by, as they were when this migration was written."""
    tokens: list[str] = []
    for text in (quote.quote, quote.author, quote.source):
        tokens += [*(word[:60] for word in tokenize(text)), "="]
    tokens += [name_token("a", quote.author), name_token("c", quote.category)]
    return " ".join([*tokens, *(f"{level}={len(quote.quote) >> level}" for level in range(7))])


def tokenize(text: str) -> list[str]:
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold())
    return "".join(map(fold, decomposed)).split()


def fold(character: str) -> str:
    """Keep letters, digits and marks such as vowel signs; drop accents and invisible characters."""
    if character.isalnum():
        return character
    kind, accent = unicodedata.category(character), unicodedata.combining(character)
    is_variation_selector = "\ufe00" <= character <= "\ufe0f" or "\U000e0100" <= character <= "\U000e01ef"
    if kind in {"Cf", "Me"} or is_variation_selector or accent == 1 or accent >= 10:  # noqa: PLR2004
        return ""
    return character if kind[0] == "M" else " "


def name_token(kind: str, name: str) -> str:
    key = "".join(tokenize(name))
    return f"{kind}={key if len(key) <= 60 else f'{key[:60]}={blake2b(key.encode(), digest_size=8).hexdigest()}'}"  # noqa: PLR2004


# A token ends only at a space. FTS5's ASCII tokenizer takes all characters beyond ASCII as letters; no word has "=".
ON_SQLITE = (
    "CREATE VIRTUAL TABLE quote_search"
    """ USING fts5(words, content='quote', content_rowid='id', tokenize="ascii tokenchars '='")""",
    "INSERT INTO quote_search (quote_search) VALUES ('rebuild')",
    "CREATE TRIGGER quote_search_added AFTER INSERT ON quote BEGIN"
    " INSERT INTO quote_search (rowid, words) VALUES (NEW.id, NEW.words); END",
    "CREATE TRIGGER quote_search_removed AFTER DELETE ON quote BEGIN"
    " INSERT INTO quote_search (quote_search, rowid, words) VALUES ('delete', OLD.id, OLD.words); END",
    "CREATE TRIGGER quote_search_changed AFTER UPDATE OF words ON quote BEGIN"
    " INSERT INTO quote_search (quote_search, rowid, words) VALUES ('delete', OLD.id, OLD.words);"
    " INSERT INTO quote_search (rowid, words) VALUES (NEW.id, NEW.words); END",
)

# PostgreSQL's own parser would split the words differently, and not the same under each locale.
ON_POSTGRESQL = (
    "CREATE FUNCTION quote_search(words text) RETURNS tsvector LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$"
    " SELECT string_agg(quote_literal(word) || ':' || place, ' ')::tsvector"
    " FROM unnest(string_to_array(words, ' ')) WITH ORDINALITY AS token(word, place) $$",
    "ALTER TABLE quote ADD COLUMN search tsvector GENERATED ALWAYS AS (quote_search(words)) STORED",
    "CREATE INDEX quote_search ON quote USING gin (search)",
    # With the default of 100, a rare word is in no statistics, and the planner takes it for a frequent one.
    "ALTER TABLE quote ALTER COLUMN search SET STATISTICS 300",
)
