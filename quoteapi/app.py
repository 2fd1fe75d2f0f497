"""The HTTP application: `create_app` builds it, and `api` is what the servers load (`quoteapi.app:api`)."""

import logging
import os
import random
import sys
from typing import TYPE_CHECKING

import falcon
from peewee import InterfaceError, OperationalError

from quoteapi import clock
from quoteapi.aws.dispatcher import LambdaDispatcher, start_failing_task
from quoteapi.aws.job_context import configure_observability
from quoteapi.container import Container
from quoteapi.http.errors import add_error_handlers
from quoteapi.http.middleware import App, _Identify
from quoteapi.http.resources.api_reference import ApiReference, OpenApiDocument
from quoteapi.http.resources.assets import Assets
from quoteapi.http.resources.cards import DailyCard, QuoteCard
from quoteapi.http.resources.catalogue import NameList, QuoteById, QuoteList
from quoteapi.http.resources.feeds import ATOM, JSON_FEED, Feed
from quoteapi.http.resources.health import AsyncFailure, Health
from quoteapi.http.resources.pages import AnotherQuote, DayPage, HomePage
from quoteapi.http.resources.quotes import DailyQuote, QuoteByType, RandomQuote
from quoteapi.http.resources.subscriptions import Subscribe, Unsubscribe
from quoteapi.quotes.fallback import QuotesWithFallback
from quoteapi.settings import Settings, SettingsError, load_settings
from quoteapi.storage import database
from quoteapi.storage.models import Author, Category

if TYPE_CHECKING:
    api: "App"
BOOT_FAILED = 3
"""The exit code from which gunicorn knows that starting another worker would not help."""


def create_app(
    settings: Settings,
    *,
    now: clock.Clock = clock.now,
    randomness: random.Random | None = None,
) -> "App":
    """Build the app on the working database of the settings, which is made where there is none.

    Raises `SettingsError`.
    """
    try:
        database.connect(settings)
    except (OperationalError, InterfaceError) as error:  # it may come back, and quotes need not wait for it
        logging.getLogger(__name__).error("The database is away: %s", error)  # noqa: TRY400
    service = Container(
        settings, now=now, randomness=randomness, dispatcher=LambdaDispatcher() if settings.on_lambda else None
    )
    if not settings.on_lambda:
        _ = service.dispatcher  # what is wrong with it should be told now; a cold start need not load it
    quotes = QuotesWithFallback(service.quotes, now, service.randomness)
    daily, another = DailyQuote(quotes, now), RandomQuote(quotes)
    app = App(daily, _Identify(service.randomness), settings, now)
    app.req_options.strip_url_path_trailing_slash = True
    add_error_handlers(app, settings, _report_failed_request)
    _add_routes(app, service, quotes, daily, another)
    return app


def _report_failed_request(settings: Settings, req: falcon.Request, error: Exception) -> None:
    """Report a request that the app answered with 500 to the operator."""
    from quoteapi.aws.error_reports import report_failed_request  # noqa: PLC0415 most containers never need it

    route = f"{req.method} {req.uri_template or '(no such page)'}"
    report_failed_request(settings, error, route, req.env.get("lambda.event"), req.env.get("lambda.context"))


def _add_routes(
    app: "App", service: Container, quotes: QuotesWithFallback, daily: DailyQuote, another: RandomQuote
) -> None:
    settings, now = service.settings, service.clock
    app.add_route("/", HomePage(quotes, another, settings, now))
    app.add_route("/days/{day}", DayPage(quotes, settings, now))
    app.add_route("/another", AnotherQuote(quotes, settings))
    app.add_route("/daily", daily)
    app.add_route("/random", another)
    app.add_route("/quote", QuoteByType(daily, another))
    app.add_route("/quotes", QuoteList(settings))
    app.add_route("/quotes/{quote_id}", QuoteById(settings))
    app.add_route("/daily.svg", DailyCard(quotes, now))
    app.add_route("/quotes/{quote_id}.svg", QuoteCard(now))
    app.add_route("/authors", NameList(settings, Author, "author", "authors"))
    app.add_route("/categories", NameList(settings, Category, "category", "categories"))
    app.add_route("/subscribe", Subscribe(service))
    app.add_route("/unsubscribe", Unsubscribe(service))
    app.add_route("/feed.xml", Feed(ATOM, quotes, settings, now))
    app.add_route("/feed.json", Feed(JSON_FEED, quotes, settings, now))
    app.add_route("/assets/{name}", Assets())
    app.add_route("/openapi.json", OpenApiDocument())
    app.add_route("/docs", ApiReference(settings))
    app.add_route("/health", Health())
    if settings.async_failure:
        app.add_route("/async-failure", AsyncFailure(start_failing_task))


def __getattr__(name: str) -> "App":
    """Build `api` when it is first asked for, so that importing this module does nothing."""
    if name != "api":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        settings = load_settings(os.environ)
        configure_observability(settings)
        app = globals()["api"] = create_app(settings)
    except SettingsError as error:
        sys.stderr.write(f"Error: {error}\n")
        sys.exit(BOOT_FAILED)
    return app
