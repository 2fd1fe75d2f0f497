import socket
from collections.abc import Iterator
from http.client import HTTPResponse
from typing import Any

import pytest
import requests
from zappa.wsgi import create_wsgi_request

from quoteapi.app import create_app
from quoteapi.http.request_fields import MAX_BODY_BYTES, WHAT_TO_SEND
from quoteapi.settings import Settings
from quoteapi.storage.models import ConsoleSms
from tests.conftest import Serve
from tests.helpers.clock import FakeClock
from tests.helpers.data import MIRA, NOOR, OMAR, latest_otp, sqlite_only
from tests.helpers.http import assert_problem
from tests.helpers.servers import GUNICORN, Servers
from tests.rehearsal.lambda_events import api_gateway_event

FORM, JSON = "application/x-www-form-urlencoded", "application/json"
NO_LENGTH = "Send the length of the body in a Content-Length header."
CHUNKED = "Transfer-Encoding: chunked\r\n"


def number_in(response: requests.Response) -> str:
    """Return the number that a response says to have sent an OTP to."""
    assert response.status_code == 200, response.text
    return str(response.json()["message"]).split(" mobile ")[1].split(".")[0]


def post(base: str, body: Any, content_type: str | None = FORM, query: str = "") -> requests.Response:  # noqa: ANN401
    """Send a body, in chunks if it is an iterator."""
    headers = {"Content-Type": content_type} if content_type is not None else {}
    return requests.post(f"{base}/subscribe{query}", data=body, headers=headers, timeout=30)


# ---- bodies in chunks


@pytest.fixture(params=[("quoteapi", "serve", "--workers", "1"), GUNICORN], ids=lambda words: words[0])
def server(request: pytest.FixtureRequest, servers: Servers) -> str:
    return servers.start(*request.param)


def chunks(*parts: str) -> Iterator[bytes]:
    return (part.encode() for part in parts)


def chunk(text: str) -> str:
    return f"{len(text):x}\r\n{text}\r\n"


def send(
    base: str, headers: str, body: str, request: str = "POST /subscribe", *, then_close: bool = False
) -> tuple[int, str]:
    """Send a request. Return the status and the body of the response."""
    method = request.split(maxsplit=1)[0]
    with socket.create_connection(("127.0.0.1", int(base.rpartition(":")[2])), timeout=30) as connection:
        head = f"{request} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {FORM}\r\n{headers}\r\n"
        connection.sendall(f"{head}{body}".encode())
        if then_close:
            connection.shutdown(socket.SHUT_WR)
        response = HTTPResponse(connection, method=method)
        response.begin()
        return response.status, response.read().decode()


def test_a_body_in_chunks_is_read(server: str) -> None:
    assert number_in(post(server, chunks("mobile=%2B", "", MIRA[1:]))) == MIRA
    assert number_in(post(server, chunks('{"mobile":', f'"{NOOR}"}}'), JSON)) == NOOR
    assert_problem(post(server, chunks(f"mobile={NOOR[1:]}"), query=f"?mobile={OMAR[1:]}"), 400, "Invalid mobile")
    assert number_in(post(server, chunks(), query=f"?mobile={OMAR[1:]}")) == OMAR, "an empty body is none"
    largest = f"mobile={OMAR[1:]}".ljust(MAX_BODY_BYTES, "&")
    assert send(server, CHUNKED, f"{chunk(largest)}0\r\n\r\n")[0] == 429, "that number just got a code"


def test_a_body_in_chunks_is_read_up_to_the_limit(server: str) -> None:
    for parts in ([2_000] * 3, [100_000], [1] * 5_000):
        status, problem = send(server, CHUNKED, "".join(chunk("m" * size) for size in parts))
        assert (status, f"Send at most {MAX_BODY_BYTES} bytes." in problem) == (413, True), parts


def test_an_incomplete_body_sends_nothing(server: str, servers: Servers) -> None:
    body = f"mobile={MIRA[1:]}"
    rest_of_chunk = f"{len(body) + 5:x}\r\n{body}"
    for broken in ("", chunk(body), rest_of_chunk, f"{chunk(body)}xyz\r\n", f"{chunk(body)[:-2]}!!0\r\n\r\n"):
        assert send(server, CHUNKED, broken, then_close=True)[0] == 400, broken
    assert send(server, f"Content-Length: {len(body) + 5}\r\n", body, then_close=True)[0] == 400
    assert "code to" not in servers.output()


def test_other_transfer_codings_are_refused(server: str) -> None:
    body = f"{chunk(f'mobile={MIRA[1:]}')}0\r\n\r\n"
    status, problem = send(server, "Transfer-Encoding: gzip, chunked\r\n", body)
    assert (status, NO_LENGTH in problem) == (411, True)
    assert send(server, "Transfer-Encoding: gzip\r\n", body)[0] == 400


def test_a_get_with_a_body_is_refused_and_with_an_empty_one_is_not(server: str) -> None:
    target, body = f"/subscribe?mobile={MIRA[1:]}", f"mobile={NOOR[1:]}"
    for method in ("GET", "HEAD"):
        for headers, sent in ((CHUNKED, f"{chunk(body)}0\r\n\r\n"), (f"Content-Length: {len(body)}\r\n", body)):
            assert send(server, headers, sent, f"{method} {target}")[0] == 400
    assert send(server, CHUNKED, "0\r\n\r\n", f"GET {target}")[0] == 200


def test_a_body_without_a_media_type_is_json(server: str) -> None:
    assert number_in(post(server, f'{{"mobile": "{MIRA}"}}', None)) == MIRA
    assert_problem(post(server, f"mobile={NOOR}", None), 400, "Invalid body", WHAT_TO_SEND)


@sqlite_only
def test_a_server_that_passes_no_chunks_gets_411(serve: Serve) -> None:
    assert_problem(post(serve(), chunks("mobile=1")), 411, "Length required", NO_LENGTH)


@sqlite_only
@pytest.mark.parametrize("coding", [{}, {"Transfer-Encoding": "chunked"}], ids=["length", "chunked"])
@pytest.mark.parametrize("is_base64", [True, False], ids=["base64", "text"])
def test_api_gateway_passes_whole_bodies(
    settings: Settings, clock: FakeClock, coding: dict[str, str], is_base64: bool
) -> None:
    statuses: list[str] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: object = None) -> Any:  # noqa: ANN401
        statuses.append(status)

    app = create_app(settings, now=clock)
    url = f"https://x.execute-api.us-east-1.amazonaws.com/dev/subscribe?mobile={MIRA[1:]}"
    for body, expected in ((f"mobile={NOOR[1:]}", "400"), (f"mobile={MIRA[1:]}", "200"), ("", "429"), (None, "429")):
        headers = {"Content-Type": FORM, **coding}
        event = api_gateway_event("POST", url, stage="dev", api="x", headers=headers, body=body)
        if not is_base64:
            event |= {"body": body, "isBase64Encoded": False}
        env = create_wsgi_request(event, binary_support=True) | {"lambda.event": event}
        b"".join(app(env, start_response))
        assert statuses[-1][:3] == expected, body


# ---- media types


BOUNDARY = "-x-1"
MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"


def multipart(*parts: tuple[str, str], end: str = "--") -> str:
    sent = "".join(
        f"--{BOUNDARY}\r\nContent-Disposition: form-data; {name}\r\n\r\n{value}\r\n" for name, value in parts
    )
    return f"{sent}--{BOUNDARY}{end}\r\n"


READ = [
    ("APPLICATION/JSON", f'{{"mobile": "{MIRA}"}}'),
    ("Application/Json ; Charset=UTF-8", f'{{"mobile": "{MIRA}"}}'),
    ("Application/X-WWW-Form-Urlencoded; Charset=UTF-8", f"mobile={MIRA[1:]}"),
    (f"{FORM}; charset=iso-8859-1", f"mobile={MIRA[1:]}"),
    (f"{FORM};", f"mobile={MIRA[1:]}"),
    (JSON, f'\ufeff{{"mobile": "{MIRA}"}}'),
    (FORM, f"\ufeffmobile={MIRA[1:]}"),
    (JSON, f'{{"mobile": {MIRA[1:]}}}'),
    (JSON, f'{{"mobile": ["{MIRA}"], "otp": null}}'),
    (FORM, "mobile=٩١٩٠٢٨٠٠٠٠٠١"),
    (MULTIPART, multipart(('name="mobile"', MIRA))),
    (MULTIPART, multipart(('name="x"', "y"), ("name=mobile", f"{MIRA}"))),
    (MULTIPART, multipart(('name="mobile"\r\nContent-Type: text/plain; charset=utf-8', "٩١٩٠٢٨٠٠٠٠٠١"))),
    (f'Multipart/Form-Data; Boundary="{BOUNDARY}"', multipart(('name="mobile"', MIRA))),
]


@sqlite_only
@pytest.mark.parametrize(("content_type", "body"), READ)
def test_forms_and_json_are_read_however_their_type_is_written(serve: Serve, content_type: str, body: str) -> None:
    assert number_in(post(serve(), body.encode(), content_type)) == MIRA


@sqlite_only
def test_a_multipart_form_subscribes(serve: Serve) -> None:
    base = serve()
    files = {"mobile": (None, MIRA)}
    assert number_in(requests.post(f"{base}/subscribe", files=files, timeout=30)) == MIRA
    files["otp"] = (None, latest_otp(MIRA))
    assert "subscribed" in requests.post(f"{base}/subscribe", files=files, timeout=30).json()["message"]


@sqlite_only
@pytest.mark.parametrize("content_type", ["text/plain", "text/plain;charset=UTF-8", "text/xml", "json", "*/*", ";"])
def test_another_media_type_is_refused_with_a_sentence_that_says_what_to_send(serve: Serve, content_type: str) -> None:
    refused = post(serve(), f"mobile={MIRA[1:]}", content_type)
    assert_problem(refused, 415, "Unsupported media type", WHAT_TO_SEND)
    assert refused.headers["Accept-Post"] == f"{FORM}, multipart/form-data, {JSON}"


UNREADABLE = [
    (JSON, f'{{"mobile": "{MIRA}"}}'.encode("utf-16")),
    (JSON, b'{"mobile": "\xe9"}'),
    (FORM, f"mobile={MIRA[1:]}".encode("utf-16-le")),
    (FORM, b"mobile=\xe9"),
    (FORM, f'{{"mobile": "{MIRA}"}}'.encode()),
    (MULTIPART, f"mobile={MIRA[1:]}".encode()),
    (MULTIPART, multipart(('name="mobile"', MIRA), end="").encode()),
    (MULTIPART, multipart(('name="mobile"', MIRA)).encode("latin-1")[:-9]),
    (MULTIPART, multipart(('name="mobile"\r\nContent-Transfer-Encoding: base64', "OTE=")).encode()),
    (MULTIPART, multipart(*[('name="x"', "")] * 65).encode()),
    ("multipart/form-data", multipart(('name="mobile"', MIRA)).encode()),
    (f"multipart/form-data; boundary={'x' * 71}", b"--"),
]


@sqlite_only
@pytest.mark.parametrize(("content_type", "body"), UNREADABLE)
def test_an_unreadable_body_is_refused_with_a_sentence_that_says_what_to_send(
    serve: Serve, content_type: str, body: bytes
) -> None:
    refused = post(serve(), body, content_type)
    assert_problem(refused, 400, "Invalid body", WHAT_TO_SEND)


@sqlite_only
def test_a_compressed_body_is_refused(serve: Serve) -> None:
    headers = {"Content-Encoding": "gzip", "Content-Type": FORM}
    refused = requests.post(f"{serve()}/subscribe", data=b"\x1f\x8b", headers=headers, timeout=30)
    assert_problem(refused, 415, "Unsupported media type", "Content-Encoding")
    assert refused.headers["Accept-Encoding"] == "identity"


# ---- fields that are sent repeatedly


A, B = MIRA[1:], NOOR[1:]
DIFFERENT = [
    (f"?mobile={A}", FORM, f"mobile={B}", "mobile"),
    (f"?mobile={A}", JSON, f'{{"mobile": {B}}}', "mobile"),
    (f"?mobile={A}", MULTIPART, multipart(("name=mobile", B)), "mobile"),
    (f"?mobile={A}", FORM, "mobile=", "mobile"),
    (f"?mobile={A}&mobile={B}", FORM, "", "mobile"),
    ("", FORM, f"mobile={A}&mobile={B}", "mobile"),
    ("", JSON, f'{{"mobile": ["{A}", "{B}"]}}', "mobile"),
    ("", JSON, f'{{"mobile": "{A}", "mobile": "{B}"}}', "mobile"),
    ("", MULTIPART, multipart(("name=mobile", A), ("name=mobile", B)), "mobile"),
    (f"?mobile={A}&otp=123456", JSON, '{"otp": "654321"}', "otp"),
    (f"?mobile={A}&otp=123456", FORM, "otp=", "otp"),
]
EQUAL = [
    (f"?mobile={A}", FORM, f"mobile={A}"),
    (f"?mobile={A}", JSON, f'{{"mobile": {A}}}'),
    (f"?mobile={A}", JSON, '{"mobile": null, "otp": null}'),
    (f"?mobile={A}&mobile={A}", FORM, ""),
    (f"?mobile={A}&utm_source=1&utm_source=2", FORM, "utm_source=3"),
    ("", JSON, f'{{"mobile": "{A}", "mobile": {A}, "x": 1, "x": 2}}'),
]


@sqlite_only
@pytest.mark.parametrize(("query", "content_type", "body", "name"), DIFFERENT)
def test_a_field_with_different_values_is_refused(
    serve: Serve, query: str, content_type: str, body: str, name: str
) -> None:
    detail = f"The request has different values of {name}. Send one value."
    assert_problem(post(serve(), body, content_type, query), 400, f"Invalid {name}", detail)
    assert ConsoleSms.select().count() == 0


@sqlite_only
@pytest.mark.parametrize(("query", "content_type", "body"), EQUAL)
def test_a_field_with_one_value_may_be_repeated(serve: Serve, query: str, content_type: str, body: str) -> None:
    assert number_in(post(serve(), body, content_type, query)) == MIRA


@sqlite_only
@pytest.mark.parametrize("path", ["/subscribe", "/unsubscribe", "/pause"])
def test_a_page_asked_for_with_two_numbers_shows_neither(serve: Serve, path: str) -> None:
    page = requests.get(f"{serve()}{path}?mobile={A}&mobile={B}", headers={"Accept": "text/html"}, timeout=30)
    assert (page.status_code, A in page.text, B in page.text) == (400, False, False)
    assert "The request has different values of mobile." in page.text


# ---- numbers in JSON


@sqlite_only
@pytest.mark.parametrize("number", ["919028000001.0", "9.19028000001e11", "9.19028000001E+11", "NaN", "-Infinity"])
def test_a_fraction_is_no_phone_number(serve: Serve, number: str) -> None:
    refused = post(serve(), f'{{"mobile": {number}}}', JSON)
    assert_problem(refused, 400, "Invalid mobile")
    assert "missing" not in refused.text
    assert ConsoleSms.select().count() == 0
