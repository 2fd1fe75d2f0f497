"""Checks of the names that Zappa removes from paths: that of a stage, and `base_path`.

Zappa 0.63 removes the name from every path that begins with it, not only at a slash, and from paths that do not have it
too: at a stage `quote`, `/quotes/17` becomes `s/17`. It does so in `handler.py` and `wsgi.py`.
"""

import json
from collections.abc import Iterator
from typing import Any

from quoteapi.deploy.checks.check import Check
from quoteapi.settings import ROOT

OPENAPI_DOCUMENT = ROOT / "quoteapi/http/openapi.json"


def check_paths(name: str, stage: dict[str, Any]) -> Iterator[Check]:
    """Yield a problem if Zappa would remove the beginning of a route, for the stage with this name."""
    base_path = str(stage.get("base_path") or "")
    if base_path != base_path.strip("/"):
        to_do = f'Set "base_path": "{base_path.strip("/")}".'
        yield Check("paths", "wrong", f"base_path is {base_path}, but must not begin or end with a slash", to_do)
    elif base_path:  # replaces the stage, whatever the host
        if lost := _routes_that_begin_with(base_path):
            yield Check("paths", "wrong", f"base_path is {base_path}: {lost}", "Choose another base_path.")
    elif lost := _routes_that_begin_with(name):
        if stage.get("domain"):
            found = f"the stage is called {name}: at its API Gateway URL (not at the domain), {lost}"
            yield Check("paths", "advice", found, "Use only the domain, or rename the stage.")
        else:
            yield Check("paths", "wrong", f"the stage is called {name}: {lost}", "Rename the stage.")


def _routes_that_begin_with(name: str) -> str:
    """Return which routes lose their beginning, in words; an empty string if none does."""
    paths = json.loads(OPENAPI_DOCUMENT.read_bytes())["paths"]
    lost = [path for path in paths if path.startswith(f"/{name}")]
    if not lost:
        return ""
    others = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
    return f"Zappa removes /{name} from the beginning of {lost[0]}{others}"
