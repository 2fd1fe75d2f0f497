import pytest

from quoteapi.spelling import ask, did_you_mean


@pytest.mark.parametrize(
    ("name", "meant"),
    [("PUBLIC_ULR", "PUBLIC_URL"), ("public-url", "PUBLIC_URL"), ("LOGLEVEL", "LOG_LEVEL"), ("TROP", "PORT")],
)
def test_the_closest_known_name_is_suggested(name: str, meant: str) -> None:
    assert did_you_mean(name, ("PORT", "PUBLIC_URL", "LOG_LEVEL")) == f"Did you mean {meant}?"


@pytest.mark.parametrize("name", ["", "_", "COLOR", "ZZZZ"])
def test_a_name_that_resembles_none_has_no_suggestion(name: str) -> None:
    assert did_you_mean(name, ("PORT", "PUBLIC_URL", "LOG_LEVEL")) == ""
    assert did_you_mean(name, ()) == ""


def test_a_question_names_all_suggestions() -> None:
    assert ask([]) == ""
    assert ask(["Anne"]) == "Did you mean Anne?"
    assert ask(["Anne", "Emily"]) == "Did you mean Anne or Emily?"
    assert ask(["Anne", "Charlotte", "Emily"]) == "Did you mean Anne, Charlotte or Emily?"
