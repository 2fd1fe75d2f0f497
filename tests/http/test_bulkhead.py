import time

import falcon
import pytest

from quoteapi.http.bulkhead import MAX_CONCURRENT, WAIT_SECONDS, bulkhead


def test_requests_over_the_limit_get_503_the_second_one_at_once() -> None:
    slots = [bulkhead() for _ in range(MAX_CONCURRENT)]
    for slot in slots:
        slot.__enter__()
    try:
        for at_least, at_most in ((WAIT_SECONDS, 5), (0, WAIT_SECONDS)):
            started = time.monotonic()
            with pytest.raises(falcon.HTTPServiceUnavailable), bulkhead():
                pass
            assert at_least <= time.monotonic() - started < at_most
    finally:
        for slot in slots:
            slot.__exit__(None, None, None)
    with bulkhead():
        pass
