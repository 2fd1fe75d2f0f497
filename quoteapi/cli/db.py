"""`quoteapi db`: show and apply migrations, and copy the database."""

import os
import sys

import click

from quoteapi.cli.output import print_json, print_lines, print_table, progress_bar
from quoteapi.cli.root import EXIT_FAILED, connect_database, json_option, main
from quoteapi.settings import Settings, load_settings, settings_for_database
from quoteapi.storage import database, database_copy


@main.group()
def db() -> None:
    """Look at the database's tables, bring them up to date, copy them."""


@db.command()
@json_option
def status(*, as_json: bool) -> None:
    """Show the migrations, and which are missing; then the exit code is 1."""
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
    """Apply the migrations that are missing; fill a new database with the catalogue."""
    applied = database.migrate_database(_load_settings(may_create=True))
    if as_json:
        print_json({"applied": applied})
    else:
        print_lines(f"Applied: {', '.join(applied)}." if applied else "Nothing is missing.")


@db.command()
@click.argument("source_url", metavar="FROM", envvar="SOURCE_DATABASE_URL")
@click.argument("target_url", metavar="TO", envvar="TARGET_DATABASE_URL")
@json_option
def copy(source_url: str, target_url: str, *, as_json: bool) -> None:
    """Copy the database FROM, all of it, to TO, which is new; both are written as DATABASE_URL is.

    Stop the service meanwhile. If the copy is interrupted, TO stays as it was. Other users of this machine see what is
    written on a command line: put addresses with passwords into the environment variables SOURCE_DATABASE_URL and
    TARGET_DATABASE_URL instead, or leave the passwords out: the driver looks for them in PGPASSWORD and in ~/.pgpass.
    """
    source, target = settings_for_database(source_url), settings_for_database(target_url)
    if source.database_path is not None and not source.database_path.exists():
        raise click.ClickException(f"There is no database {source.database_path}.")
    try:
        with progress_bar("Copying and comparing", 2 * database_copy.count_rows(source)) as bar:
            copied = database_copy.copy_database(source, target, bar.update)
    except KeyboardInterrupt:
        raise click.ClickException("Interrupted. Nothing was copied.") from None
    if as_json:
        print_json([table._asdict() for table in copied])
        return
    print_table(("table", "rows", "digest of both"), copied)
    print_lines("", f"{database.describe_database(target)} has the same as {database.describe_database(source)}.")
    beside = f" or, where none was set, to what is in {source.database_path}.key" if source.database_path else ""
    print_lines(
        f"Set DATABASE_URL to {target.database_path or 'the server'}, and SECRET_KEY to what it was{beside}: else codes"
        " and counts of before are not known."
    )


def _load_settings(*, may_create: bool) -> Settings:
    """Return the settings. If their database is a file that does not exist, create it or raise `SettingsError`."""
    settings = load_settings(os.environ)
    if settings.database_path is not None and not settings.database_path.exists():
        connect_database(settings, may_create=may_create)
    return settings
