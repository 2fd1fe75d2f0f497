import logging
import re
from collections.abc import Callable

import pytest

from quoteapi.observability.logging_setup import RedactingFormatter, configure_logging
from quoteapi.observability.request_log import request_id
from quoteapi.settings import Settings
from tests.helpers.data import MIRA, NOOR, SECRET_KEY
from tests.helpers.text_strategies import UNPRINTABLE

ReadLog = Callable[[], str]


def test_an_error_is_logged_with_its_traceback(read_log: ReadLog) -> None:
    configure_logging(Settings(log_level="INFO"))
    try:
        raise ValueError("what is wrong")
    except ValueError:
        logging.getLogger("quoteapi.anything").exception("It failed")
    log = read_log()
    assert re.match(r"\S+ ERROR It failed \[-\]\n  Traceback", log)
    assert "ValueError: what is wrong" in log


def test_an_error_has_its_phone_numbers_masked_and_its_request_id_whole(read_log: ReadLog) -> None:
    configure_logging(Settings(log_level="INFO", lambda_function="quotes"))
    token = request_id.set("01234567890123456789012345678901")
    try:
        raise ValueError(f"no row for {MIRA}")
    except ValueError:
        logging.getLogger("quoteapi.anything").exception("It failed")
    request_id.reset(token)
    log = read_log()
    assert "ERROR It failed [01234567890123456789012345678901]\n  Traceback" in log
    assert "ValueError: no row for +91••••••0001\n" in log
    warning = logging.makeLogRecord({"msg": "No SMS to %s", "args": (NOOR,), "levelname": "WARNING"})
    assert RedactingFormatter(Settings()).format(warning).endswith(" WARNING No SMS to +91••••••0002 [-]")


def test_other_handlers_log_neither_our_records_nor_urls_with_queries(read_log: ReadLog) -> None:
    class LambdaHandler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    messages: list[str] = []
    root, handler = logging.getLogger(), LambdaHandler(logging.INFO)
    root.addHandler(handler)
    level = root.level
    root.setLevel(logging.INFO)
    configure_logging(Settings(log_level="INFO", lambda_function="quotes"))
    logging.getLogger("quoteapi.anything").error("It failed")
    logging.getLogger("zappa.wsgi").info("GET /subscribe?mobile=919028000001")
    root.setLevel(level)
    root.removeHandler(handler)
    assert messages == []
    assert "It failed" in read_log()


def test_an_error_has_the_secrets_of_the_settings_hidden(read_log: ReadLog) -> None:
    url = "postgresql://me:hunter2horse@db.example.org:5432/quotes"
    configure_logging(Settings(database_url=url, secret_key=SECRET_KEY, lambda_function="quotes"))
    try:
        raise ValueError(f"no way to {url} with {SECRET_KEY}, code 271828")
    except ValueError:
        logging.getLogger("quoteapi.anything").exception("It failed at %s", url)
    log = read_log()
    assert "It failed at •••" in log
    assert [secret for secret in ("hunter2horse", SECRET_KEY, "271828") if secret in log] == []


def test_an_error_keeps_the_request_id_of_aws(read_log: ReadLog) -> None:
    configure_logging(Settings(lambda_function="quotes"))
    token = request_id.set("12345678-abcd-4c3d-9e8f-12345678901a")
    logging.getLogger("quoteapi.anything").error("It failed")
    request_id.reset(token)
    assert "ERROR It failed [12345678-abcd-4c3d-9e8f-12345678901a]\n" in read_log()


def test_a_record_that_cannot_be_formatted_raises_no_error(read_log: ReadLog) -> None:
    configure_logging(Settings(lambda_function="quotes"))
    logging.getLogger("quoteapi.anything").error("%d of them", "not a number")
    assert "ERROR A log message could not be formatted (TypeError)" in read_log()


@pytest.mark.parametrize("written", ['pa"ss\\word1', repr('pa"ss\\word1'), "pa%22ss%5Cword1"])
def test_the_password_of_a_url_is_hidden_in_each_encoding(read_log: ReadLog, written: str) -> None:
    configure_logging(Settings(database_url="postgresql://me:pa%22ss%5Cword1@db/quotes", lambda_function="quotes"))
    logging.getLogger("quoteapi.anything").error("no way in with %s", written)
    assert "word1" not in read_log()
    logging.getLogger("quoteapi.anything").error("in quotes.py")
    assert "ERROR in quotes.py" in read_log(), "the rest of a URL is no secret"


FORGED = "x\x1b[2J\r\n2026-11-22T12:00:00Z INFO GET /daily 200 [-]\x9b1A\u202e\u2028y"


def test_no_text_in_a_record_can_forge_another_or_move_the_cursor(read_log: ReadLog) -> None:
    configure_logging(Settings(log_level="INFO", lambda_function="quotes"))
    log = logging.getLogger("quoteapi.anything")
    log.warning("No quote from %s", FORGED)
    log.warning("%s is refused", {FORGED: FORGED})
    try:
        raise ValueError(FORGED) from OSError(FORGED)
    except ValueError:
        log.exception("It failed")
    written = read_log()
    lines = written.splitlines()
    assert written == "".join(f"{line}\n" for line in lines), "no other character ends a line"
    assert all(line.startswith("  ") or re.match(r"\S+Z (WARNING|ERROR) ", line) for line in lines), written
    assert not set(written) - {"\n"} & set(UNPRINTABLE)
