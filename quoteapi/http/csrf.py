"""CSRF protection: rejects cross-site browser requests by `Sec-Fetch-Site`, then by `Origin`.

See Filippo Valsorda, "Cross-Site Request Forgery", https://words.filippo.io/csrf/.
"""

from urllib.parse import urlsplit

import falcon

from quoteapi.settings import Settings


def check_csrf(req: falcon.Request, settings: Settings) -> None:
    """Raise `falcon.HTTPForbidden` for a request from another site that is not in `CORS_ORIGINS`.

    Otherwise any page on the web could make its visitors request OTPs, each from another client IP. Old browsers, and
    all browsers without TLS, send no `Sec-Fetch-Site`, and no `Origin` either to load an image. A GET with neither
    header is therefore rejected if its `User-Agent` is that of a browser.
    """
    origin, fetch_site = (req.get_header("Origin") or "").lower(), req.get_header("Sec-Fetch-Site")
    if origin and origin in settings.cors_origins:
        return
    if fetch_site is not None:
        is_allowed = fetch_site in {"same-origin", "none"}
    elif origin:
        is_allowed = origin in _own_origins(req, settings)
    else:
        is_allowed = req.method != "GET" or not (req.user_agent or "").startswith("Mozilla/")
    if not is_allowed:
        raise falcon.HTTPForbidden(
            title="Sent by another site",
            description="A page of another site may have sent this. Use the form of this service, or POST.",
        )


def _own_origins(req: falcon.Request, settings: Settings) -> set[str]:
    origins = {f"{req.scheme}://{req.netloc}", f"{req.forwarded_scheme}://{req.forwarded_host}"}
    if settings.public_url is not None:
        public = urlsplit(settings.public_url.lower())
        origins.add(f"{public.scheme}://{public.netloc}")
    return origins
