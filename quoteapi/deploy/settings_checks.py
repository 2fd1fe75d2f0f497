"""Checks of the service's settings as a stage will have them on Lambda."""

from collections.abc import Iterator, Mapping

from quoteapi.deploy.check import Check
from quoteapi.deploy.zappa_settings import Stage
from quoteapi.settings import ANY_REGION, Settings, SettingsError, read_settings
from quoteapi.subscriptions.phone import all_countries


def check_settings(stage: Stage, environment: Mapping[str, str]) -> Iterator[Check]:
    """Yield the checks of all settings together, and of how they fit the stage."""
    try:
        settings = read_settings({**environment, "AWS_LAMBDA_FUNCTION_NAME": "quoteapi"})
    except SettingsError as error:
        yield Check("settings", "wrong", str(error), "Mend it: the service would not start.")
        return
    yield Check("settings", "ok", "the service starts with them")
    if settings.has_shared_state:
        yield Check("database", "ok", "on a server")
    else:
        found = "quotes only: every container of Lambda has its own database, so nobody can subscribe"
        yield Check("database", "advice", found, "For SMS, set DATABASE_URL to PostgreSQL in the remote environment.")
    yield from check_countries(settings)
    yield from _check_upstream(settings)
    yield from _check_public_url(stage, settings)
    if settings.async_failure and stage.get("domain"):
        found = "ASYNC_FAILURE is on: whoever knows the address has tasks of yours fail"
        yield Check("failures", "advice", found, "Remove it when you have seen where failures go.")
    if stage.get("authorizer") and settings.jwt_issuer is None:
        to_do = "Set JWT_ISSUER, JWT_AUDIENCE, and JWT_SECRET or JWT_PUBLIC_KEY in the remote environment."
        yield Check("tokens", "wrong", "the authorizer has nothing to check tokens by: nobody gets in", to_do)
    yield from _check_tracing(stage, settings)


def check_countries(settings: Settings) -> Iterator[Check]:
    """Yield a problem if `SMS_ALLOWED_REGIONS` names a country that does not exist."""
    if settings.sms_allowed_regions and (unknown := settings.sms_allowed_regions - {ANY_REGION} - all_countries()):
        found = f"SMS_ALLOWED_REGIONS has {', '.join(sorted(unknown))}, which is no country"
        yield Check("countries", "wrong", found, "Countries are written as in IN or GB.")


def _check_upstream(settings: Settings) -> Iterator[Check]:
    if settings.upstream_endpoint and not settings.upstream_key:
        yield Check("upstream", "advice", "Mashape_API_Endpoint has no key", "If it needs one, set X_Mashape_Key.")
    if settings.upstream_key and not settings.upstream_endpoint:
        to_do = "Set Mashape_API_Endpoint, or remove the key."
        yield Check("upstream", "advice", "X_Mashape_Key is for nothing", to_do)


def _check_public_url(stage: Stage, settings: Settings) -> Iterator[Check]:
    domain, base_path = stage.get("domain"), str(stage.get("base_path") or "")
    url = f"https://{domain}/{base_path.strip('/')}".rstrip("/")
    if settings.public_url is None and (domain or settings.has_shared_state):
        to_do = f"Set PUBLIC_URL to {url if domain else 'the address that zappa deploy prints, stage and all'}."
        yield Check("address", "advice", "SMS do not say where to leave", to_do)
    elif domain and settings.public_url != url:
        found = f"PUBLIC_URL is {settings.public_url}, and the domain {url}"
        yield Check("address", "wrong", found, f"Set PUBLIC_URL to {url}.")


def _check_tracing(stage: Stage, settings: Settings) -> Iterator[Check]:
    if settings.xray_tracing and not stage.get("xray_tracing"):
        found = "XRAY_TRACING without xray_tracing: the package has nothing to trace with"
        yield Check("tracing", "wrong", found, 'Set "xray_tracing": true in zappa_settings.json.')
    if stage.get("xray_tracing") and not settings.xray_tracing:
        found = "xray_tracing without XRAY_TRACING: traces show no calls out"
        yield Check("tracing", "advice", found, "Set XRAY_TRACING=true in environment_variables.")
