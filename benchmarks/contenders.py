"""Apps that the service is measured against. Each serves a quote at the paths that the benchmark requests."""

import os
from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

import falcon
from peewee import CharField, DateField, ForeignKeyField, Model, SqliteDatabase, TextField, fn

QUOTE = {"quote": "Hope and keep busy.", "author": "Louisa May Alcott", "category": "hope"}
BODY = falcon.media.JSONHandler().serialize(QUOTE, falcon.MEDIA_JSON)
HEADERS = [("content-type", "application/json"), ("content-length", str(len(BODY)))]


def raw(env: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Return the same bytes for every request: the cost of WSGI itself."""
    start_response("200 OK", HEADERS)
    return (BODY,)


class _Bare:
    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        resp.media = QUOTE


bare: falcon.App[falcon.Request, falcon.Response] = falcon.App()
"""Falcon with one resource that returns the same JSON: the cost of the framework."""
bare.add_route("/daily", _Bare())


# The plain design: the few lines one would write first. It reads the tables of the service's own database.

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


class _Plain:
    def __init__(self, select: Callable[[], Any]) -> None:
        self._select = select

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        with _database.connection_context():
            quote = self._select().get()
        resp.media = {"quote": quote.quote, "author": quote.author, "category": quote.category}


plain: falcon.App[falcon.Request, falcon.Response] = falcon.App()
plain.add_route("/daily", _Plain(lambda: _Quote.select().join(_DailyQuote).where(_DailyQuote.date == fn.DATE("now"))))
plain.add_route("/random", _Plain(lambda: _Quote.select().order_by(fn.Random())))
