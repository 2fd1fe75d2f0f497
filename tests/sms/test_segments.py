import pytest

from quoteapi.sms.segments import SmsText, encode_sms


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("It’s ‘well’", "It's 'well'"),
        ("“Yes” — „ja“, «oui», ‹si›", '"Yes" - "ja", "oui", \'si\''),
        ("1868–1869 −1 non‑stop", "1868-1869 -1 non-stop"),
        ("Wait…", "Wait..."),
        ("5\N{NO-BREAK SPACE}€\N{NARROW NO-BREAK SPACE}!\tNow", "5 € ! Now"),
        ("hap\N{SOFT HYPHEN}pi\N{ZERO WIDTH SPACE}ness", "happiness"),
        ("caffe\N{COMBINING GRAVE ACCENT}, \N{OHM SIGN}", "caffè, Ω"),
        ("Ñandù", "Ñandù"),
    ],
)
def test_typographic_punctuation_becomes_plain(written: str, sent: str) -> None:
    assert encode_sms(written).message == sent


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("Okakura Kakuzō, Brontë, Garçon, Dvořák", "Okakura Kakuzo, Bronte, Garcon, Dvorak"),
        ("Stanisław Đorđe İzmirlı ÆØÅ œuvre Œuvre", "Stanislaw Dorde Izmirli ÆØÅ oeuvre OEuvre"),
        ("Þór, ðat, Ħal, ŧ, ſ, ẞ, ﬁne aﬄuent", "Thor, dat, Hal, t, s, SS, fine affluent"),
        ("Nguyễn Ái Quốc", "Nguyen Ai Quoc"),
        ("x\N{COMBINING CIRCUMFLEX ACCENT}\N{COMBINING DOT BELOW}y", "xy"),
        ("Hawaiʻi, Ibn ʿArabī", "Hawai'i, Ibn 'Arabi"),
        ("é, ü, ñ, à, ß, Ç", "é, ü, ñ, à, ß, Ç"),
    ],
)
def test_latin_letters_outside_gsm_7_become_base_letters(written: str, sent: str) -> None:
    assert encode_sms(written).message == sent


@pytest.mark.parametrize(
    "written",
    [
        pytest.param("“काल करे सो आज कर” — कबीर", id="another script"),
        pytest.param("“Hope…” 😀", id="an emoji"),
        pytest.param("“Dvořák”… — чей?", id="a Latin letter beside another script"),
        pytest.param("Всё ещё «й»", id="Cyrillic letters that have a decomposition"),
        pytest.param("Ώρα, Ά", id="Greek letters of which GSM-7 has some without the mark"),
        pytest.param("Ω\N{COMBINING TILDE}", id="a mark on a letter of another script"),
        pytest.param("E = mc², 1½", id="digits that would mean something else"),
        pytest.param("Ə, ŋ", id="Latin letters without a base letter"),
    ],
)
def test_text_with_characters_outside_gsm_7_is_not_changed(written: str) -> None:
    assert encode_sms(written).message == written


def test_characters_of_the_gsm_7_extension_take_two_septets() -> None:
    points = [*range(0x500), *range(0x2000, 0x2100)]
    texts = {chr(point): chr(point) + "a" * 159 for point in points}
    kept = [character for character, text in texts.items() if encode_sms(text) == SmsText(text, 1)]
    twice = [character for character, text in texts.items() if encode_sms(text) == SmsText(text, 2)]
    assert len(kept) == 128 - 1, "one of the 128 is the escape to the extension"
    assert {"@", "Ç", "Δ", "¿", "à", "\r", "\n"} <= set(kept)
    assert "".join(twice) == "\f[\\]^{|}~€"


@pytest.mark.parametrize(
    ("written", "segments"),
    [
        ("", 1),
        ("a" * 160, 1),
        ("a" * 161, 2),
        ("a" * 153 * 2, 2),
        ("a" * (153 * 2 + 1), 3),
        ("a" * 153 * 3, 3),
        ("a" * (153 * 3 + 1), 4),
        ("ж" * 70, 1),
        ("ж" * 71, 2),
        ("ж" * 67 * 2, 2),
        ("ж" * (67 * 2 + 1), 3),
        pytest.param("a" * 157 + "…", 1, id="three dots for an ellipsis fit"),
        pytest.param("a" * 158 + "…", 2, id="three dots for an ellipsis are one too many"),
        pytest.param("a" * 158 + "€", 1, id="a euro sign fits"),
        pytest.param("a" * 159 + "€", 2, id="a euro sign is one too many"),
        pytest.param("a" * 152 + "€" + "a" * 151, 2, id="a euro sign goes over to the second segment"),
        pytest.param("a" * 152 + "€" + "a" * 152, 3, id="a euro sign that is not split makes a third segment"),
        pytest.param("ж" * 68 + "😀", 1, id="an emoji fits"),
        pytest.param("ж" * 69 + "😀", 2, id="an emoji is one too many"),
        pytest.param("ж" * 66 + "😀" + "ж" * 65, 2, id="an emoji goes over to the second segment"),
        pytest.param("ж" * 66 + "😀" + "ж" * 66, 3, id="an emoji that is not split makes a third segment"),
        pytest.param("a" * 69 + "😀", 2, id="an emoji makes every letter UCS-2"),
    ],
)
def test_segments_are_counted_as_they_are_billed(written: str, segments: int) -> None:
    assert encode_sms(written).segments == segments
