import base64
import hashlib
import hmac
import json
import logging
import time
from collections.abc import Callable
from fnmatch import fnmatchcase
from functools import cache
from types import SimpleNamespace
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from quoteapi.aws.authorizer import NO_SUBJECT, authorize
from quoteapi.observability import logging_setup
from quoteapi.settings import Settings
from tests.helpers.processes import python

SECRET = "signs the tokens of the tests, 0123456789abc"  # noqa: S105
STAGE = "arn:aws:execute-api:us-east-1:123456789012:a1b2c3d4e5/dev_auth"
ISSUER, AUDIENCE = "https://login.example.org", "quoteapi"
JWT_SETTINGS = {"JWT_ISSUER": ISSUER, "JWT_AUDIENCE": AUDIENCE}


@cache
def private_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65_537, bits)


def pem_of(key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey) -> str:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def claims(**more: object) -> dict[str, Any]:
    values = {"sub": "mira", "iss": ISSUER, "aud": AUDIENCE, "exp": int(time.time()) + 60, **more}
    return {name: value for name, value in values.items() if value is not None}


def token(**more: object) -> str:
    return jwt.encode(claims(**more), SECRET, "HS256")


def event(token: object, path: str = "/GET/daily") -> dict[str, Any]:
    return {"type": "TOKEN", "authorizationToken": f"Bearer {token}", "methodArn": f"{STAGE}{path}"}


def authorize_token(token: object) -> dict[str, Any]:
    return authorize(event(token), None)


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JWT_SECRET", SECRET)
    for name, value in JWT_SETTINGS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def set_public_key(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def set_pem(pem: str) -> None:
        monkeypatch.delenv("JWT_SECRET", raising=False)
        monkeypatch.setenv("JWT_PUBLIC_KEY", pem)

    return set_pem


@pytest.fixture
def assert_rejected(caplog: pytest.LogCaptureFixture) -> Callable[..., None]:
    """Return a function that asserts that an event is unauthorized, and that the reason is logged in one line."""

    def check(event: object, reason: str, level: int = logging.WARNING) -> None:
        caplog.clear()
        with caplog.at_level(logging.INFO, "quoteapi"), pytest.raises(Exception, match="Unauthorized") as raised:
            authorize(event, None)
        assert type(raised.value) is Exception
        assert raised.value.args == ("Unauthorized",)
        assert [record.levelno for record in caplog.records] == [level]
        assert reason in caplog.text

    return check


# ---- valid tokens


def test_a_token_signed_with_the_secret_is_allowed() -> None:
    assert authorize_token(token()) == {
        "principalId": "mira",
        "policyDocument": {
            "Version": "2012-10-17",
            "Statement": [{"Action": "execute-api:Invoke", "Effect": "Allow", "Resource": f"{STAGE}/*"}],
        },
    }


@pytest.mark.parametrize("end_of_line", ["\n", "\\n", "\r\n", " ", ""])
def test_a_token_signed_for_the_public_key_is_allowed_whatever_the_line_ends_of_the_key(
    set_public_key: Callable[[str], None], end_of_line: str
) -> None:
    set_public_key(pem_of(private_key().public_key()).strip().replace("\n", end_of_line))
    assert authorize_token(jwt.encode(claims(), private_key(), "RS256"))["principalId"] == "mira"


def test_the_policy_covers_every_path_and_method_of_the_stage_and_no_other_stage_or_api() -> None:
    for path in ("/GET/daily", "/POST/subscribe", "/GET/", "/GET/quotes/7/and*more?"):
        statement = authorize(event(token(), path), None)["policyDocument"]["Statement"][0]
        allowed = statement["Resource"]
        assert statement["Effect"] == "Allow"
        for other in ("/GET/daily", "/DELETE/quotes/7", "/OPTIONS/", "/POST/subscribe"):
            assert fnmatchcase(STAGE + other, allowed)
        for other in (f"{STAGE}2", STAGE.replace("dev_auth", "prod"), STAGE.replace("a1b2", "f0f0"), f"x{STAGE}"):
            assert not fnmatchcase(f"{other}/GET/daily", allowed)


def test_the_principal_has_a_default_and_at_most_128_characters() -> None:
    assert authorize_token(token(sub=None))["principalId"] == NO_SUBJECT
    assert authorize_token(token(sub=""))["principalId"] == NO_SUBJECT
    assert authorize_token(token(sub="é" * 500))["principalId"] == "é" * 128


def test_a_token_may_have_several_audiences_and_a_not_before_claim() -> None:
    now = int(time.time())
    assert authorize_token(token(aud=["another", AUDIENCE], nbf=now - 1, iat=now - 1, jti="1"))["principalId"] == "mira"


def test_clocks_may_differ_by_some_seconds() -> None:
    now = int(time.time())
    assert authorize_token(token(exp=now - 2, nbf=now + 2, iat=now + 2))["principalId"] == "mira"


def test_the_scheme_bearer_is_case_insensitive() -> None:
    assert authorize(event(token()) | {"authorizationToken": f"bearer {token()}"}, None)["principalId"] == "mira"


# ---- invalid tokens and events


@pytest.mark.parametrize(
    ("changed_claims", "reason"),
    [
        ({"exp": 1_700_000_000}, "it has expired"),
        ({"nbf": int(time.time()) + 10**8}, "it is not valid yet"),
        ({"iat": int(time.time()) + 10**8}, "it is not valid yet"),
        ({"aud": "another"}, "its aud is not JWT_AUDIENCE"),
        ({"aud": [7]}, "its aud is not JWT_AUDIENCE"),
        ({"iss": "https://evil.example.org"}, "its iss is not JWT_ISSUER"),
        ({"exp": None}, "it has no exp"),
        ({"aud": None}, "it has no aud"),
        ({"iss": None}, "it has no iss"),
        ({"exp": "soon"}, "it is not a valid JWT"),
        ({"exp": float("inf")}, "it is not a valid JWT"),
        ({"sub": 7}, "its sub is not text"),
    ],
)
def test_a_token_with_a_wrong_claim_is_rejected(
    assert_rejected: Callable[..., None], changed_claims: dict[str, Any], reason: str
) -> None:
    assert_rejected(event(token(**changed_claims)), reason)


def test_a_token_of_another_secret_is_rejected(assert_rejected: Callable[..., None]) -> None:
    forged = jwt.encode(claims(), "of another issuer, 0123456789abcdefghijk", "HS256")
    assert_rejected(event(forged), "its signature does not match")


def test_a_token_of_another_key_is_rejected(
    assert_rejected: Callable[..., None], set_public_key: Callable[[str], None]
) -> None:
    set_public_key(pem_of(rsa.generate_private_key(65_537, 2048).public_key()))
    assert_rejected(event(jwt.encode(claims(), private_key(), "RS256")), "its signature does not match")


def test_a_modified_token_is_rejected(assert_rejected: Callable[..., None]) -> None:
    head, _, signature = token().split(".")
    body = base64.urlsafe_b64encode(json.dumps(claims(sub="root")).encode()).rstrip(b"=").decode()
    assert_rejected(event(f"{head}.{body}.{signature}"), "its signature does not match")


def test_a_token_does_not_choose_its_algorithm(
    assert_rejected: Callable[..., None], set_public_key: Callable[[str], None]
) -> None:
    in_another_way = "its algorithm is not that of JWT_SECRET (HS256)"
    assert_rejected(event(jwt.encode(claims(), "", "none")), in_another_way)
    assert_rejected(event(jwt.encode(claims(), SECRET * 2, "HS512")), in_another_way)
    assert_rejected(event(jwt.encode(claims(), private_key(), "RS256")), in_another_way)
    pem = pem_of(private_key().public_key())
    set_public_key(pem)
    assert_rejected(event(jwt.encode(claims(), "", "none")), in_another_way)
    for secret in (pem, pem.strip(), pem.replace("\n", "")):
        assert_rejected(event(signed_by_hand(secret.encode())), in_another_way)


def signed_by_hand(secret: bytes) -> str:
    """Sign a token with any secret, also with a public key, which PyJWT would refuse."""
    parts = [{"alg": "HS256", "typ": "JWT"}, claims()]
    text = b".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in parts)
    signature = base64.urlsafe_b64encode(hmac.digest(secret, text, hashlib.sha256)).rstrip(b"=")
    return b".".join((text, signature)).decode()


def test_a_token_signed_by_hand_is_allowed() -> None:
    assert authorize_token(signed_by_hand(SECRET.encode()))["principalId"] == "mira"


@pytest.mark.parametrize(
    "header",
    [
        None,
        7,
        "",
        "Bearer",
        "Bearer ",
        "Bearer eyJ",
        "Bearer a.b.c",
        "Bearer ..",
        "Basic bWlyYTptaXJh",
        "Bearer é.é.é",
        "Bearer \ud800",
        f"Bearer {'a' * 1_000_000}",
        f"Bearer {'.' * 1_000_000}",
        ["Bearer a.b.c"],
    ],
)
def test_a_malformed_token_is_rejected(assert_rejected: Callable[..., None], header: object) -> None:
    assert_rejected(event("") | {"authorizationToken": header}, "Token rejected")


@pytest.mark.parametrize(
    "invalid",
    [
        None,
        7,
        [],
        "TOKEN",
        {},
        {"type": "TOKEN"},
        {"methodArn": f"{STAGE}/GET/daily"},
        event(token()) | {"methodArn": None},
        event(token()) | {"methodArn": 7},
        event(token()) | {"methodArn": ""},
        event(token()) | {"methodArn": STAGE},
        event(token()) | {"methodArn": "arn:aws:execute-api:us-east-1:123456789012:*/*/GET/daily"},
        event(token()) | {"methodArn": "arn:aws:s3:us-east-1:123456789012:a1b2c3d4e5/dev_auth/GET/daily"},
    ],
)
def test_an_event_of_another_source_is_rejected(assert_rejected: Callable[..., None], invalid: object) -> None:
    assert_rejected(invalid, "Token rejected")


ANY_VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(header=st.text() | ANY_VALUE, arn=st.text() | ANY_VALUE)
def test_an_event_of_any_shape_is_unauthorized(header: object, arn: object) -> None:
    for invalid in (
        {"type": "TOKEN", "authorizationToken": header, "methodArn": arn},
        event(header),
        event(token()) | {"methodArn": arn},
        header,
    ):
        with pytest.raises(Exception, match=r"^Unauthorized$") as raised:
            authorize(invalid, None)
        assert type(raised.value) is Exception


@given(
    head=ANY_VALUE,
    body=ANY_VALUE,
    more=st.dictionaries(st.sampled_from(["exp", "nbf", "iat", "aud", "iss"]), ANY_VALUE, min_size=1),
)
def test_a_token_of_any_shape_is_allowed_or_unauthorized(head: object, body: object, more: dict[str, object]) -> None:
    def text(part: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(part, default=repr).encode()).rstrip(b"=").decode()

    for parts in ((head, body), ({"alg": "HS256"}, body), ({"alg": "HS256"}, claims() | more)):
        unsigned = ".".join(map(text, parts))
        signature = base64.urlsafe_b64encode(hmac.digest(SECRET.encode(), unsigned.encode(), "sha256"))
        try:
            policy = authorize_token(f"{unsigned}.{signature.rstrip(b'=').decode()}")
        except Exception as error:
            if (type(error), error.args) != (Exception, ("Unauthorized",)):
                raise
        else:
            assert policy["principalId"] == "mira"


# ---- settings and log


@pytest.mark.parametrize("names", [(), ("JWT_SECRET",), ("JWT_SECRET", "JWT_ISSUER"), ("JWT_AUDIENCE",)])
def test_without_the_settings_every_token_is_unauthorized_and_the_log_says_what_to_set(
    assert_rejected: Callable[..., None], monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...]
) -> None:
    made_before = event(token())
    for name in names or ("JWT_SECRET", "JWT_ISSUER", "JWT_AUDIENCE"):
        monkeypatch.delenv(name)
    assert_rejected(made_before, "JWT_ISSUER, JWT_AUDIENCE, and JWT_SECRET", logging.ERROR)


@pytest.mark.parametrize(
    "unusable",
    [
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
        "-----BEGIN PUBLIC KEY-----\nnot=base64=at+all\n-----END PUBLIC KEY-----",
        pem_of(ec.generate_private_key(ec.SECP256R1()).public_key()),
    ],
)
def test_an_unusable_public_key_is_logged(
    assert_rejected: Callable[..., None], set_public_key: Callable[[str], None], unusable: str
) -> None:
    set_public_key(unusable)
    assert_rejected(
        event(jwt.encode(claims(), private_key(), "RS256")), "JWT_PUBLIC_KEY must be an RSA public key", logging.ERROR
    )


@pytest.mark.filterwarnings("ignore::jwt.InsecureKeyLengthWarning")
def test_a_short_public_key_is_logged(
    assert_rejected: Callable[..., None], set_public_key: Callable[[str], None]
) -> None:
    set_public_key(pem_of(private_key(1024).public_key()))
    assert_rejected(event(jwt.encode(claims(), private_key(1024), "RS256")), "of at least 2048 bits", logging.ERROR)


def test_an_unexpected_error_is_unauthorized(
    assert_rejected: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise TypeError("something of the token")

    monkeypatch.setattr(jwt, "decode", broken)
    assert_rejected(event(token()), "Token validation failed: TypeError", logging.ERROR)


def test_no_log_line_contains_a_part_of_a_token(caplog: pytest.LogCaptureFixture) -> None:
    personal = {"sub": "Mira Nair", "iss": "https://mine.example.org", "aud": "mine", "exp": 9, "jti": "mine-id"}
    for more in ({}, {"exp": int(time.time()) + 60}, {"exp": int(time.time()) + 60, "iss": ISSUER}):
        invalid = jwt.encode(personal | more, SECRET, "HS256")
        with caplog.at_level(logging.DEBUG), pytest.raises(Exception, match="Unauthorized"):
            authorize_token(invalid)
        assert not any(part in caplog.text for part in (*invalid.split("."), "Mira", "mine", SECRET))


def test_a_log_line_has_the_id_of_the_invocation(capsys: pytest.CaptureFixture[str]) -> None:
    logging_setup.configure_logging(Settings(log_level="INFO", lambda_function="quotes"))
    with pytest.raises(Exception, match="Unauthorized"):
        authorize(event(token(exp=9)), SimpleNamespace(aws_request_id="8f3a"))
    assert capsys.readouterr().err.endswith(" WARNING Token rejected: it has expired [8f3a]\n")


# ---- import time

_AUTHORIZE = """
import json, sys
from quoteapi.aws.authorizer import authorize
before = set(sys.modules)
try:
    print(authorize(json.loads(sys.argv[1]), None)["principalId"])
finally:
    large = {"cryptography", "falcon", "boto3", "requests", "zappa", "psycopg"}
    print(sorted(large & sys.modules.keys()), sorted({"jwt"} & before))
"""


def test_hs256_imports_no_large_packages() -> None:
    run = python("-c", _AUTHORIZE, json.dumps(event(token())), JWT_SECRET=SECRET, **JWT_SETTINGS)
    assert run.stdout == "mira\n[] []\n", run.stderr


def test_rs256_imports_only_cryptography() -> None:
    made = jwt.encode(claims(), private_key(), "RS256")
    run = python(
        "-c", _AUTHORIZE, json.dumps(event(made)), JWT_PUBLIC_KEY=pem_of(private_key().public_key()), **JWT_SETTINGS
    )
    assert run.stdout == "mira\n['cryptography'] []\n", run.stderr
