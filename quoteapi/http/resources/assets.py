"""Static files that pages load: style sheets, scripts and the icon."""

from pathlib import Path

import falcon

from quoteapi.http.html import ASSET_TYPES, PAGE_SECONDS, assets_version, read_assets

ASSET_CACHE_SECONDS = 31_536_000
"""One year: pages link to assets by a digest of their content."""


class Assets:
    """The resource `/assets/{name}`: the static files of pages."""

    def on_get(self, req: falcon.Request, resp: falcon.Response, name: str) -> None:
        """Send the static file with a name. Raises `falcon.HTTPRouteNotFound`."""
        content = read_assets().get(name)
        if content is None:
            raise falcon.HTTPRouteNotFound
        resp.data = content
        resp.content_type = ASSET_TYPES[Path(name).suffix]
        # During a deployment, the version in the link can be another release's: caches must not keep that for long.
        is_current = req.get_param("v") == assets_version()
        max_age = f"max-age={ASSET_CACHE_SECONDS}, immutable" if is_current else f"max-age={PAGE_SECONDS}"
        resp.set_header("Cache-Control", f"public, {max_age}")
