"""The HTTP application: `create_app` builds it, and `api` is what servers load (`quoteapi.app:api`)."""

import logging
import os
import random
import sys
from typing import TYPE_CHECKING, Any

from peewee import InterfaceError, OperationalError

from quoteapi import clock
from quoteapi.aws.dispatcher import LambdaDispatcher, report_failed_request, start_failing_task
from quoteapi.aws.job_context import configure_observability
from quoteapi.container import Container
from quoteapi.http.errors import add_error_handlers
from quoteapi.http.middleware import App
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
    api: App
BOOT_FAILED = 3
"""The exit code that tells gunicorn that starting another worker would not help (its `WORKER_BOOT_ERROR`)."""


def create_app(
    settings: Settings,
    *,
    now: clock.Clock = clock.now,
    randomness: random.Random | None = None,
) -> App:
    """Return the WSGI application on the working database, which is created if it is missing.

    Raises `SettingsError`.
    """
    try:
        database.connect(settings)
    except (OperationalError, InterfaceError) as error:  # it may come back, and quotes need not wait for it
        logging.getLogger(__name__).error("The database is away: %s", error)  # noqa: TRY400
    container = Container(
        settings, now=now, randomness=randomness, dispatcher=LambdaDispatcher() if settings.on_lambda else None
    )
    if not settings.on_lambda:
        _ = container.dispatcher  # raises now if its settings are wrong; a cold start on Lambda need not load it
    quotes = QuotesWithFallback(container.quotes, now, container.randomness)
    daily, another = DailyQuote(quotes, now), RandomQuote(quotes, container.quotes.prefetched_quote)
    app = App({"/daily": daily.ready_response, "/random": another.ready_response}, settings, now, container.randomness)
    app.req_options.strip_url_path_trailing_slash = True
    add_error_handlers(app, settings, report_failed_request)
    for path, resource in _routes(container, quotes, daily, another).items():
        _add_head(resource)
        app.add_route(path, resource)
    return app


def _routes(
    container: Container, quotes: QuotesWithFallback, daily: DailyQuote, another: RandomQuote
) -> dict[str, Any]:
    settings, now = container.settings, container.clock
    return {
        "/": HomePage(quotes, another, settings, now),
        "/days/{day}": DayPage(quotes, settings, now),
        "/another": AnotherQuote(quotes, settings),
        "/daily": daily,
        "/random": another,
        "/quote": QuoteByType(daily, another),
        "/quotes": QuoteList(settings),
        "/quotes/{quote_id}": QuoteById(settings),
        "/daily.svg": DailyCard(quotes, now),
        "/quotes/{quote_id}.svg": QuoteCard(now),
        "/authors": NameList(settings, Author, "author", "authors"),
        "/categories": NameList(settings, Category, "category", "categories"),
        "/subscribe": Subscribe(container),
        "/unsubscribe": Unsubscribe(container),
        "/feed.xml": Feed(ATOM, quotes, settings, now),
        "/feed.json": Feed(JSON_FEED, quotes, settings, now),
        "/assets/{name}": Assets(),
        "/openapi.json": OpenApiDocument(),
        "/docs": ApiReference(settings),
        "/health": Health(),
        **({"/async-failure": AsyncFailure(start_failing_task)} if settings.async_failure else {}),
    }


def _add_head(resource: Any) -> None:  # noqa: ANN401 Falcon resources share no class
    """Have a resource handle HEAD as GET: Falcon leaves out the body. Not if it accepts POST, as its GET may act."""
    if hasattr(resource, "on_get") and not hasattr(resource, "on_post"):
        resource.on_head = resource.on_get


def __getattr__(name: str) -> App:
    """Build `api` when a server loads it, so that importing this module does nothing."""
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
