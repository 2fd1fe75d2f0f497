import pytest

from tests.rehearsal.stages import STAGES
from tests.rehearsal.steps import STEPS, rehearse


@pytest.mark.parametrize("stage", ["dev", "prod"])
def test_a_stage_is_deployed_does_its_work_and_goes_away(stage: str) -> None:
    steps = list(rehearse(STAGES[stage]))
    assert [step.wrong for step in steps if step.wrong] == []
    assert [step.name for step in steps] == [step.__name__ for step in STEPS]
    assert [step.name for step in steps if not step.is_done] == ([] if stage == "prod" else ["certify"])
