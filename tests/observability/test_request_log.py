import io
import logging
import re
import threading
import time
from collections.abc import Callable

import pytest
import requests

from quoteapi.observability import request_log
from quoteapi.observability.logging_setup import configure_logging
from quoteapi.settings import Settings
from tests.conftest import Serve

ReadLog = Callable[[], str]


def test_a_request_has_one_line_with_its_route_and_id(serve: Serve, read_log: ReadLog) -> None:
    base = serve()
    configure_logging(Settings(log_level="INFO", lambda_function="quotes"))
    for path in ("/daily", "/daily", "/random?author=jane%20austen", "/nothing/+919028000001", "/daily?date=x"):
        requests.get(f"{base}{path}", headers={"X-Request-ID": "check-17"}, timeout=30)
    log = read_log()
    lines = log.splitlines()
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ INFO .* \[check-17\]", line) for line in lines)
    assert [line.split(" INFO ")[1] for line in lines] == [
        "GET /daily 200 [check-17]",
        "GET /daily 200 [check-17]",
        "GET /random 200 [check-17]",
        "GET (no such page) 404 [check-17]",
        "GET /daily 400 [check-17]",
    ]
    assert "9028000001" not in log, "no text of a client is in a log line"


def test_requests_are_not_logged_above_the_level_info(serve: Serve, read_log: ReadLog) -> None:
    base = serve()
    configure_logging(Settings(log_level="WARNING", lambda_function="quotes"))
    requests.get(f"{base}/daily", timeout=30)
    assert read_log() == ""


def test_batched_lines_are_written_soon_and_in_order(serve: Serve, read_log: ReadLog) -> None:
    base = serve()
    configure_logging(Settings(log_level="INFO"))
    for number in range(50):
        requests.get(f"{base}/daily", headers={"X-Request-ID": f"n{number}"}, timeout=30)
    token = request_log.request_id.set("n50")
    logging.getLogger("quoteapi.anything").error("Something is wrong")
    request_log.request_id.reset(token)
    ids = re.findall(r"\[n(\d+)\]", read_log())
    assert ids == [str(number) for number in range(51)], "an error is written at once, after the lines before it"


def test_the_queue_drops_the_oldest_lines_when_it_is_full() -> None:
    stream = io.StringIO()
    writer = request_log.BatchWriter(stream, unbuffered=False)
    writer._has_lines.set()  # as while its thread writes
    for number in range(request_log.MAX_QUEUED_LINES + 5):
        writer.write(f"line {number:x}\n")
    writer.flush()
    assert stream.getvalue().startswith("line 5\n")


def test_lines_of_concurrent_threads_keep_their_order() -> None:
    class SlowAtFirst(io.StringIO):
        def write(self, text: str) -> int:
            if text.startswith("first"):
                started.set()
                time.sleep(0.1)
            return super().write(text)

    started, stream = threading.Event(), SlowAtFirst()
    writer = request_log.BatchWriter(stream, unbuffered=True)
    thread = threading.Thread(target=writer.write, args=("first\n",))
    thread.start()
    started.wait()
    writer.write("second\n")
    thread.join()
    assert stream.getvalue() == "first\nsecond\n"


def test_a_closed_standard_error_fails_no_request(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    base = serve()
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(request_log, "_writer", request_log.BatchWriter(closed, unbuffered=True))
    logging.getLogger("quoteapi").setLevel(logging.INFO)
    assert requests.get(f"{base}/daily", timeout=30).status_code == 200
    assert requests.get(f"{base}/random", timeout=30).status_code == 200
    logging.getLogger("quoteapi").setLevel(logging.NOTSET)


def test_a_phone_number_in_the_request_id_of_a_client_is_not_logged(serve: Serve, read_log: ReadLog) -> None:
    base = serve()
    configure_logging(Settings(log_level="INFO", lambda_function="quotes"))
    response = requests.get(f"{base}/daily", headers={"X-Request-ID": "tel919028000001"}, timeout=30)
    assert response.headers["X-Request-ID"] == "tel919028000001"
    assert read_log().endswith("GET /daily 200 [tel•]\n")
