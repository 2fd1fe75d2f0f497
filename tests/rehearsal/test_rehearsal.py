import json

import pytest

from tests.rehearsal.project import _use_emulated_account
from tests.rehearsal.runner import STEPS, rehearse
from tests.rehearsal.stages import STAGES


@pytest.mark.parametrize("stage", ["dev", "prod"])
def test_a_stage_deploys_works_and_undeploys(stage: str) -> None:
    steps = list(rehearse(STAGES[stage]))
    assert [step.error for step in steps if step.error] == []
    assert [step.name for step in steps] == [step.__name__ for step in STEPS]
    assert [step.name for step in steps if not step.is_done] == ["night" if stage == "prod" else "certify"]


def test_a_rehearsal_replaces_what_an_operator_filled_in() -> None:
    names = ("your-bucket", "quotes.example.org", "www.example.org", "account-id", "certificate-id")
    emulated = {f"<{name}>": "emulated" for name in (*names, "subnet-id", "another-subnet-id", "security-group-id")}
    stage = {
        "aws_region": "eu-mine-1",
        "s3_bucket": "mine",
        "remote_env": "s3://mine/quoteapi-prod.json",
        "domain": "mine.example.net",
        "certificate_arn": "arn:aws:acm:us-east-1:1111:certificate/mine",
        "dead_letter_arn": "arn:aws:sqs:eu-mine-1:1111:mine",
        "vpc_config": {"SubnetIds": ["mine"], "SecurityGroupIds": ["mine"]},
        "environment_variables": {"PUBLIC_URL": "https://mine.example.net", "CORS_ORIGINS": "https://mine.example.net"},
        "memory_size": 512,
    }
    _use_emulated_account(stage, emulated)
    assert "mine" not in json.dumps(stage)
    assert "1111" not in json.dumps(stage)
    assert (stage["memory_size"], stage["remote_env"]) == (512, "s3://emulated/quoteapi-prod.json")
