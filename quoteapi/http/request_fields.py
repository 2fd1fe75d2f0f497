"""The fields of a request: query parameters and, with POST, the fields of a form or of JSON."""

import io
import json
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import falcon
from falcon.media import MultipartFormHandler

from quoteapi.http.errors import Problem

if TYPE_CHECKING:
    from wsgiref.types import WSGIEnvironment

MAX_BODY_BYTES = 4_096
FORM, MULTIPART, JSON = falcon.MEDIA_URLENCODED, falcon.MEDIA_MULTIPART, falcon.MEDIA_JSON
WHAT_TO_SEND = (
    "Send a form with Content-Type: application/x-www-form-urlencoded, or JSON with Content-Type: application/json,"
    ' in UTF-8, for example {"mobile": "+919028000001"}.'
)
_multipart = MultipartFormHandler()


def read_fields(req: falcon.Request, single: Iterable[str]) -> dict[str, Any]:
    """Return the query parameters and, with POST, the fields of the body; without those that are null.

    Raises `falcon.HTTPError` for an invalid body, a body without POST, and a field in `single` that is sent repeatedly
    with different values.
    """
    if req.method != "POST" and (req.content_length or read_body(req)):
        raise _invalid_body(
            f"A {req.method} request must not have a body. Send the fields in the query string, or use POST."
        )
    body = _parse_body(req) if req.method == "POST" else {}
    for name in single:
        if len({str(value) for fields in (req.params, body) for value in _values(fields, name)}) > 1:
            detail = f"The request has different values of {name}. Send one value."
            raise Problem(falcon.HTTP_400, f"Invalid {name}", detail)
    return {**req.params, **body}


def read_body(req: falcon.Request) -> bytes:
    """Return the body of a request, b"" if it has none. Raises `falcon.HTTPError` if it is too large or incomplete."""
    if is_chunked(req.env):
        return _read_chunks(req.env)
    length = req.content_length or 0
    if length > MAX_BODY_BYTES:
        raise body_too_large()
    body = _read(req.env, length) if length else b""
    if len(body) < length:
        raise body_incomplete()
    return body


def is_chunked(env: "WSGIEnvironment") -> bool:
    """Return whether a body comes in chunks, which have to be read to know its length.

    API Gateway passes whole bodies to Lambda. Raises `falcon.HTTPLengthRequired` for other transfer codings.
    """
    coding: str | None = env.get("HTTP_TRANSFER_ENCODING")
    if coding is None or "lambda.event" in env:
        return False
    if coding.strip().lower() != "chunked":
        raise _length_required()
    return True


def body_too_large() -> falcon.HTTPError:
    """Return the error for a body of more than `MAX_BODY_BYTES`."""
    return falcon.HTTPContentTooLarge(description=f"Send at most {MAX_BODY_BYTES} bytes. {WHAT_TO_SEND}")


def body_incomplete() -> falcon.HTTPError:
    """Return the error for a body that ends early."""
    return _invalid_body(
        "The body is shorter than its Content-Length, or its chunks are incomplete or have trailers. Send all of it."
    )


def _read_chunks(env: "WSGIEnvironment") -> bytes:
    if not env.get("wsgi.input_terminated"):
        raise _length_required()
    body = _read(env, MAX_BODY_BYTES + 1)
    if len(body) > MAX_BODY_BYTES:
        raise body_too_large()
    return body


def _read(env: "WSGIEnvironment", size: int) -> bytes:
    try:
        body: bytes = env["wsgi.input"].read(size)
    except Exception:  # noqa: BLE001 each server has its own
        raise body_incomplete() from None
    return body


def _parse_body(req: falcon.Request) -> dict[str, Any]:
    """Return the fields of a body, which is JSON if it has no `Content-Type`."""
    if not (body := read_body(req)):
        return {}
    try:
        fields = _parser(req)(body, req.content_type)
    except (ValueError, RecursionError, falcon.HTTPBadRequest):  # RecursionError: too deeply nested JSON
        fields = None
    if not isinstance(fields, dict) or any(name.lstrip().startswith("{") for name in fields):
        raise _invalid_body(WHAT_TO_SEND)
    return {name: value for name, value in fields.items() if value is not None}


def _parser(req: falcon.Request) -> Callable[[bytes, str | None], object]:
    """Return the parser of a body. Raises `falcon.HTTPUnsupportedMediaType`."""
    if req.get_header("Content-Encoding", default="identity").lower() != "identity":
        detail = f"Send the body without Content-Encoding. {WHAT_TO_SEND}"
        raise falcon.HTTPUnsupportedMediaType(description=detail, headers={"Accept-Encoding": "identity"})
    media_type = (req.content_type or JSON).partition(";")[0].strip().lower()
    if media_type not in _PARSERS:
        raise falcon.HTTPUnsupportedMediaType(description=WHAT_TO_SEND, headers={"Accept-Post": ", ".join(_PARSERS)})
    return _PARSERS[media_type]


def _parse_json(body: bytes, content_type: str | None) -> object:
    return json.loads(_decode(body), object_pairs_hook=_group)


def _parse_form(body: bytes, content_type: str | None) -> object:
    return falcon.uri.parse_query_string(_decode(body), keep_blank=True)


def _parse_multipart(body: bytes, content_type: str | None) -> object:
    parts = _multipart.deserialize(io.BytesIO(body), content_type, len(body))
    return _group([(part.name or "", _decode(part.get_data())) for part in parts])


_PARSERS = {FORM: _parse_form, MULTIPART: _parse_multipart, JSON: _parse_json}


def _decode(body: bytes) -> str:
    """Decode UTF-8, with or without a byte order mark. Raises `ValueError`."""
    if b"\0" in body:
        raise ValueError("this is probably UTF-16")
    return body.decode("utf-8-sig")


def _group(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return names and values as a dict; the values of a repeated name are a list."""
    values: dict[str, list[Any]] = {}
    for name, value in pairs:
        values.setdefault(name, []).append(value)
    return {name: found if len(found) > 1 else found[0] for name, found in values.items()}


def _values(fields: Mapping[str, Any], name: str) -> list[Any]:
    value = fields.get(name, [])
    return value if isinstance(value, list) else [value]


def _length_required() -> falcon.HTTPError:
    return falcon.HTTPLengthRequired(description="Send the length of the body in a Content-Length header.")


def _invalid_body(detail: str) -> Problem:
    return Problem(falcon.HTTP_400, "Invalid body", detail)
