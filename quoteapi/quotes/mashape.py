"""The upstream quote API (once of Mashape, now of RapidAPI and others). The only room that knows `requests`."""

import json
import logging
import time
from collections.abc import Callable
from concurrent.futures import Future
from http.cookiejar import DefaultCookiePolicy
from threading import BoundedSemaphore, Lock, Thread
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError
from urllib3.util import Retry

from quoteapi.quotes.quotation import InvalidQuotation, Quotation, validate_quotation

CONNECT_SECONDS = 2.0
READ_SECONDS = 3.0
WHOLE_SECONDS = 5.0
"""For all of it: the try and the second one, and an answer that comes in drops."""
MOST_AT_ONCE = 4
"""Requests under way in a process, those that were given up but have not ended included."""
MAX_ANSWER_BYTES = 64 * 1024
FAILURES_TO_OPEN = 3
"""Failures in a row after which the upstream API is left alone."""
OPEN_SECONDS = 60.0
"""How long it is left alone."""
UNNAMED_CATEGORY = "general"
"""The category of a quote that comes without one."""
log = logging.getLogger(__name__)


class UnusableResponse(Exception):
    """The upstream API answered something that is not a quote; the message says what."""


class MashapeQuotes:
    """Fetches quotes from an upstream API, and leaves it alone for a while when it keeps failing."""

    def __init__(self, endpoint: str, key: str | None, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Ask `endpoint`, an http(s) address, with `key` in the headers that the known market places read."""
        self._endpoint = endpoint
        self._host = urlsplit(endpoint).netloc.rpartition("@")[2]
        self._monotonic = monotonic
        self._breaker = CircuitBreaker(monotonic)
        self._free = BoundedSemaphore(MOST_AT_ONCE)
        # urllib3's warnings have the whole address, and an address may hold a key.
        logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
        self._session = requests.Session()
        retry = Retry(total=1, redirect=0, status_forcelist=(500, 502, 503, 504), respect_retry_after_header=False)
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=retry))
        self._session.headers["Accept"] = "application/json"
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        if key is not None:
            names = ("X-Mashape-Key", "X-RapidAPI-Key", "X-Api-Key")
            self._session.headers.update(dict.fromkeys(names, key) | {"X-RapidAPI-Host": self._host})

    def fetch(self) -> Quotation | None:
        """Fetch a quote. None where the upstream API is down, answers nonsense, or is being left alone."""
        if not self._breaker.lets_through():
            return None
        try:
            quotation = parse_response(self._asked_in_time())
        except (requests.RequestException, HTTPError, UnusableResponse) as error:
            # The class of a transport's error says enough; its text has the address, which may hold a key.
            reason = str(error) if isinstance(error, UnusableResponse) else type(error).__name__
            log.warning("No quote from the upstream API at %s: %s", self._host, reason)
            self._breaker.failed()
            return None
        self._breaker.succeeded()
        return quotation

    def _asked_in_time(self) -> bytes:
        """Ask in a thread of its own, and give it up when it takes too long: no socket has a time-out for the whole."""
        if not self._free.acquire(blocking=False):
            raise UnusableResponse(f"{MOST_AT_ONCE} requests are under way")
        answer: Future[bytes] = Future()

        def ask() -> None:
            try:
                answer.set_result(self._ask())
            except Exception as error:  # noqa: BLE001 it is raised where it is waited for
                answer.set_exception(error)
            finally:
                self._free.release()

        Thread(target=ask, daemon=True).start()
        try:
            return answer.result(WHOLE_SECONDS)
        except TimeoutError as error:
            raise UnusableResponse(f"its answer took over {WHOLE_SECONDS:.0f} seconds") from error

    def _ask(self) -> bytes:
        deadline = self._monotonic() + WHOLE_SECONDS
        timeouts = (CONNECT_SECONDS, READ_SECONDS)
        # Redirects are not followed: the key is for this host alone.
        with self._session.get(self._endpoint, timeout=timeouts, stream=True, allow_redirects=False) as response:
            if response.status_code != requests.codes.ok:
                raise UnusableResponse(f"it answered {response.status_code}")
            answer = b""
            while piece := response.raw.read1(4_096, decode_content=True):
                answer += piece
                if len(answer) > MAX_ANSWER_BYTES:
                    raise UnusableResponse(f"its answer is over {MAX_ANSWER_BYTES} bytes")
                if self._monotonic() > deadline:
                    raise UnusableResponse(f"its answer took over {WHOLE_SECONDS:.0f} seconds")
            return answer


def parse_response(answer: bytes) -> Quotation:
    """Read a quote out of a JSON answer: an object, or a list whose first element is one.

    Understands `quote`, `author` and `category` (Mashape's market place, API Ninjas), the `categories` of API Ninjas'
    second version, and the `q` and `a` of ZenQuotes. Raises `UnusableResponse`.
    """
    try:
        parsed = json.loads(answer)
    except (ValueError, RecursionError) as error:
        raise UnusableResponse("its answer is not JSON") from error
    item: Any = parsed[0] if isinstance(parsed, list) and parsed else parsed
    if not isinstance(item, dict):
        raise UnusableResponse("its answer is neither an object nor a list of one")
    categories = item.get("categories")
    first_category = categories[0] if isinstance(categories, list) and categories else None
    author = item.get("author", item.get("a"))
    if author == "zenquotes.io":  # its complaint about too many requests comes dressed as a quote
        raise UnusableResponse("it asks to be asked less often")
    try:
        return validate_quotation(
            {
                "quote": item.get("quote", item.get("q")),
                "author": author,
                "category": item.get("category") or first_category or UNNAMED_CATEGORY,
            }
        )
    except InvalidQuotation as error:
        raise UnusableResponse(f"in its answer, {error}") from error


class CircuitBreaker:
    """Lets calls through until `FAILURES_TO_OPEN` in a row failed; then one try every `OPEN_SECONDS`."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._lock = Lock()
        self._failures = 0
        self._closed_from = 0.0

    def lets_through(self) -> bool:
        """Whether to call now; the one try after a pause is given to one caller only."""
        if self._failures < FAILURES_TO_OPEN:
            return True
        with self._lock:
            now = self._monotonic()
            if now < self._closed_from:
                return False
            self._closed_from = now + OPEN_SECONDS
            return True

    def succeeded(self) -> None:
        """Note a call that went well."""
        self._failures = 0

    def failed(self) -> None:
        """Note a call that failed."""
        with self._lock:
            self._failures += 1
            if self._failures >= FAILURES_TO_OPEN:
                self._closed_from = self._monotonic() + OPEN_SECONDS
                log.warning("The upstream API is left alone for %.0f seconds", OPEN_SECONDS)
