import hashlib
import hmac
import json
import re
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, unquote, urlsplit

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from quoteapi import client
from quoteapi.cli import main
from quoteapi.client import Answer, NoAnswer, Proof, WrongRequest, ask, canonical

KEY_ID, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
WORD = "s3cret"
SIGNED = Proof(sign=True, region="eu-west-1")


class Received(NamedTuple):
    """A request as it came over the wire."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


class Api:
    """An API on loopback that remembers what it was asked, and answers what it is told to."""

    def __init__(self) -> None:
        self.asked: list[Received] = []
        self.status, self.headers, self.body = 200, {"Content-Length": "2"}, b"{}"
        self.waits = threading.Event()
        self.waits.set()
        api = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                api.asked.append(Received(self.command, self.path, headers, body))
                api.waits.wait()
                self.send_response(api.status)
                for name, value in api.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(api.body if self.command != "HEAD" else b"")

            do_GET = do_HEAD = do_POST = do_DELETE = answer  # noqa: N815 their names

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 its name
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.host = f"127.0.0.1:{self.server.server_port}"
        self.address = f"http://{self.host}"

    def answers(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.status, self.body, self.headers = status, body, {"Content-Length": str(len(body)), **headers}

    @contextmanager
    def serving(self) -> Iterator["Api"]:
        thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield self
        finally:
            self.waits.set()
            self.server.shutdown()
            thread.join()
            self.server.server_close()


@pytest.fixture
def api() -> Iterator[Api]:
    with Api().serving() as api:
        yield api


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)


def run(*words: str, **environment: str) -> Result:
    return CliRunner().invoke(main, ["request", *words], env=environment)


# ---- the signature, as AWS's published rules have it


def signed_by_the_rules(received: Received, secret: str) -> str:
    """Work out the signature of a request by AWS's rules (Signature Version 4), with nothing of botocore."""
    scope, names = re.search(
        r"Credential=[^/]+/(\S+), SignedHeaders=(\S+),", received.headers["authorization"]
    ).groups()  # type: ignore[union-attr]
    path, _, query = received.target.partition("?")
    pairs = [pair.partition("=") for pair in query.split("&") if pair]
    by_rule = sorted((encoded(unquote(name)), encoded(unquote(value))) for name, _, value in pairs)
    canonical_request = "\n".join(
        (
            received.method,
            "/".join(encoded(part) for part in path.split("/")),  # once more than it came, as every service but S3
            "&".join(f"{name}={value}" for name, value in by_rule),
            *(f"{name}:{' '.join(received.headers[name].split())}" for name in names.split(";")),
            "",
            names,
            hashlib.sha256(received.body).hexdigest(),
        )
    )
    digest = hashlib.sha256(canonical_request.encode()).hexdigest()
    to_sign = "\n".join(("AWS4-HMAC-SHA256", received.headers["x-amz-date"], scope, digest))
    key = f"AWS4{secret}".encode()
    for part in (*scope.split("/"), to_sign):
        key = hmac.digest(key, part.encode(), "sha256")
    return key.hex()


def encoded(text: str) -> str:
    return quote(text, safe="-_.~")


def signed_by_botocore(received: Received, region: str) -> str:
    names = re.search(r"SignedHeaders=(\S+),", received.headers["authorization"])[1].split(";")  # type: ignore[index]
    headers = {name: received.headers[name] for name in names}
    url = f"http://{received.headers['host']}{received.target}"
    request = AWSRequest(received.method, url, headers, received.body)
    request.context["timestamp"] = received.headers["x-amz-date"]
    auth = SigV4Auth(Credentials(KEY_ID, SECRET), "execute-api", region)
    return str(auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request))


def signature_in(received: Received) -> str:
    return received.headers["authorization"].rpartition("Signature=")[2]


def test_the_rules_as_written_here_give_the_signature_that_aws_published() -> None:
    published = Received(
        "GET",
        "/?Action=ListUsers&Version=2010-05-08",
        {
            "content-type": "application/x-www-form-urlencoded; charset=utf-8",
            "host": "iam.amazonaws.com",
            "x-amz-date": "20150830T123600Z",
            "authorization": (
                "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request,"
                " SignedHeaders=content-type;host;x-amz-date, Signature="
            ),
        },
        b"",
    )
    signature = "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
    assert signed_by_the_rules(published, SECRET) == signature


@pytest.mark.parametrize(
    "target",
    [
        "",
        "/dev/daily",
        "/dev/a quote/of Zoë/“hope”",
        "/dev/a%20b/c%2Fd/e%2fd/100%",
        "/dev/quotes;v=1/(a)!*'$&+,=:@~",
        "/dev/quotes?q=hope and love&q=%22a%22&q=",
        "/dev/quotes?q=a+b&author=Émile%20Zola&empty&cursor=a=b==",
        "/dev/quotes?b=2&a=2&a=1&B=0&%C3%A9=%e9",
        "/dev/quotes?q=a/b?c&q=a:b@c,d;e(f)*!'$",
        "/dev//daily/",
        "/dev/./x/../daily",
    ],
)
def test_what_is_signed_is_what_is_sent(api: Api, target: str) -> None:
    ask("GET", f"{api.address}{target}", proof=SIGNED)
    (received,) = api.asked
    assert signature_in(received) == signed_by_botocore(received, "eu-west-1")
    if "//" not in target and "/." not in target and "%e9" not in target:  # which the rules here do not know
        assert signature_in(received) == signed_by_the_rules(received, SECRET)


words = st.text(st.characters(exclude_categories=["Cs"]), max_size=8).filter(lambda text: text.strip(".") == text)
written = st.builds(lambda text, whole: quote(text, safe="") if whole else encoded(text), words, st.booleans())


@given(st.lists(written.filter(bool)), st.lists(st.tuples(written, written)), st.text(st.characters(codec="utf-8")))
def test_the_signature_holds_for_any_path_query_and_body(
    parts: list[str], pairs: list[tuple[str, str]], body: str
) -> None:
    query = "&".join(f"{name}={value}" for name, value in pairs)
    with Api().serving() as api:
        ask("POST", f"{api.address}/{'/'.join(parts)}?{query}", body, SIGNED)
    (received,) = api.asked
    assert received.body == body.encode()
    assert [unquote(part) for part in urlsplit(received.target).path.split("/")[1:]] == [
        unquote(part) for part in parts or [""]
    ]
    assert signature_in(received) == signed_by_the_rules(received, SECRET)


def test_the_body_the_key_and_the_session_are_signed_too(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "session of today")
    ask("POST", f"{api.address}/dev/subscribe", '{"mobile": "é"}', SIGNED._replace(api_key="key"))
    (received,) = api.asked
    names = re.search(r"SignedHeaders=(\S+),", received.headers["authorization"])
    assert names is not None
    assert names[1] == "content-type;host;x-amz-date;x-amz-security-token;x-api-key"
    assert signature_in(received) == signed_by_the_rules(received, SECRET)
    forged = received._replace(body=b'{"mobile": "e"}')
    assert signature_in(received) != signed_by_the_rules(forged, SECRET)


def region_signed_for(url: str, region: str | None) -> str:
    request = AWSRequest("GET", url)
    client._sign(request, url, region)
    return str(request.headers["Authorization"].split("/")[2])


def test_the_region_is_that_of_the_host_else_the_one_asked_for_else_the_sessions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    of_aws, of_ours = "https://abc1.execute-api.eu-west-1.amazonaws.com/dev", "https://quotes.example.org"
    assert region_signed_for(of_aws, "us-east-1") == "eu-west-1"
    assert region_signed_for("https://abc1.execute-api.cn-north-1.amazonaws.com.cn/dev", None) == "cn-north-1"
    assert region_signed_for(of_ours, "ap-south-1") == "ap-south-1"
    with pytest.raises(WrongRequest, match="--region"):
        region_signed_for(of_ours, None)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-north-1")
    assert region_signed_for(of_ours, None) == "eu-north-1"


# ---- addresses


@pytest.mark.parametrize(
    ("url", "form"),
    [
        ("https://Quotes.Example.org", "https://quotes.example.org/"),
        ("https://quotes.example.org/a b?q=a b#c", "https://quotes.example.org/a%20b?q=a%20b"),
        ("https://bücher.example/daily", "https://xn--bcher-kva.example/daily"),
        ("http://[::1]:8000/daily", "http://[::1]:8000/daily"),
        ("https://q.example/?a&b=&&c=%2b+", "https://q.example/?a=&b=&c=%2B%20"),
    ],
)
def test_an_address_has_one_form(url: str, form: str) -> None:
    assert canonical(url) == form
    assert canonical(form) == form


@pytest.mark.parametrize(
    "url",
    [
        *("", "quotes.example.org", "ftp://q.example", "file:///etc/hosts", "https://", "https://me:pw@q.example/"),
        *("https://q.example:0/", "https://q.example:99999/", "https://[::1/", "https://a..b/", "https://q/\udcff"),
    ],
)
def test_an_address_that_is_none_is_told_off(url: str) -> None:
    with pytest.raises(WrongRequest, match="whole address"):
        canonical(url)
    assert run("GET", url).exit_code == 2


# ---- what is sent


def test_data_is_json_where_it_looks_like_it_and_else_a_form(api: Api) -> None:
    ask("POST", api.address, '{"a": 1}')
    ask("POST", api.address, "mobile=%2B919028000001")
    ask("GET", api.address)
    assert [received.headers.get("content-type") for received in api.asked] == [
        "application/json",
        "application/x-www-form-urlencoded",
        None,
    ]
    assert [received.body for received in api.asked] == [b'{"a": 1}', b"mobile=%2B919028000001", b""]


def test_a_get_may_have_a_body_too(api: Api) -> None:
    ask("GET", api.address, "a=1", SIGNED)
    (received,) = api.asked
    assert received.body == b"a=1"
    assert signature_in(received) == signed_by_the_rules(received, SECRET)


def test_keys_and_tokens_come_from_words_or_from_the_environment(api: Api) -> None:
    assert run("GET", api.address, "--api-key", "key of words", "--token", "x").exit_code == 2, "no key has spaces"
    assert run("GET", api.address, "--api-key", "k1", "--token", "t1").exit_code == 0
    assert run("GET", api.address, QUOTEAPI_API_KEY="k2", QUOTEAPI_TOKEN=WORD).exit_code == 0
    sent = [(received.headers["x-api-key"], received.headers["authorization"]) for received in api.asked]
    assert sent == [("k1", "Bearer t1"), ("k2", f"Bearer {WORD}")]


def test_the_command_signs(api: Api) -> None:
    assert run("get", f"{api.address}/dev/daily?q=a b", "--sign", "--region", "eu-west-1").exit_code == 0
    (received,) = api.asked
    assert signature_in(received) == signed_by_the_rules(received, SECRET)


@pytest.mark.parametrize("secret", [["--sign", "--region", "x"], ["--api-key", "s3cret"], ["--token", "s3cret"]])
def test_a_secret_is_not_sent_where_others_can_read_it(secret: list[str]) -> None:
    refused = run("GET", "http://192.0.2.1/daily", *secret)
    assert refused.exit_code == 2
    assert "use https://" in refused.stderr
    assert "s3cret" not in refused.output


def test_a_secret_goes_past_a_proxy_to_this_machine(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert ask("GET", api.address, proof=Proof(token=WORD)).status == 200


@pytest.mark.parametrize("secret", ["s3cret\nX-Evil:1", "s3crét", "s3cret "])
def test_a_secret_that_no_header_can_carry_is_told_off_and_not_shown(api: Api, secret: str) -> None:
    for told in (run("GET", api.address, "--token", secret), run("GET", api.address, QUOTEAPI_API_KEY=secret)):
        assert told.exit_code == 2
        assert "has characters" in told.stderr
        assert "s3cr" not in told.output
    assert api.asked == []


def test_a_signature_and_a_token_do_not_go_together(api: Api) -> None:
    both = run("GET", api.address, "--sign", QUOTEAPI_TOKEN=WORD)
    assert both.exit_code == 2
    assert "choose one" in both.stderr


def test_who_has_no_credentials_is_told_what_to_do(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    nobody = run("GET", api.address, "--sign", "--region", "eu-west-1")
    assert nobody.exit_code == 1
    assert "run `aws configure`" in nobody.stderr
    monkeypatch.setenv("AWS_PROFILE", "of nobody")
    stranger = run("GET", api.address, "--sign", "--region", "eu-west-1")
    assert stranger.exit_code == 1
    assert "ProfileNotFound" in stranger.stderr
    assert api.asked == []


# ---- what comes back


def test_the_body_comes_untouched_and_the_status_beside_it(api: Api) -> None:
    api.answers(200, b"\xff\x00 no newline")
    shown = run("GET", api.address)
    assert shown.stdout_bytes == b"\xff\x00 no newline"
    assert shown.stderr == "200 OK\n"
    assert shown.exit_code == 0


@pytest.mark.parametrize(("status", "exit_code"), [(204, 0), (304, 0), (400, 1), (403, 1), (500, 1), (599, 1)])
def test_the_exit_code_tells_whether_it_worked(api: Api, status: int, exit_code: int) -> None:
    api.answers(status)
    assert run("DELETE", api.address).exit_code == exit_code


def test_a_redirect_is_shown_and_not_followed(api: Api) -> None:
    api.answers(302, Location=f"{api.address}/elsewhere")
    shown = run("GET", api.address)
    assert shown.exit_code == 0
    assert shown.stderr == f"302 Found {api.address}/elsewhere\n"
    assert len(api.asked) == 1


def test_json_is_one_object(api: Api) -> None:
    api.answers(403, '{"message":"Forbidden é"}'.encode(), **{"x-amzn-ErrorType": "ForbiddenException"})
    shown = run("GET", api.address, "--json")
    answer = json.loads(shown.stdout)
    assert (answer["status"], answer["body"]) == (403, '{"message":"Forbidden é"}')
    assert answer["headers"]["x-amzn-ErrorType"] == "ForbiddenException"
    assert set(answer) == {"status", "headers", "body"}
    assert shown.exit_code == 1
    api.answers(200, b"\xff")
    assert json.loads(run("GET", api.address, "--json").stdout)["body"] == "\ufffd", "whatever the body is"


def test_the_answer_to_head_is_its_headers(api: Api) -> None:
    api.answers(200, b"0123456789")
    assert ask("HEAD", api.address) == Answer(200, ask("GET", api.address).headers, b"")


def test_nothing_is_asked_twice(api: Api) -> None:
    api.answers(503)
    ask("GET", api.address)
    assert len(api.asked) == 1


def test_nobody_there_is_a_sentence(api: Api) -> None:
    with Api().serving() as gone:
        pass
    shown = run("GET", f"{gone.address}/daily?mobile=919028000001", "--token", "s3cret")
    assert shown.exit_code == 1
    assert shown.stderr == (
        f"Error: Nothing answers at {gone.host}: look whether the address is right, and the network is up.\n"
    )


def test_who_does_not_answer_is_not_waited_for_for_ever(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "READ_SECONDS", 0.1)
    api.waits.clear()
    too_late = threading.Timer(5, api.waits.set)
    too_late.start()
    with pytest.raises(NoAnswer, match=r"no answer from .* within"):
        ask("GET", api.address)
    too_late.cancel()


@pytest.mark.parametrize("body", [b"{}", b""])
def test_an_answer_that_breaks_off_is_none(api: Api, body: bytes) -> None:
    api.answers(200, body, **{"Content-Length": "100"})
    with pytest.raises(NoAnswer, match="broke off"):
        ask("GET", api.address)


def test_a_certificate_that_nobody_trusts_is_a_sentence(api: Api, tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(self_signed(tmp_path / "certificate.pem"))
    api.server.socket = context.wrap_socket(api.server.socket, server_side=True)
    with pytest.raises(NoAnswer, match=r"TLS with .* failed"):
        ask("GET", f"https://{api.host}/daily", proof=Proof(token=WORD))
    assert api.asked == []


def self_signed(path: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    return path


def test_a_placeholder_of_a_page_is_told() -> None:
    with pytest.raises(WrongRequest, match="still has <api-id>: put yours in its place"):
        canonical("https://<api-id>.execute-api.us-east-1.amazonaws.com/dev/daily")
