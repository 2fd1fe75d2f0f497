"""`quoteapi policy`: prints the IAM policy of a stage's function, or of who deploys it."""

import json

import click

from quoteapi.cli.root import main
from quoteapi.deploy import zappa_settings
from quoteapi.deploy.aws_account import find_account
from quoteapi.deploy.policies import deployer_policy, function_policy
from quoteapi.deploy.remote_environment import read_remote_environment
from quoteapi.deploy.stage_names import stage_names


@main.command("policy")
@click.argument("stage")
@click.option("--deployer", is_flag=True, help="Print what you need yourself, to set up, deploy and operate STAGE.")
def policy_(*, stage: str, deployer: bool) -> None:
    """Print the IAM policy of the function of STAGE, as JSON.

    `zappa deploy` and `zappa update` give it to the function's role.
    """
    settings = zappa_settings.read_stage(zappa_settings.ZAPPA_SETTINGS, stage)
    names = stage_names(find_account(settings), stage, settings)
    if deployer:
        policy = deployer_policy(names, settings)
    else:
        remote = read_remote_environment(settings).values
        policy = function_policy(names, settings, zappa_settings.stage_settings(stage, settings, remote))
    click.echo(json.dumps(policy, indent=4))
