"""The command `quoteapi doctor`."""

import sys
from pathlib import Path

import click

from quoteapi.cli.output import format_json
from quoteapi.cli.root import EXIT_FAILED, json_option, main
from quoteapi.cli.service_checks import check_service
from quoteapi.deploy import zappa_settings
from quoteapi.deploy.stage_checks import check_stage

_MARKS = {"ok": click.style("✓", "green"), "advice": click.style("!", "yellow"), "wrong": click.style("✗", "red")}


@main.command("doctor")
@click.option("--stage", help="Look at this stage of zappa_settings.json instead, before it is deployed.")
@click.option(
    "--env-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The stage's remote environment, in a file that is not on S3 yet.",
)
@json_option
def doctor_(stage: str | None, env_file: Path | None, *, as_json: bool) -> None:
    """Look at everything the service needs, and say what to do about what is wrong."""
    if env_file is not None and stage is None:
        raise click.UsageError("--env-file goes with --stage.")
    checks = []
    for check in check_stage(zappa_settings.ZAPPA_SETTINGS, stage, env_file) if stage else check_service():
        checks.append(check)
        if not as_json:  # each at once, as some take seconds
            click.echo(f"{_MARKS[check.state]} {check.name:<12} {check.found}")
            if check.state != "ok" and check.to_do:
                click.echo(f"  {'':<12} {check.to_do}")
    if as_json:
        click.echo(format_json([check._asdict() for check in checks]))
    if any(check.state == "wrong" for check in checks):
        sys.exit(EXIT_FAILED)
