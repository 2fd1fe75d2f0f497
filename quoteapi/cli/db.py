"""`quoteapi db`: show and apply migrations, and copy the database."""

import sys
from typing import Any

import click

from quoteapi.cli.output import print_json, print_lines, print_table, progress_bar
from quoteapi.cli.root import EXIT_FAILED, connect_database, json_option, load_command_settings, main
from quoteapi.settings import Settings, settings_for_database
from quoteapi.storage import database, database_copy, state_copy


@main.group()
def db() -> None:
    """Show and apply migrations, and copy the database."""


@db.command()
@json_option
def status(*, as_json: bool) -> None:
    """List the migrations. If one is missing, the exit code is 1."""
    settings = _load_settings(may_create=False)
    migrations = database.list_migrations(settings)
    if as_json:
        print_json([{"name": name, "state": state} for name, state in migrations.items()])
    else:
        print_lines(database.describe_database(settings), "")
        print_table(("migration", "state"), list(migrations.items()))
    if "missing" in migrations.values():
        sys.exit(EXIT_FAILED)


@db.command()
@json_option
def migrate(*, as_json: bool) -> None:
    """Apply missing migrations. Create the database if there is none."""
    applied = database.migrate_database(_load_settings(may_create=True))
    if as_json:
        print_json({"applied": applied})
    else:
        print_lines(f"Applied: {', '.join(applied)}." if applied else "The database is up to date.")


@db.command()
@click.argument("source_url", metavar="FROM", envvar="SOURCE_DATABASE_URL")
@click.argument("target_url", metavar="TO", envvar="TARGET_DATABASE_URL")
@json_option
def copy(source_url: str, target_url: str, *, as_json: bool) -> None:
    """Copy the database FROM to the new database TO.

    FROM and TO are URLs, as in DATABASE_URL. Stop the service first. If the copy fails, TO stays unchanged. A DynamoDB
    table can't be used then until you run the command again.

    If one of them is a DynamoDB table, the quotes are not copied: a table has none, and a new database gets the bundled
    ones.

    Other users of this machine can see your command line. If a URL has a password, set the environment variables
    SOURCE_DATABASE_URL and TARGET_DATABASE_URL instead. Or leave the password out: the driver reads PGPASSWORD and
    ~/.pgpass.
    """
    source, target = settings_for_database(source_url), settings_for_database(target_url)
    if source.database_path is not None and not source.database_path.exists():
        raise click.ClickException(f"There is no database {source.database_path}. Check FROM.")
    has_table = source.dynamodb_table is not None or target.dynamodb_table is not None
    parts: Any = state_copy if has_table else database_copy
    try:
        with progress_bar("Copying and comparing", 2 * parts.count_rows(source)) as bar:
            copied = parts.copy_database(source, target, bar.update)
    except KeyboardInterrupt:
        is_table = target.dynamodb_table is not None
        result = "Run the command again: until then, TO can't be used" if is_table else "Nothing was copied"
        raise click.ClickException(f"Interrupted. {result}.") from None
    if has_table and (own := state_copy.count_own_quotes(source)):
        print_lines(
            f"FROM has quotes that the bundled catalogue lacks, which were not copied: {own}. To keep them, build the"
            " catalogue with them (docs/operate.md), or stay with PostgreSQL.",
            err=True,
        )
    if as_json:
        print_json([table._asdict() for table in copied])
        return
    print_table(("table", "rows", "digest"), copied)
    print_lines("", f"{database.describe_database(target)} is now a copy of {database.describe_database(source)}.")
    key_file = (
        f" If it is not set, set it to the contents of {source.database_path}.key." if source.database_path else ""
    )
    print_lines(
        f"Next: set DATABASE_URL to {f'sqlite:///{path}' if (path := target.database_path) else 'the URL of TO'}.",
        f"Do not change SECRET_KEY: the codes and rate limits in the database depend on it.{key_file}",
    )
    if source.sns_topic != target.sns_topic:
        print_lines(
            f"Set SNS_TOPIC to the topic that the subscribers are on, by default {source.sns_topic}. Or, to move them"
            f" to {target.sns_topic}, run `quoteapi reconcile --all`."
        )


def _load_settings(*, may_create: bool) -> Settings:
    """Return the settings. If their database is a file that does not exist, create it or raise `SettingsError`."""
    settings = load_command_settings()
    if settings.database_path is not None and not settings.database_path.exists():
        connect_database(settings, may_create=may_create)
    return settings
