"""The door of a stage that asks for bearer tokens: the function that API Gateway asks whom to let in."""

import logging
import os
import re
import sys
from typing import TYPE_CHECKING, Any

from quoteapi.observability import logs
from quoteapi.settings import Settings, SettingsError, load_settings

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

LEEWAY_SECONDS = 5
"""How far the clock of who makes tokens may be from ours."""
LONGEST_PRINCIPAL = 128
NOBODY = "bearer"
"""The principal of a token that does not say whose it is."""
_WHOLE_STAGE = re.compile(r"(arn:aws[a-z-]*:execute-api:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9]+/[A-Za-z0-9_-]+)/")
_REASONS = {
    "ExpiredSignatureError": "it has expired",
    "ImmatureSignatureError": "it is not valid yet, or the clock of who made it is ahead",
    "InvalidAlgorithmError": "it is signed in another way than JWT_SECRET (HS256) or JWT_PUBLIC_KEY (RS256) asks for",
    "InvalidAudienceError": "its aud is not JWT_AUDIENCE",
    "InvalidIssuerError": "its iss is not JWT_ISSUER",
    "InvalidSignatureError": "it is not signed by the key of JWT_SECRET or JWT_PUBLIC_KEY",
    "InvalidSubjectError": "its sub is not text",
}
"""What PyJWT's errors say to an operator; their own texts may have something of the token in them."""
_log = logging.getLogger(__name__)


class TokenRejected(Exception):
    """A token that opens nothing; the message says why, in words without anything of it."""


def authorize(event: Any, context: object) -> dict[str, Any]:  # noqa: ANN401 whatever Lambda was sent
    """Answer the policy by which API Gateway lets the bearer of a token in, to every path and method of the stage.

    The whole stage, as API Gateway keeps the policy by the token, and the next path has the same. `event` has
    `authorizationToken`, as in `Bearer eyJ…`, and the `methodArn` of what is asked for.

    Raises a plain `Exception("Unauthorized")`, whatever is wrong, and logs why: by exactly that text API Gateway knows
    to answer 401 with `{"message":"Unauthorized"}`. Nothing else gets out: Zappa would run it again for a TypeError.
    """
    logs.request_id.set(getattr(context, "aws_request_id", "-"))
    try:
        return _policy_for(event)
    except TokenRejected as refused:
        _log.warning("A token was refused: %s", refused)
    except SettingsError as error:
        _log.error("No token can be read: %s", error)
    except Exception as error:  # noqa: BLE001 its text may have something of the token
        _log.error("A token could not be read: %s", type(error).__name__)
    raise Exception("Unauthorized")  # noqa: TRY002 its class would be told, too


def _policy_for(event: Any) -> dict[str, Any]:  # noqa: ANN401
    if not isinstance(event, dict):
        raise TokenRejected("the event is none of API Gateway's")
    claims = _claims_of(_token_in(event.get("authorizationToken")), load_settings(os.environ))
    allowed = {"Action": "execute-api:Invoke", "Effect": "Allow", "Resource": _whole_stage(event.get("methodArn"))}
    return {
        "principalId": (claims.get("sub") or NOBODY)[:LONGEST_PRINCIPAL],
        "policyDocument": {"Version": "2012-10-17", "Statement": [allowed]},
    }


def _token_in(header: object) -> str:
    scheme, _, token = header.partition(" ") if isinstance(header, str) else ("", "", "")
    if scheme.lower() != "bearer" or not token.isascii():
        raise TokenRejected("the header is not the word Bearer, a space and a JWT")
    return token.strip()


def _whole_stage(method_arn: object) -> str:
    found = _WHOLE_STAGE.match(method_arn) if isinstance(method_arn, str) else None
    if found is None:
        raise TokenRejected("the event names no method of API Gateway")
    return f"{found[1]}/*"


def _claims_of(token: str, settings: Settings) -> dict[str, Any]:
    """Answer what a token says that is signed as the settings ask for, never as it asks for itself."""
    if settings.jwt_secret is not None:
        _load_without_cryptography()
    import jwt  # noqa: PLC0415 most stages have no tokens

    key, algorithm = _key_of(settings)
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
        raise TokenRejected(_REASONS.get(type(error).__name__, "it is not a JWT, or broken")) from None
    except jwt.InvalidKeyError:
        raise SettingsError("JWT_SECRET must not be a PEM, nor JWT_PUBLIC_KEY shorter than 2048 bits.") from None


def _load_without_cryptography() -> None:
    """Load PyJWT for HS256, half of whose time would go to a package that only RS256 needs."""
    if not {"jwt", "cryptography"} & sys.modules.keys():
        sys.modules["cryptography"] = None  # type: ignore[assignment]
        import jwt  # noqa: F401, PLC0415

        del sys.modules["cryptography"]


def _key_of(settings: Settings) -> "tuple[str | RSAPublicKey, str]":
    if settings.jwt_secret is not None:
        return settings.jwt_secret, "HS256"
    if settings.jwt_public_key is not None:
        return _rsa_key(settings.jwt_public_key), "RS256"
    raise SettingsError(
        "Set JWT_ISSUER, JWT_AUDIENCE, and JWT_SECRET (HS256) or JWT_PUBLIC_KEY (RS256) for a stage with an authorizer."
    )


def _rsa_key(pem: str) -> "RSAPublicKey":
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_pem_public_key  # noqa: PLC0415

    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, RSAPublicKey):
        raise SettingsError("JWT_PUBLIC_KEY must be an RSA public key in PEM, as openssl rsa -pubout writes it.")
    return key
