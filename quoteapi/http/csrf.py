"""CSRF protection: rejects cross-site browser requests."""

from urllib.parse import urlsplit

import falcon

from quoteapi.settings import Settings


def check_csrf(req: falcon.Request, settings: Settings) -> None:
    """Let pass what a program sends, or a page of ours, or one that `CORS_ORIGINS` names; nothing else in a browser.

    Else any page on the web could have its readers ask for codes, from their addresses and not its own. Browsers tell
    by `Sec-Fetch-Site`, if they are old or there is no TLS by `Origin`, and of an image by neither. Raises
    `falcon.HTTPForbidden`.
    """
    origin, site = (req.get_header("Origin") or "").lower(), req.get_header("Sec-Fetch-Site")
    if origin and origin in settings.cors_origins:
        return
    if site is not None:
        ours = site in {"same-origin", "none"}
    elif origin:
        ours = origin in _origins_of(req, settings)
    else:
        ours = req.method != "GET" or not (req.user_agent or "").startswith("Mozilla/")
    if not ours:
        raise falcon.HTTPForbidden(
            title="Sent by another site",
            description="A page of another site may have sent this. Use the form of this service, or POST.",
        )


def _origins_of(req: falcon.Request, settings: Settings) -> set[str]:
    origins = {f"{req.scheme}://{req.netloc}", f"{req.forwarded_scheme}://{req.forwarded_host}"}
    if settings.public_url is not None:
        public = urlsplit(settings.public_url.lower())
        origins.add(f"{public.scheme}://{public.netloc}")
    return origins
