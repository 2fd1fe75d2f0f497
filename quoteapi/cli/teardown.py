"""`quoteapi teardown`: lists what is left of a stage after `zappa undeploy`, and deletes it."""

import sys

import click

from quoteapi.cli.output import print_json, print_lines, print_table
from quoteapi.cli.root import EXIT_FAILED, json_option, main
from quoteapi.cli.setup import print_result
from quoteapi.deploy import zappa_settings
from quoteapi.deploy.aws_resources.lambda_function import is_deployed
from quoteapi.deploy.stage_setup import open_stage
from quoteapi.deploy.teardown.leftover import Leftover
from quoteapi.deploy.teardown.stage_teardown import Teardown
from quoteapi.printable import counted


@main.command()
@click.argument("stage")
@click.option("--dry-run", is_flag=True, help="Only list what is left.")
@click.option("--yes", is_flag=True, help="Ask nothing. The table with the subscribers stays.")
@click.option("--delete-subscribers", is_flag=True, help="With --yes, delete the table with the subscribers too.")
@click.option("--profile", metavar="NAME", help="Your AWS profile. [default: that of the stage]")
@click.option("--region", metavar="REGION", help="The AWS region. [default: that of the stage]")
@json_option
def teardown(  # noqa: PLR0913
    *,
    stage: str,
    dry_run: bool,
    yes: bool,
    delete_subscribers: bool,
    profile: str | None,
    region: str | None,
    as_json: bool,
) -> None:
    """Delete what is left of STAGE in your AWS account after `zappa undeploy STAGE`.

    The command lists each part, with what it costs a month, and asks before it deletes them. For the table with the
    subscribers, it asks again. What other stages use stays. If something fails, run the command again.
    """
    setup = open_stage(zappa_settings.ZAPPA_SETTINGS, stage, profile, region)
    account = setup.account
    print_lines(f"Stage {stage} in the AWS account {account.account_id}, {account.region}.", err=as_json)
    if is_deployed(setup.names):
        raise click.ClickException(f"{setup.names.function} is deployed. Run `zappa undeploy {stage}` first.")
    found = Teardown(setup)
    found.find()
    if not as_json:
        _print_leftovers(found.leftovers)
    if dry_run:
        _finish_dry_run(found, as_json=as_json)
        return
    _confirm(found, yes=yes, delete_subscribers=delete_subscribers)
    _delete(found, as_json=as_json)


def _print_leftovers(leftovers: list[Leftover]) -> None:
    if deleted := [each for each in leftovers if not each.kept]:
        rows = [(each.kind, each.cost, each.name, each.contents) for each in deleted]
        print_table(("left", "a month", "name", "contents"), rows)  # the last column is cut in a narrow terminal
    for each in leftovers:
        if each.kept:
            print_lines(f"Stays: {each.kind} {each.name} ({each.contents}; {each.cost} a month): {each.kept}.")
    if not leftovers:
        print_lines("Nothing is left.")


def _finish_dry_run(found: Teardown, *, as_json: bool) -> None:
    if as_json:
        fields = ("kind", "name", "contents", "cost", "kept")
        print_json([{name: getattr(each, name) for name in fields} for each in found.leftovers])
    for failure in found.failures:
        print_lines(f"{failure.name}: {failure.found}. {failure.to_do}", err=True)
    if found.failures:
        sys.exit(EXIT_FAILED)


def _confirm(found: Teardown, *, yes: bool, delete_subscribers: bool) -> None:
    """Ask what may be deleted, unless `yes`. Raises `click.Abort`."""
    count = len([each for each in found.leftovers if not each.kept and each.kind != "table"])
    if count and not yes:
        but = "" if found.table is None else " (all but the table)"
        click.confirm(f"Delete {'this' if count == 1 else f'these {count}'}{but}?", abort=True, err=True)
    if yes:
        stay = not delete_subscribers and (found.has_postgresql or found.table is not None)
    else:
        stay = found.has_postgresql or (found.table is not None and not _is_named(found.table))
    if stay:
        found.keep_subscribers()
        print_lines("The subscribers stay, and so do the settings with which a new deploy continues.", err=True)


def _is_named(table: Leftover) -> bool:
    """Return whether the operator types the name of the table with the subscribers."""
    question = (
        f"The DynamoDB table {table.name} has {table.contents}. To delete it, type its name; to keep it, press Enter"
    )
    return bool(click.prompt(question, default="", show_default=False, err=True) == table.name)


def _delete(found: Teardown, *, as_json: bool) -> None:
    results = list(found.failures)
    for result in found.failures if not as_json else ():
        print_result(result)
    for result in found.delete():
        results.append(result)
        if not as_json:
            print_result(result)
    if as_json:
        print_json([result._asdict() for result in results])
    if failed := [result for result in results if result.state == "failed"]:
        to_do = "Run the command again to finish."
        print_lines(f"{counted(len(failed), 'part')} could not be deleted. {to_do}", err=True)
        sys.exit(EXIT_FAILED)
