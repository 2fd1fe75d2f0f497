import json
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from quoteapi.printable import counted, is_printable, printable, printable_json
from tests.helpers.text_strategies import UNPRINTABLE


def test_unprintable_characters_are_escaped() -> None:
    assert printable("\x1b]0;title\x07") == r"\x1b]0;title\x07"
    assert printable("a\r\nb\tc\x7f\x9b1A") == r"a\r\nb\tc\x7f\x9b1A"
    assert printable("\u202egnp.exe\u2028\ud800") == r"\u202egnp.exe\u2028\ud800"
    assert printable("a\n\tb\x1b", keep="\n\t") == "a\n\tb\\x1b"


def test_writing_of_any_language_stays_as_it_is() -> None:
    text = "« Émile » — काल शब्\u200dद 日本\u3000語 שלום مرحبا 👩\u200d🚀 1\u00a0000 soft\u00adhyphen \\x1b"
    assert printable(text) == text
    assert is_printable(text)


@given(st.text(st.characters(codec=None) | st.sampled_from(UNPRINTABLE)))
def test_no_text_has_unprintable_characters_afterwards(text: str) -> None:
    shown = printable(text)
    assert not set(shown) & set(UNPRINTABLE)
    assert not {unicodedata.category(character) for character in shown} & {"Cc", "Cs", "Zl", "Zp"}
    assert is_printable(text) == (shown == text)


@given(st.text(st.characters(codec=None) | st.sampled_from(UNPRINTABLE)))
def test_json_means_the_same_and_has_no_unprintable_characters(text: str) -> None:
    for indent in (None, 2):
        document = printable_json(json.dumps([text, {text: 1}], ensure_ascii=False, indent=indent))
        assert json.loads(document) == [text, {text: 1}]
        assert not set(document) - {"\n"} & set(UNPRINTABLE)


def test_a_counted_noun_is_plural_unless_there_is_one() -> None:
    assert [counted(number, "segment") for number in (0, 1, 2, 1_000)] == [
        *("0 segments", "1 segment", "2 segments", "1,000 segments")
    ]
