"""The HTTP application: `create_app` builds it, and `api` is what servers load (`quoteapi.app:api`)."""

import logging
import os
import random
import sys
from typing import TYPE_CHECKING, Any

import falcon

from quoteapi import clock
from quoteapi.aws.job_context import configure_observability
from quoteapi.aws.lambda_dispatcher import LambdaDispatcher, start_failing_task
from quoteapi.container import Container
from quoteapi.http.errors import add_error_handlers
from quoteapi.http.middleware import App
from quoteapi.http.resources import api_reference, assets, cards, catalogue, feeds, health, pages, quotes, subscriptions
from quoteapi.printable import printable
from quoteapi.quotes.fallback import QuotesWithFallback
from quoteapi.settings import Settings, SettingsError, load_settings, misspelt_name_warnings
from quoteapi.storage import database
from quoteapi.storage.models import Author, Category

if TYPE_CHECKING:
    api: App
BOOT_FAILED = 3
"""The exit code on which gunicorn stops restarting workers (its `WORKER_BOOT_ERROR`)."""


def create_app(settings: Settings, *, now: clock.Clock = clock.now, randomness: random.Random | None = None) -> App:
    """Open the working database, creating a missing file, and return the WSGI application.

    Raises `SettingsError`. If the database server cannot be used, log why and serve the bundled catalogue meanwhile.
    """
    try:
        database.connect(settings)
    except database.UNAVAILABLE_ERRORS as error:  # the fallback catalogue is served meanwhile
        logging.getLogger(__name__).error("The database cannot be used: %s", error)  # noqa: TRY400
    dispatcher = LambdaDispatcher() if settings.on_lambda else None
    container = Container(settings, now=now, randomness=randomness, dispatcher=dispatcher)
    if dispatcher is None:
        _ = container.dispatcher  # fails at startup if settings are wrong; on Lambda, this would slow cold starts
    routes = _routes(container)
    fast_paths = {path: routes[path].ready_response for path in ("/daily", "/random")}
    slow_paths = {path: resource.bulkhead for path, resource in routes.items() if hasattr(resource, "bulkhead")}
    app = App(fast_paths, slow_paths, settings, now, container.randomness)
    add_error_handlers(app, settings, _report_failed_request)
    for path, resource in routes.items():
        if not hasattr(resource, "on_head") and not hasattr(resource, "on_post"):  # with POST, GET may do something
            resource.on_head = resource.on_get  # Falcon leaves out the body
        app.add_route(path, resource)
    return app


def _report_failed_request(settings: Settings, req: falcon.Request, error: Exception) -> None:
    """Report to the operator a request to which the app responded with 500."""
    from quoteapi.aws.error_reports import report_failed_request  # noqa: PLC0415 most containers never need it

    route = f"{req.method} {req.uri_template or '(no such page)'}"
    report_failed_request(settings, error, route, req.env.get("lambda.event"), req.env.get("lambda.context"))


def _routes(container: Container) -> dict[str, Any]:
    settings, now = container.settings, container.clock
    source = QuotesWithFallback(container.quotes, now, container.randomness)
    daily, another = (
        quotes.DailyQuoteResource(source, now),
        quotes.RandomQuoteResource(source, container.quotes.prefetched_quote),
    )
    failure = health.AsyncFailure(container, start_failing_task)
    return {
        "/": pages.HomePage(source, another, settings, now),
        "/days/{day}": pages.DayPage(source, settings, now),
        "/another": pages.AnotherQuote(source, settings),
        "/daily": daily,
        "/random": another,
        "/quote": quotes.QuoteByType(daily, another),
        "/quotes": catalogue.QuoteList(settings),
        "/quotes/{quote_id}": catalogue.QuoteById(settings),
        "/daily.svg": cards.DailyCard(daily, now),
        "/quotes/{quote_id}.svg": cards.QuoteCard(),
        "/authors": catalogue.AuthorOrCategoryList(settings, Author, "author", "authors"),
        "/categories": catalogue.AuthorOrCategoryList(settings, Category, "category", "categories"),
        "/subscribe": subscriptions.Subscribe(container),
        "/unsubscribe": subscriptions.Unsubscribe(container),
        "/pause": subscriptions.Pause(container),
        "/u": pages.UnsubscribeLink(settings),
        "/feed.xml": feeds.Feed(feeds.ATOM, source, settings, now),
        "/feed.json": feeds.Feed(feeds.JSON_FEED, source, settings, now),
        "/assets/{name}": assets.Assets(),
        "/openapi.json": api_reference.OpenApiDocument(),
        "/docs": api_reference.ApiReference(settings),
        "/health": health.Health(),
        **({"/async-failure": failure} if settings.async_failure else {}),
    }


def __getattr__(name: str) -> App:
    """Build the attribute `api` on first access, so that importing this module does nothing.

    Writes a warning to standard error for each misspelt name in `.env`. Ends the process as `load_app` does.
    """
    if name != "api":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    sys.stderr.writelines(f"{printable(warning)}\n" for warning in misspelt_name_warnings())
    app = globals()["api"] = load_app()
    return app


def load_app() -> App:
    """Return the app with the settings of the environment and `.env`, which also configure logging.

    Ends the process with the exit code `BOOT_FAILED` if a setting is wrong.
    """
    try:
        settings = load_settings(os.environ)
        configure_observability(settings)
        return create_app(settings)
    except SettingsError as error:
        sys.stderr.write(f"Error: {error}\n")
        sys.exit(BOOT_FAILED)
