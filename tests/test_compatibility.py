from importlib import import_module

import pytest

MODULES = {
    "quoteapi.schedulers": "quoteapi.aws.schedulers",
    "quoteapi.tasks": "quoteapi.aws.tasks",
    "quoteapi.notify": "quoteapi.aws.error_reports",
    "quoteapi.authorizer": "quoteapi.aws.authorizer",
    "quoteapi.package": "quoteapi.deploy.zappa_callbacks",
}


@pytest.mark.parametrize(
    "old_path",
    [
        "quoteapi.schedulers.set_quote_of_the_day",
        "quoteapi.schedulers.publish_quote_of_the_day",
        "quoteapi.schedulers.reconcile_subscriptions",
        "quoteapi.schedulers.migrate_database",
        "quoteapi.tasks.async_send_otp",
        "quoteapi.tasks.async_subscribe",
        "quoteapi.tasks.async_unsubscribe",
        "quoteapi.tasks.async_publish",
        "quoteapi.tasks.async_fail",
        "quoteapi.notify.unhandled_exceptions",
        "quoteapi.authorizer.authorize",
        "quoteapi.package.prepare",
        "quoteapi.package.finish",
    ],
)
def test_a_handler_path_of_the_last_release_still_names_the_handler(old_path: str) -> None:
    old_module, _, name = old_path.rpartition(".")
    assert getattr(import_module(old_module), name) is getattr(import_module(MODULES[old_module]), name)
