import pytest

from tests.rehearsal.runner import STEPS, rehearse
from tests.rehearsal.stages import STAGES


@pytest.mark.parametrize("stage", ["dev", "prod"])
def test_a_stage_deploys_works_and_undeploys(stage: str) -> None:
    steps = list(rehearse(STAGES[stage]))
    assert [step.error for step in steps if step.error] == []
    assert [step.name for step in steps] == [step.__name__ for step in STEPS]
    assert [step.name for step in steps if not step.is_done] == ["night" if stage == "prod" else "certify"]
