from datetime import date

import pytest

from quoteapi.http.parameters import parse_date, parse_id


@pytest.mark.parametrize("wrong", ["", "0", "017", "1_7", "+1", " 1", "१७", "1" * 10])
def test_an_id_is_written_in_one_way_only(wrong: str) -> None:
    assert parse_id(wrong) is None
    assert parse_id("17") == 17
    assert parse_id("9" * 9) == 999_999_999


@pytest.mark.parametrize("wrong", ["", "20261122", "2026-W47-7", "2026-11-31", "२०२६-११-२२"])
def test_a_date_is_written_in_one_way_only(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_date(wrong)
    assert parse_date("2026-11-22") == date(2026, 11, 22)
