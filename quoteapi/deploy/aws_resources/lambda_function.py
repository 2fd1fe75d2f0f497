"""The function of a stage: whether it is deployed, and changes that Zappa does not make."""

from typing import Any

from quoteapi.deploy.aws_account import aws_errors
from quoteapi.deploy.stage_names import StageNames

MAX_DESCRIPTION = 256


def is_deployed(names: StageNames) -> bool:
    """Return whether the function of a stage exists. Raises `CheckFailed`."""
    with aws_errors("function"):
        client = names.account.client("lambda")
        try:
            client.get_function_configuration(FunctionName=names.function)
        except client.exceptions.ResourceNotFoundException:
            return False
    return True


def update_function(names: StageNames, **configuration: Any) -> None:  # noqa: ANN401 parameters of boto3
    """Change the configuration of the function, and wait until that is done. Raises an error of boto3.

    Lambda rejects a change while another one is in progress, so this waits before it too.
    """
    client = names.account.client("lambda")
    for name in ("function_active", "function_updated"):
        client.get_waiter(name).wait(FunctionName=names.function)
    client.update_function_configuration(FunctionName=names.function, **configuration)
    client.get_waiter("function_updated").wait(FunctionName=names.function)


def start_new_containers(names: StageNames, reason: str) -> None:
    """Have Lambda replace all containers of the function, so that they read the remote environment again.

    Lambda does that after any change of the configuration. The description is changed because nothing else depends on
    it: the next `zappa update` replaces it by Zappa's own.
    """
    update_function(names, Description=reason[:MAX_DESCRIPTION])
