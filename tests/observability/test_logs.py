import io
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import requests

from quoteapi.observability import logs
from quoteapi.settings import Settings
from tests.conftest import Serve
from tests.helpers.data import MIRA, NOOR, SECRET_KEY

Told = Callable[[], str]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Told]:
    """Tell what was written to standard error, and forget about logging afterwards."""
    monkeypatch.setattr(logs, "_writer", None)
    package = logging.getLogger("quoteapi")
    level = package.level
    yield lambda: capsys.readouterr().err
    package.handlers.clear()
    package.setLevel(level)


def test_a_request_has_one_line_with_its_route_and_id(serve: Serve, told: Told) -> None:
    base = serve()
    logs.configure_logging(Settings(log_level="INFO", lambda_function="quotes"))
    for path in ("/daily", "/daily", "/random?author=jane%20austen", "/nothing/+919028000001", "/daily?date=x"):
        requests.get(f"{base}{path}", headers={"X-Request-ID": "check-17"}, timeout=5)
    said = told()
    lines = said.splitlines()
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ INFO .* \[check-17\]", line) for line in lines)
    assert [line.split(" INFO ")[1] for line in lines] == [
        "GET /daily 200 [check-17]",
        "GET /daily 200 [check-17]",
        "GET /random 200 [check-17]",
        "GET (no such page) 404 [check-17]",
        "GET /daily 400 [check-17]",
    ]
    assert "9028000001" not in said, "what a stranger wrote is in no line"


def test_requests_have_no_line_where_the_level_is_higher(serve: Serve, told: Told) -> None:
    base = serve()
    logs.configure_logging(Settings(log_level="WARNING", lambda_function="quotes"))
    requests.get(f"{base}/daily", timeout=5)
    assert told() == ""


def test_lines_that_are_gathered_come_soon_and_in_order(serve: Serve, told: Told) -> None:
    base = serve()
    logs.configure_logging(Settings(log_level="INFO"))
    for number in range(50):
        requests.get(f"{base}/daily", headers={"X-Request-ID": f"n{number}"}, timeout=5)
    token = logs.request_id.set("n50")
    logging.getLogger("quoteapi.anything").error("Something is wrong")
    logs.request_id.reset(token)
    ids = re.findall(r"\[n(\d+)\]", told())
    assert ids == [str(number) for number in range(51)], "an error is written at once, after the lines before it"


def test_an_error_has_its_traceback(told: Told) -> None:
    logs.configure_logging(Settings(log_level="INFO"))
    try:
        raise ValueError("what is wrong")
    except ValueError:
        logging.getLogger("quoteapi.anything").exception("It failed")
    said = told()
    assert re.match(r"\S+ ERROR It failed \[-\]\nTraceback", said)
    assert "ValueError: what is wrong" in said


def test_lines_that_nobody_takes_do_not_fill_the_memory() -> None:
    stream = io.StringIO()
    writer = logs._Writer(stream, at_once=False)
    writer._some_wait.set()  # as while its thread writes
    for number in range(logs.MOST_WAITING + 5):
        writer.add(f"line {number:x}\n")
    writer.write()
    assert stream.getvalue().startswith("line 5\n")


def test_lines_of_threads_that_write_at_once_keep_their_order() -> None:
    class SlowAtFirst(io.StringIO):
        def write(self, text: str) -> int:
            if text.startswith("first"):
                begun.set()
                time.sleep(0.1)
            return super().write(text)

    begun, stream = threading.Event(), SlowAtFirst()
    writer = logs._Writer(stream, at_once=True)
    thread = threading.Thread(target=writer.add, args=("first\n",))
    thread.start()
    begun.wait()
    writer.add("second\n")
    thread.join()
    assert stream.getvalue() == "first\nsecond\n"


def test_a_standard_error_that_is_gone_fails_no_request(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    base = serve()
    gone = io.StringIO()
    gone.close()
    monkeypatch.setattr(logs, "_writer", logs._Writer(gone, at_once=True))
    logging.getLogger("quoteapi").setLevel(logging.INFO)
    assert requests.get(f"{base}/daily", timeout=5).status_code == 200
    assert requests.get(f"{base}/random", timeout=5).status_code == 200
    logging.getLogger("quoteapi").setLevel(logging.NOTSET)


def test_an_error_has_its_phone_numbers_masked_and_its_request_id_whole(told: Told) -> None:
    logs.configure_logging(Settings(log_level="INFO", lambda_function="quotes"))
    token = logs.request_id.set("01234567890123456789012345678901")
    try:
        raise ValueError(f"no row for {MIRA}")
    except ValueError:
        logging.getLogger("quoteapi.anything").exception("It failed")
    logs.request_id.reset(token)
    said = told()
    assert "ERROR It failed [01234567890123456789012345678901]\nTraceback" in said
    assert "ValueError: no row for +91••••••0001\n" in said
    warning = logging.makeLogRecord({"msg": "No SMS to %s", "args": (NOOR,), "levelname": "WARNING"})
    assert logs._Formatter(Settings()).format(warning).endswith(" WARNING No SMS to +91••••••0002 [-]")


def test_nobody_else_writes_our_lines_or_addresses_with_what_clients_sent(told: Told) -> None:
    class Lambdas(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            written.append(record.getMessage())

    written: list[str] = []
    root, handler = logging.getLogger(), Lambdas(logging.INFO)
    root.addHandler(handler)
    level = root.level
    root.setLevel(logging.INFO)
    logs.configure_logging(Settings(log_level="INFO", lambda_function="quotes"))
    logging.getLogger("quoteapi.anything").error("It failed")
    logging.getLogger("zappa.wsgi").info("GET /subscribe?mobile=919028000001")
    root.setLevel(level)
    root.removeHandler(handler)
    assert written == []
    assert "It failed" in told()


def test_a_number_that_a_client_names_its_request_by_is_not_in_the_log(serve: Serve, told: Told) -> None:
    base = serve()
    logs.configure_logging(Settings(log_level="INFO", lambda_function="quotes"))
    answer = requests.get(f"{base}/daily", headers={"X-Request-ID": "tel919028000001"}, timeout=5)
    assert answer.headers["X-Request-ID"] == "tel919028000001"
    assert told().endswith("GET /daily 200 [tel•]\n")


def test_an_error_has_the_secrets_of_the_settings_hidden(told: Told) -> None:
    url = "postgresql://me:hunter2horse@db.example.org:5432/quotes"
    logs.configure_logging(Settings(database_url=url, secret_key=SECRET_KEY, lambda_function="quotes"))
    try:
        raise ValueError(f"no way to {url} with {SECRET_KEY}, code 271828")
    except ValueError:
        logging.getLogger("quoteapi.anything").exception("It failed at %s", url)
    said = told()
    assert "It failed at •••" in said
    assert [secret for secret in ("hunter2horse", SECRET_KEY, "271828") if secret in said] == []


def test_an_error_keeps_the_id_that_aws_gave_its_request(told: Told) -> None:
    logs.configure_logging(Settings(lambda_function="quotes"))
    token = logs.request_id.set("12345678-abcd-4c3d-9e8f-12345678901a")
    logging.getLogger("quoteapi.anything").error("It failed")
    logs.request_id.reset(token)
    assert "ERROR It failed [12345678-abcd-4c3d-9e8f-12345678901a]\n" in told()


def test_a_line_that_cannot_be_written_fails_nobody(told: Told) -> None:
    logs.configure_logging(Settings(lambda_function="quotes"))
    logging.getLogger("quoteapi.anything").error("%d of them", "not a number")
    assert "ERROR A line could not be written (TypeError)" in told()


@pytest.mark.parametrize("written", ['pa"ss\\word1', repr('pa"ss\\word1'), "pa%22ss%5Cword1"])
def test_a_password_of_an_address_is_hidden_however_it_is_written(told: Told, written: str) -> None:
    logs.configure_logging(Settings(database_url="postgresql://me:pa%22ss%5Cword1@db/quotes", lambda_function="quotes"))
    logging.getLogger("quoteapi.anything").error("no way in with %s", written)
    assert "word1" not in told()
    logging.getLogger("quoteapi.anything").error("in quotes.py")
    assert "ERROR in quotes.py" in told(), "the rest of an address is no secret"
