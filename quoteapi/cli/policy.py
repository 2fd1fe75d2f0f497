"""`quoteapi policy`: prints the IAM policy of a stage's function, or of the person who deploys it."""

import click

from quoteapi.cli.output import print_json
from quoteapi.cli.root import main
from quoteapi.deploy import zappa_settings
from quoteapi.deploy.aws_account import find_account
from quoteapi.deploy.policies import deployer_policy, function_policy
from quoteapi.deploy.remote_environment import read_remote_environment, with_secret_key
from quoteapi.deploy.stage_names import stage_names
from quoteapi.deploy.zappa_settings import Stage, stage_settings
from quoteapi.settings import Settings


@main.command("policy")
@click.argument("stage")
@click.option(
    "--deployer", is_flag=True, help="Print the policy of the person who sets up, deploys and operates STAGE."
)
def policy_(*, stage: str, deployer: bool) -> None:
    """Print the IAM policy of the function of STAGE, as JSON.

    `zappa deploy` and `zappa update` attach it to the function's role. It depends on the settings of the stage: after
    you change SMS_ALLOWED_REGIONS, SNS_TOPIC, SNS_REGION or DATABASE_URL, run `zappa update STAGE`.

    The policy for --deployer prevents mistakes, not malice: who may write the function's role can give it every
    permission.
    """
    keys = zappa_settings.read_stage(zappa_settings.ZAPPA_SETTINGS, stage)
    names = stage_names(find_account(keys), stage, keys)
    policy = deployer_policy(names, keys) if deployer else function_policy(names, keys, _function_settings(stage, keys))
    print_json(policy, indent=4)


def _function_settings(name: str, stage: Stage) -> Settings:
    """Return the settings as the function has them, after the first deploy has generated a `SECRET_KEY`."""
    remote = read_remote_environment(stage).values
    return stage_settings(name, stage, with_secret_key(stage, remote) if stage.get("remote_env") else remote)
