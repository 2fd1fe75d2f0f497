"""The Lambda authorizer: validates bearer tokens (JWT, RFC 7519) for API Gateway."""

import logging
import re
import sys
from typing import Any

from quoteapi.observability.request_log import request_id
from quoteapi.settings import Settings, SettingsError, load_settings

LEEWAY_SECONDS = 5
"""How far the clock of the token's issuer may differ from that of Lambda."""
MAX_PRINCIPAL_LENGTH = 128
NO_SUBJECT = "bearer"
"""The principal of a token without a subject."""
_STAGE_ARN = re.compile(r"(arn:aws[a-z-]*:execute-api:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9]+/[A-Za-z0-9_-]+)/")
_REASONS = {
    "ExpiredSignatureError": "it has expired",
    "ImmatureSignatureError": "it is not valid yet, or the clock of its issuer is ahead",
    "InvalidAlgorithmError": "its algorithm is not that of JWT_SECRET (HS256) or JWT_PUBLIC_KEY (RS256)",
    "InvalidAudienceError": "its aud is not JWT_AUDIENCE",
    "InvalidIssuerError": "its iss is not JWT_ISSUER",
    "InvalidSignatureError": "its signature does not match JWT_SECRET or JWT_PUBLIC_KEY",
    "InvalidSubjectError": "its sub is not text",
}
"""Log texts for PyJWT's errors, whose own texts may contain parts of the token."""
_log = logging.getLogger(__name__)


class TokenRejected(Exception):
    """An invalid token. The message is the reason, without any part of the token."""


def authorize(event: Any, context: object) -> dict[str, Any]:  # noqa: ANN401 an event may have any shape
    """Return the policy that allows the bearer of a token all paths and methods of the stage.

    It covers the whole stage because API Gateway caches it by token, and applies it to requests for other paths.
    `event` has an `authorizationToken`, for example `Bearer eyJ…`, and the `methodArn` of the request.

    On any failure, logs the reason and raises a plain `Exception("Unauthorized")`: for exactly that text API Gateway
    responds with 401 and `{"message":"Unauthorized"}`. It raises no other exception; on a `TypeError` Zappa would call
    this function again.
    """
    request_id.set(getattr(context, "aws_request_id", "-"))
    try:
        return _policy(event)
    except TokenRejected as error:
        _log.warning("Token rejected: %s", error)
    except SettingsError as error:
        _log.error("Tokens cannot be validated: %s", error)
    except Exception as error:  # noqa: BLE001 its text may contain parts of the token
        _log.error("Token validation failed: %s", type(error).__name__)
    raise Exception("Unauthorized")  # noqa: TRY002 API Gateway needs this class and text


def _policy(event: Any) -> dict[str, Any]:  # noqa: ANN401
    if not isinstance(event, dict):
        raise TokenRejected("the event is not from API Gateway")
    claims = _validated_claims(_bearer_token(event.get("authorizationToken")), load_settings())
    statement = {"Action": "execute-api:Invoke", "Effect": "Allow", "Resource": _stage_arns(event.get("methodArn"))}
    return {
        "principalId": (claims.get("sub") or NO_SUBJECT)[:MAX_PRINCIPAL_LENGTH],
        "policyDocument": {"Version": "2012-10-17", "Statement": [statement]},
    }


def _bearer_token(header: object) -> str:
    scheme, _, token = str(header).partition(" ")
    if scheme.lower() != "bearer" or not token.isascii():
        raise TokenRejected("the header does not have the form: Bearer JWT")
    return token.strip()


def _stage_arns(method_arn: object) -> str:
    """Return the ARN pattern of all methods of a stage, given one method's ARN. Raises `TokenRejected`."""
    if match := _STAGE_ARN.match(str(method_arn)):
        return f"{match[1]}/*"
    raise TokenRejected("the event has no methodArn of API Gateway")


def _validated_claims(token: str, settings: Settings) -> dict[str, Any]:
    """Return the claims of a token. The settings choose the algorithm, not the token (RFC 8725, 3.1)."""
    if settings.jwt_secret is not None:
        _import_jwt_without_cryptography()
    import jwt  # noqa: PLC0415 most stages have no authorizer

    key, algorithm = _verification_key(settings)
    try:
        return jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            audience=settings.jwt_audience,
            issuer=settings.jwt_issuer,
            leeway=LEEWAY_SECONDS,
            options={"require": ["exp", "aud", "iss"], "enforce_minimum_key_length": True},
        )
    except jwt.MissingRequiredClaimError as error:
        raise TokenRejected(f"it has no {error.claim}") from None
    except jwt.InvalidTokenError as error:
        raise TokenRejected(_REASONS.get(type(error).__name__, "it is not a valid JWT")) from None
    except jwt.InvalidKeyError:
        raise SettingsError(
            "JWT_PUBLIC_KEY must be an RSA public key of at least 2048 bits in PEM, as `openssl rsa -pubout` writes it."
            " JWT_SECRET must not be in PEM."
        ) from None


def _import_jwt_without_cryptography() -> None:
    """Import PyJWT without `cryptography`, which only RS256 needs, in half the time."""
    if not {"jwt", "cryptography"} & sys.modules.keys():
        sys.modules["cryptography"] = None  # type: ignore[assignment]
        import jwt  # noqa: F401, PLC0415

        del sys.modules["cryptography"]


def _verification_key(settings: Settings) -> tuple[str, str]:
    if key := settings.jwt_secret or settings.jwt_public_key:
        return key, "HS256" if settings.jwt_secret else "RS256"
    raise SettingsError(
        "A stage with an authorizer needs JWT_ISSUER, JWT_AUDIENCE, and JWT_SECRET (HS256) or JWT_PUBLIC_KEY (RS256)."
    )
