"""Numbers and one-time passwords as phones and keyboards write them, for the parsers in Python and JavaScript."""

MIRA = "+919028000001"
MOBILES = [
    ("＋９１－９０２８０－００００１", MIRA),  # full width
    ("+91（90280）00001", MIRA),
    ("+91−90280−00001", MIRA),  # U+2212 MINUS SIGN
    ("\u061c+919028000001", MIRA),  # ARABIC LETTER MARK
    ("＋９１ー９０２８０ー００００１", MIRA),  # KATAKANA-HIRAGANA PROLONGED SOUND MARK
    ("+91ｰ90280ｰ00001", MIRA),  # its halfwidth form
    ("+91～90280～00001", MIRA),  # FULLWIDTH TILDE
    ("+91〜90280~00001", MIRA),  # WAVE DASH, tilde
    ("+91\ufe0e-90280-00001\ufe0f", MIRA),  # VARIATION SELECTORS
    ("+91\u034f90280\u034f00001", MIRA),  # COMBINING GRAPHEME JOINER
    ("+91\u316490280\uffa000001", MIRA),  # HANGUL FILLERS
    ("+91\u115f90280\u116000001", MIRA),
    ("+91\u280090280\u280000001", MIRA),  # BRAILLE PATTERN BLANK
    ("+91 [90280] {00001}", MIRA),
    ("+91 「90280」 【00001】", MIRA),
    ("+91\u202890280\u202900001", MIRA),  # LINE and PARAGRAPH SEPARATOR
    ("\u2068+91 90280 00001\u2069", MIRA),  # ISOLATES
    ("\ufeff+91\u200b9028\u2060000001", MIRA),
    ("+91 90280 00001.", MIRA),
    ("TEL:+91-90280-00001", MIRA),
    ("+𝟗𝟏𝟗𝟎𝟐𝟖𝟎𝟎𝟎𝟎𝟎𝟏", MIRA),  # MATHEMATICAL BOLD DIGITS
    ("+९१९०२८०००००१", MIRA),  # Devanagari
    ("+𞥙𞥑𞥙𞥐𞥒𞥘𞥐𞥐𞥐𞥐𞥐𞥑", MIRA),  # Adlam
]
OTPS = [
    ("482913", "482913"),
    (" 482 913\n", "482913"),
    ("482-913", "482913"),
    ("482\u2011913", "482913"),  # NON-BREAKING HYPHEN
    ("482–913", "482913"),
    ("482−913", "482913"),
    ("\u200e482913", "482913"),  # LEFT-TO-RIGHT MARK
    ("\u2068482913\u2069", "482913"),
    ("\u202b482913\u202c", "482913"),
    ("482913.", "482913"),
    ("(482913)", "482913"),
    ("４８２９１３", "482913"),
    ("٤٨٢٩١٣", "482913"),
    ("۴۸۲۹۱۳", "482913"),
    ("48291", "48291"),
    ("482o13", "482o13"),
    ("4829130", "4829130"),
]
