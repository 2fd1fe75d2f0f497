import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from quoteapi.quotes.line_breaking import break_lines, estimate_width
from tests.helpers.text_strategies import FAMILY_EMOJI, FRENCH_FLAG, texts

widths = st.floats(20, 200)


@given(texts, widths)
@example("W" * 320, 20)
@example("क्" * 160, 20)
@example("a" * 30 + " b", 20)
def test_no_line_is_too_wide_and_no_character_is_lost(text: str, max_width: float) -> None:
    lines = break_lines(text, max_width)
    assert "".join("".join(lines).split()) == "".join(text.split())
    assert [line for line in lines if estimate_width(line) > max_width + 1e-6] == []


@given(texts, widths)
def test_no_line_is_empty_or_starts_or_ends_with_a_space(text: str, max_width: float) -> None:
    normalized = " ".join(text.split())
    assert all(line and line == line.strip() for line in break_lines(normalized, max_width))


@given(st.lists(st.sampled_from(["I", "am", "not", "afraid", "of", "storms"]), min_size=1, max_size=60), widths)
def test_there_are_as_few_lines_as_possible(words: list[str], max_width: float) -> None:
    minimum, line = 1, words[0]
    for word in words[1:]:
        if estimate_width(f"{line} {word}") > max_width:
            minimum, line = minimum + 1, word
        else:
            line = f"{line} {word}"
    assert len(break_lines(" ".join(words), max_width)) == minimum


def test_lines_are_balanced_rather_than_full() -> None:
    assert break_lines("What are men to rocks and mountains?", 16.5) == ["What are men to", "rocks and mountains?"]
    assert break_lines("Nothing happens to any man that he is not formed by nature to bear.", 30) == [
        "Nothing happens to any man that",
        "he is not formed by nature to bear.",
    ]


def test_a_line_may_end_with_a_dash_or_hyphen_but_not_start_with_one() -> None:
    assert break_lines("him,—pray", 4) == ["him,—", "pray"]
    assert break_lines("well-known", 4) == ["well-", "known"]
    assert break_lines("voilà — tout", 5) == ["voilà —", "tout"]


def test_french_punctuation_stays_with_its_word_despite_the_space() -> None:
    assert break_lines("dit « vrai » !", 5) == ["dit", "« vrai » !"]


def test_chinese_may_break_anywhere_but_before_a_full_stop_and_after_an_opening_bracket() -> None:
    assert break_lines("知之為知之，不知", 5.5) == ["知之為知", "之，不知"]
    assert break_lines("知之「不知」也", 3.2) == ["知之", "「不", "知」也"]


@pytest.mark.parametrize("cluster", [FAMILY_EMOJI, FRENCH_FLAG, "é̂", "क्षि", "กำ", "เก", "👍🏿", "각"])
def test_a_grapheme_cluster_is_never_split(cluster: str) -> None:
    for line in break_lines(cluster * 20, 6):
        assert line.replace(cluster, "") == ""
