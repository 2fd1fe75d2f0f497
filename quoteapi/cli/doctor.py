"""The command `quoteapi doctor`."""

import json
import sys
from pathlib import Path

import click

from quoteapi.cli import service_checks
from quoteapi.cli.root import EXIT_FAILED, as_json, main
from quoteapi.deploy import zappa_settings


@main.command("doctor")
@click.option("--stage", help="Look at this stage of zappa_settings.json instead, before it is deployed.")
@click.option(
    "--env-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The stage's remote environment, in a file that is not on S3 yet.",
)
@as_json
def doctor_(stage: str | None, env_file: Path | None, *, as_json: bool) -> None:
    """Look at everything the service needs, and say what to do about what is wrong."""
    if env_file is not None and stage is None:
        raise click.UsageError("--env-file goes with --stage.")
    checks = (
        zappa_settings.check_stage(zappa_settings.ZAPPA_SETTINGS, stage, env_file)
        if stage
        else service_checks.check_service()
    )
    found = []
    for check in checks:
        found.append(check)
        if not as_json:
            mark, color = {"ok": ("✓", "green"), "advice": ("!", "yellow"), "wrong": ("✗", "red")}[check.state]
            click.echo(f"{click.style(mark, fg=color)} {check.name:<12} {check.found}")
            if check.state != "ok" and check.to_do:
                click.echo(f"  {'':<12} {check.to_do}")
    if as_json:
        click.echo(json.dumps([check._asdict() for check in found], ensure_ascii=False, indent=2))
    if any(check.state == "wrong" for check in found):
        sys.exit(EXIT_FAILED)
