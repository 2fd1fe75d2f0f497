"""CSV injection: escaping of cells that a spreadsheet would take for formulas.

An apostrophe goes before what would begin a formula: `=`, `+`, `-`, `@`, their full-width forms, tab, carriage return
and line feed, also after spaces. It goes there after a semicolon too, at which many spreadsheets split cells, and after
quotation marks, which they remove. See https://owasp.org/www-community/attacks/CSV_Injection.
"""

import re

_BEGINNING = r"(^|;)((?:[^\S\t\r\n]|\")*)"
_FORMULA = r"('*[=+\-@\uff1d\uff0b\uff0d\uff20\t\r\n])"
_ESCAPABLE = re.compile(f"{_BEGINNING}{_FORMULA}")
_ESCAPED = re.compile(f"{_BEGINNING}'{_FORMULA}")


def escape_formulas(cell: str) -> str:
    """Return a cell that no spreadsheet takes for a formula."""
    return _ESCAPABLE.sub(r"\1\2'\3", cell)


def unescape_formulas(cell: str) -> str:
    """Return the cell that `escape_formulas` was given; an apostrophe of its own stays."""
    return _ESCAPED.sub(r"\1\2\3", cell)
