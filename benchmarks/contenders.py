"""What the service is measured against. Each serves one quote at every path that the benchmark asks."""

import os
from collections.abc import Iterable
from datetime import UTC, date, datetime
from wsgiref.types import StartResponse, WSGIEnvironment

import falcon
from peewee import CharField, DateField, ForeignKeyField, Model, SqliteDatabase, TextField, fn

QUOTE = {
    "quote": "Hope and keep busy.",
    "author": "Louisa May Alcott",
    "category": "hope",
}
BODY = falcon.media.JSONHandler().serialize(QUOTE, falcon.MEDIA_JSON)
HEADERS = [("content-type", "application/json"), ("content-length", str(len(BODY)))]


def raw(env: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer the same bytes to everything: what WSGI itself costs."""
    start_response("200 OK", HEADERS)
    return (BODY,)


class _Bare:
    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        resp.media = QUOTE


bare: falcon.App[falcon.Request, falcon.Response] = falcon.App()
"""Falcon, answering the same JSON: what a framework costs, before it does anything."""
bare.add_route("/daily", _Bare())


# The plain design: a few lines anyone would write first. It reads the tables of the service's own database.

_database = SqliteDatabase(os.environ.get("PLAIN_DATABASE", ":memory:"))


class _Quote(Model):
    quote = TextField()
    author = CharField()
    category = CharField()

    class Meta:
        database = _database
        table_name = "quote"


class _DailyQuote(Model):
    date = DateField(primary_key=True)
    quote = ForeignKeyField(_Quote)

    class Meta:
        database = _database
        table_name = "dailyquote"


class _PlainDaily:
    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        today: date = datetime.now(UTC).date()
        with _database.connection_context():
            quote = _Quote.select().join(_DailyQuote).where(_DailyQuote.date == today).get()
        resp.media = {"quote": quote.quote, "author": quote.author, "category": quote.category}


class _PlainRandom:
    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        with _database.connection_context():
            quote = _Quote.select().order_by(fn.Random()).get()
        resp.media = {"quote": quote.quote, "author": quote.author, "category": quote.category}


plain: falcon.App[falcon.Request, falcon.Response] = falcon.App()
plain.add_route("/daily", _PlainDaily())
plain.add_route("/random", _PlainRandom())
