"""Jinja templates of pages, cards and feeds. Values are escaped (autoescape)."""

import re
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment

FOLDER = Path(__file__).parent
_INVALID_IN_XML = "[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"  # compiled on first use, for cold starts


def render(name: str, **values: object) -> str:
    """Return a template filled with values. Raises `jinja2.UndefinedError` if one is missing."""
    return _environment().get_template(name).render(values)


def render_xml(name: str, **values: object) -> str:
    """Return a template filled with values, without the characters that XML 1.0 does not allow."""
    return re.sub(_INVALID_IN_XML, "", render(name, **values))


@lru_cache(maxsize=1)
def _environment() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415 to keep cold starts fast

    return Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
