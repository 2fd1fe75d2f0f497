"""Pages, cards and feeds as text: templates of Jinja, where whatever is put in is escaped."""

import re
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment

FOLDER = Path(__file__).parent
_NOT_XML = "[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"  # compiled when it is used: a cold start need not


def render(name: str, **values: object) -> str:
    """Fill a template with values. A value that the template names and nobody gave is an error."""
    return _environment().get_template(name).render(values)


def render_xml(name: str, **values: object) -> str:
    """Fill a template as `render` does, and drop the characters that XML 1.0 does not allow, however written."""
    return re.sub(_NOT_XML, "", render(name, **values))


@lru_cache(maxsize=1)
def _environment() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415 a cold start need not load it

    return Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
