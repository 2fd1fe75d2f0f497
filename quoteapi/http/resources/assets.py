"""The files that pages load."""

from pathlib import Path

import falcon

from quoteapi.http.html import ASSET_TYPES, PAGE_SECONDS, assets_version, read_assets

ASSET_SECONDS = 31_536_000
"""Pages name what they load with a digest of it."""


class Assets:
    """The files that pages load, as they are."""

    def on_get(self, req: falcon.Request, resp: falcon.Response, name: str) -> None:
        """Answer a file."""
        content = read_assets().get(name)
        if content is None:
            raise falcon.HTTPRouteNotFound
        resp.data = content
        resp.content_type = ASSET_TYPES[Path(name).suffix]
        # Under the name of another release it is another file, which nobody should keep for long under that name.
        is_named = req.get_param("v") == assets_version()
        keep = f"max-age={ASSET_SECONDS}, immutable" if is_named else f"max-age={PAGE_SECONDS}"
        resp.set_header("Cache-Control", f"public, {keep}")

    on_head = on_get
