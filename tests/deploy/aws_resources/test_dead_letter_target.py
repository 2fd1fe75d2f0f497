import pytest

from quoteapi.deploy.aws_resources.dead_letter_target import set_dead_letter_target
from quoteapi.deploy.setup_result import SetupResult, run_steps
from tests.deploy.deployed_stage import FUNCTION, QUEUE_ARN, DeployedStage, client, deployed_fixture

__all__ = ["deployed_fixture"]


def set_target(deployed: DeployedStage) -> SetupResult | None:
    deployment = deployed.deployment()
    return next(run_steps([lambda: set_dead_letter_target(deployment.names, deployment.stage)]), None)


def test_the_dead_letter_queue_of_an_existing_function_is_set_once(
    deployed: DeployedStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    client("lambda").update_function_configuration(FunctionName=FUNCTION, DeadLetterConfig={"TargetArn": ""})
    assert set_target(deployed) == SetupResult("dead letters", "done", f"go to {FUNCTION}-failures")
    assert deployed.function()["DeadLetterConfig"] == {"TargetArn": QUEUE_ARN}
    assert set_target(deployed) == SetupResult("dead letters", "ok", f"go to {FUNCTION}-failures")


def test_a_missing_dead_letter_queue_is_reported_and_not_set(deployed: DeployedStage) -> None:
    missing = QUEUE_ARN.replace("failures", "others")
    deployed.change(dead_letter_arn=missing)
    assert set_target(deployed) == SetupResult(
        "dead letters",
        "failed",
        f"there is no queue {FUNCTION}-others: asynchronous work that fails three times is lost",
        "Run `quoteapi setup dev`, then `zappa update dev`.",
    )
    assert deployed.function()["DeadLetterConfig"] == {"TargetArn": QUEUE_ARN}


def test_a_topic_can_be_the_target_of_dead_letters(deployed: DeployedStage) -> None:
    topic = client("sns").create_topic(Name="failures")["TopicArn"]
    deployed.change(dead_letter_arn=topic)
    assert set_target(deployed) == SetupResult("dead letters", "done", "go to failures")
    assert deployed.function()["DeadLetterConfig"] == {"TargetArn": topic}


def test_a_dead_letter_queue_that_the_settings_do_not_name_stays(deployed: DeployedStage) -> None:
    deployed.change(dead_letter_arn=None)
    assert set_target(deployed) is None
    assert deployed.function()["DeadLetterConfig"] == {"TargetArn": QUEUE_ARN}
