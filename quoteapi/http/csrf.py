"""CSRF protection: rejects cross-site browser requests by `Sec-Fetch-Site`, then by `Origin`.

See Filippo Valsorda, "Cross-Site Request Forgery", https://words.filippo.io/csrf/.
"""

import re
from urllib.parse import urlsplit

import falcon

from quoteapi.http.client_ip import is_from_trusted_proxy
from quoteapi.http.urls import request_base_url
from quoteapi.settings import Settings
from quoteapi.settings.parsers import normalize_origin

_DNS_NAME = re.compile(r"([^:/\[\]]+\.[a-z][a-z0-9-]*)\.?(:[0-9]*)?")
"""A `Host` in lower case that is a name with a dot, and no IP address."""


def check_csrf(req: falcon.Request, settings: Settings) -> None:
    """Raise `falcon.HTTPForbidden` for a request from another site that is not in `CORS_ORIGINS`.

    Otherwise any page on the web could make its visitors request OTPs, each from another client IP. Old browsers, and
    all browsers without TLS, send no `Sec-Fetch-Site`, and no `Origin` either to load an image. A GET with neither
    header is therefore rejected if its `User-Agent` is that of a browser.

    The own origin is that of `PUBLIC_URL`, else of the request; `falcon.HTTPBadRequest` is raised if that has none.
    """
    origin, fetch_site = req.get_header("Origin"), req.get_header("Sec-Fetch-Site")
    if origin and normalize_origin(origin) in settings.cors_origins:
        return
    if fetch_site is not None:
        is_allowed = fetch_site in {"same-origin", "none"}
    elif origin:
        base_url = settings.public_url or request_base_url(req, settings)
        is_allowed = normalize_origin(origin) == normalize_origin(base_url)
    else:
        is_browser = (req.user_agent or "").startswith("Mozilla/") or _may_be_rebound(req, settings)
        is_allowed = req.method != "GET" or not is_browser
    if not is_allowed:
        raise falcon.HTTPForbidden(
            title="Cross-site request",
            description="Another website may have sent this. Use the form of this service, or send POST from a"
            " program.",
        )


def _may_be_rebound(req: falcon.Request, settings: Settings) -> bool:
    """Return whether another site's name may have led a browser here (DNS rebinding), if `PUBLIC_URL` is set.

    Scripts of that site send GET requests without `Origin` and, in some browsers, with a `User-Agent` that they choose.
    A trusted proxy may send any `Host`, and API Gateway only its own.
    """
    name = _DNS_NAME.fullmatch(req.get_header("Host", default="").lower())
    if settings.public_url is None or name is None or "lambda.event" in req.env or is_from_trusted_proxy(req, settings):
        return False
    return name[1] != (urlsplit(settings.public_url).hostname or "").removesuffix(".")
