"""What finds quotes by their words, and counts them by author and category."""

from typing import Any

from peewee import SQL, CharField, IntegerField, Model, SqliteDatabase, TextField, fn

from quoteapi.storage.full_text_search import search_tokens

BATCH = 500


def up(migrator: object, db: Any) -> None:  # noqa: ANN401
    """Add the words of each quote, their index, and the counts."""
    is_sqlite = isinstance(db, SqliteDatabase)
    in_order_of_code_points = "BINARY" if is_sqlite else '"C"'

    class Quote(Model):
        id = IntegerField(primary_key=True)
        quote = TextField()
        author = CharField()
        category = CharField()
        source = CharField()
        length = IntegerField()
        author_key = TextField()
        category_key = TextField()
        words = TextField()

        class Meta:
            database = db

    class Author(Model):
        key = TextField(primary_key=True, collation=in_order_of_code_points)
        name = CharField()
        quotes = IntegerField()

        class Meta:
            database = db

    class Category(Model):
        key = TextField(primary_key=True, collation=in_order_of_code_points)
        name = CharField()
        quotes = IntegerField()

        class Meta:
            database = db

    db.execute_sql("ALTER TABLE quote ADD COLUMN words TEXT NOT NULL DEFAULT ''")
    last = 0
    while rows := list(Quote.select().where(Quote.id > last).order_by(Quote.id).limit(BATCH)):
        for row in rows:
            row.words = search_tokens(row.quote, row.author, row.category, row.source)
        Quote.bulk_update(rows, [Quote.words])  # type: ignore[no-untyped-call]
        last = rows[-1].id

    db.create_tables([Author, Category])
    for table, key, name in (
        (Author, Quote.author_key, Quote.author),
        (Category, Quote.category_key, Quote.category),
    ):
        counted = Quote.select(key, fn.MIN(name), fn.COUNT(SQL("*"))).group_by(key)
        table.insert_from(counted, [table.key, table.name, table.quotes]).execute()

    db.execute_sql('DROP INDEX "quote_length"')  # the words' index knows lengths too
    for statement in _ON_SQLITE if is_sqlite else _ON_POSTGRESQL:
        db.execute_sql(statement)


# The words are made ready by `search_tokens`: a token ends at a space, and nowhere else. FTS5's ASCII tokenizer takes all
# that is not ASCII for letters; "=" is in what no word has.
_ON_SQLITE = (
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

# PostgreSQL's own parser would part the words otherwise, and not the same way under each locale.
_ON_POSTGRESQL = (
    "CREATE FUNCTION quote_search(words text) RETURNS tsvector LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$"
    " SELECT string_agg(quote_literal(word) || ':' || place, ' ')::tsvector"
    " FROM unnest(string_to_array(words, ' ')) WITH ORDINALITY AS token(word, place) $$",
    "ALTER TABLE quote ADD COLUMN search tsvector GENERATED ALWAYS AS (quote_search(words)) STORED",
    "CREATE INDEX quote_search ON quote USING gin (search)",
    # Else a word that few quotes have is in no statistics, and PostgreSQL thinks that it is in many.
    "ALTER TABLE quote ALTER COLUMN search SET STATISTICS 300",
)
