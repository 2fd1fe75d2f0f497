"""A request to a deployed service, as a client makes it: plain, with a key, with a token, or signed by AWS's SigV4."""

import re
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import quote, unquote_to_bytes, urlsplit, urlunsplit

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest, AWSResponse
from botocore.exceptions import (
    BotoCoreError,
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    ProxyConnectionError,
    ReadTimeoutError,
    SSLError,
)
from botocore.httpsession import URLLib3Session
from botocore.utils import get_environ_proxies

from quoteapi import __version__

CONNECT_SECONDS = 5
READ_SECONDS = 35
"""API Gateway itself waits for 29 seconds."""
SERVICE = "execute-api"

_REGION_IN_HOST = re.compile(r"\.execute-api\.([a-z0-9-]+)\.amazonaws\.com(\.cn)?")
_JSON, _FORM = "application/json", "application/x-www-form-urlencoded"


class WrongRequest(Exception):
    """A request that is not made; the message says what to write instead, and never has a secret."""


class NoAnswer(Exception):
    """There is no answer, or only a part of it; the message says why, and never has a secret."""


class Answer(NamedTuple):
    """What was answered, as it came: a redirect is not followed."""

    status: int
    headers: dict[str, str]
    body: bytes


class Proof(NamedTuple):
    """How a client shows who it is; nothing of it is needed where the API is open.

    Signed is with the credentials that boto3 finds, for the region that the host names; else for `region`, or that of
    boto3's session.
    """

    api_key: str | None = None
    token: str | None = None
    sign: bool = False
    region: str | None = None


def ask(method: str, url: str, data: str = "", proof: Proof = Proof()) -> Answer:  # noqa: B008 it is a tuple
    """Make one request, once; `data` that begins with { is JSON, any other a form.

    Raises `WrongRequest`, `NoAnswer`.
    """
    url = canonical(url)
    if urlsplit(url).scheme == "http" and (proof.api_key or proof.token or proof.sign) and not _is_loopback(url):
        raise WrongRequest("Over http:// everybody on the way can read a key, a token or a signature: use https://.")
    request = AWSRequest(method, url, _headers(data, proof), data.encode())
    if proof.sign:
        _sign(request, url, proof.region)
    return _sent(request, url)


def _headers(data: str, proof: Proof) -> dict[str, str]:
    if proof.sign and proof.token:
        raise WrongRequest("A signature and a token are both sent as Authorization: choose one.")
    headers = {"User-Agent": f"quoteapi/{__version__}"}
    if data:
        headers["Content-Type"] = _JSON if data.startswith("{") else _FORM
    if proof.api_key:
        headers["x-api-key"] = _sendable(proof.api_key, "API key")
    if proof.token:
        headers["Authorization"] = f"Bearer {_sendable(proof.token, 'token')}"
    return headers


def canonical(url: str) -> str:
    """Answer an address in the one form that SigV4 knows: what need not be encoded is not, all the rest is.

    Encoded once already is encoded once; + in a query is a space, as in forms. Raises `WrongRequest`.
    """
    if placeholder := re.search("<[^>]*>", url):
        raise WrongRequest(f"The address still has {placeholder[0]}: put yours in its place.")
    try:
        parts = urlsplit(url)
        host = parts.netloc.encode("idna").decode().lower()
        path = "/".join(_encoded(part) for part in parts.path.split("/"))
        pairs = [pair.replace("+", " ").partition("=") for pair in parts.query.split("&") if pair]
        query = "&".join(f"{_encoded(name)}={_encoded(value)}" for name, _, value in pairs)
        is_one = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0 and "@" not in host
    except ValueError:  # a host or a port that is none
        is_one = False
    if not is_one:
        raise WrongRequest(
            "Write the whole address, without a name and password, for example https://quotes.example.org/daily."
        )
    return urlunsplit((parts.scheme, host, path or "/", query, ""))


def _encoded(part: str) -> str:
    return quote(unquote_to_bytes(part), safe="")


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:  # a name
        return False


def _sendable(secret: str, what: str) -> str:
    if not (secret.isascii() and secret.isprintable() and " " not in secret):
        raise WrongRequest(f"The {what} has characters that no {what} has, such as a space or the end of a line.")
    return secret


def _sign(request: AWSRequest, url: str, region: str | None) -> None:
    try:
        session = boto3.Session()
        credentials = session.get_credentials()
        frozen = credentials.get_frozen_credentials() if credentials is not None else None
    except BotoCoreError as error:
        raise NoAnswer(f"The AWS credentials cannot be used ({type(error).__name__}): run `aws configure`") from error
    if frozen is None:
        raise NoAnswer(
            "There are no AWS credentials to sign with: run `aws configure`, or set AWS_ACCESS_KEY_ID and"
            " AWS_SECRET_ACCESS_KEY"
        )
    found = _REGION_IN_HOST.search(urlsplit(url).hostname or "")
    region = found[1] if found else region or session.region_name
    if region is None:
        raise WrongRequest("The address does not say in which AWS region the API is: add --region, as in us-east-1.")
    SigV4Auth(frozen, SERVICE, region).add_auth(request)


def _sent(request: AWSRequest, url: str) -> Answer:
    host = urlsplit(url).netloc
    proxies = {} if _is_loopback(url) else get_environ_proxies(url)
    session = URLLib3Session(proxies=proxies, timeout=(CONNECT_SECONDS, READ_SECONDS))  # type: ignore[arg-type]  # a pair is read too
    try:
        answer = session.send(request.prepare())
    except SSLError as error:
        raise NoAnswer(f"TLS with {host} failed: look whether its certificate is valid, and for that name") from error
    except (ConnectTimeoutError, EndpointConnectionError, ProxyConnectionError) as error:
        raise NoAnswer(
            f"Nothing answers at {host}: look whether the address is right, and the network is up"
        ) from error
    except ReadTimeoutError as error:
        raise NoAnswer(f"There was no answer from {host} within {READ_SECONDS} seconds") from error
    except ConnectionClosedError as error:
        raise _broken_off(host) from error
    except BotoCoreError as error:
        raise NoAnswer(f"There is no answer from {host} that can be read") from error
    finally:
        session.close()
    if request.method != "HEAD" and _is_cut_off(answer):
        raise _broken_off(host)
    return Answer(answer.status_code, dict(answer.headers), answer.content)


def _is_cut_off(answer: AWSResponse) -> bool:
    """Whether the body is shorter than was announced, which botocore does not look at."""
    announced = answer.headers.get("Content-Length", "")
    return announced.isdigit() and len(answer.content) < int(announced)


def _broken_off(host: str) -> NoAnswer:
    return NoAnswer(f"The connection to {host} broke off before the answer was whole")
