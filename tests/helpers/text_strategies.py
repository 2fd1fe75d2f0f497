"""Hypothesis strategies for texts in several scripts."""

from hypothesis import strategies as st

FAMILY_EMOJI, FRENCH_FLAG = "👩🏽\u200d❤️\u200d💋\u200d👨🏽", "🇫🇷"
texts = st.one_of(
    st.text(min_size=1, max_size=320),
    st.lists(st.text("abcilmwW.,—-'é", min_size=1, max_size=40), min_size=1, max_size=12).map(" ".join),
    st.text("知之為，。「」 aW", min_size=1, max_size=320),
    st.text("कखि्ाेया ।", min_size=1, max_size=320),
    st.text(f"{FAMILY_EMOJI}{FRENCH_FLAG}😀 ", min_size=1, max_size=320),
)
UNPRINTABLE = "".join(
    map(chr, (*range(0x20), *range(0x7F, 0xA0), 0x61C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A)))
)
"""Control characters, line separators, and changes of the writing direction."""
