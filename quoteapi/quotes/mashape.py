"""The upstream quote API (Mashape, now RapidAPI and others). No other module uses `requests`."""

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

CONNECT_TIMEOUT_SECONDS = 2.0
READ_TIMEOUT_SECONDS = 3.0
"""The maximum time between two packets of a response."""
TOTAL_TIMEOUT_SECONDS = 5.0
"""The maximum time of a request with its retry."""
MAX_CONCURRENT_REQUESTS = 4
"""The maximum per process, including requests whose caller timed out but whose thread still runs."""
MAX_RESPONSE_BYTES = 64 * 1024
FAILURE_THRESHOLD = 3
"""The number of consecutive failures after which the circuit breaker opens."""
RECOVERY_SECONDS = 60.0
"""How long the circuit breaker stays open."""
DEFAULT_CATEGORY = "general"
KEY_HEADERS = ("X-Mashape-Key", "X-RapidAPI-Key", "X-Api-Key")
"""The headers in which the known market places expect the key."""
log = logging.getLogger(__name__)


class UnusableResponse(Exception):
    """The upstream API sent no usable response; the message says why."""


class MashapeQuotes:
    """Fetches quotes from an upstream API, with timeouts and a circuit breaker."""

    def __init__(self, endpoint: str, key: str | None, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Fetch from `endpoint`, an http(s) URL, and send it `key` if given."""
        self._endpoint = endpoint
        self._host = urlsplit(endpoint).netloc.rpartition("@")[2]
        self._monotonic = monotonic
        self._breaker = CircuitBreaker(monotonic)
        self._slots = BoundedSemaphore(MAX_CONCURRENT_REQUESTS)
        # urllib3's warnings contain the whole URL, which may contain a key.
        logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
        self._session = requests.Session()
        retry = Retry(total=1, redirect=0, status_forcelist=(500, 502, 503, 504), respect_retry_after_header=False)
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=retry))
        self._session.headers["Accept"] = "application/json"
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        if key is not None:
            self._session.headers.update(dict.fromkeys(KEY_HEADERS, key) | {"X-RapidAPI-Host": self._host})

    def fetch(self) -> Quotation | None:
        """Fetch a quote; None if the API is unavailable or sends none, or the circuit breaker is open."""
        if not self._breaker.allows_request():
            return None
        quotation = None
        try:
            quotation = parse_response(self._get_within_timeout())
        except (requests.RequestException, HTTPError, UnusableResponse) as error:
            # The text of a transport error contains the URL, which may contain a key.
            reason = str(error) if isinstance(error, UnusableResponse) else type(error).__name__
            log.warning("No quote from the upstream API at %s: %s", self._host, reason)
        self._breaker.record(success=quotation is not None)
        return quotation

    def _get_within_timeout(self) -> bytes:
        """Return the body of a response. A thread fetches it, as socket timeouts do not limit the total time."""
        if not self._slots.acquire(blocking=False):
            raise UnusableResponse(f"{MAX_CONCURRENT_REQUESTS} requests are in progress")
        body: Future[bytes] = Future()
        Thread(target=self._get_in_thread, args=(body,), daemon=True).start()
        try:
            return body.result(TOTAL_TIMEOUT_SECONDS)
        except TimeoutError as error:
            raise UnusableResponse(f"its response took over {TOTAL_TIMEOUT_SECONDS:.0f} seconds") from error

    def _get_in_thread(self, body: "Future[bytes]") -> None:
        try:
            body.set_result(self._get())
        except Exception as error:  # noqa: BLE001 it is raised by `result`
            body.set_exception(error)
        finally:
            self._slots.release()

    def _get(self) -> bytes:
        deadline = self._monotonic() + TOTAL_TIMEOUT_SECONDS
        timeouts = (CONNECT_TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS)
        # Redirects are not followed, because the key is for this host only.
        with self._session.get(self._endpoint, timeout=timeouts, stream=True, allow_redirects=False) as response:
            if response.status_code != requests.codes.ok:
                raise UnusableResponse(f"its status is {response.status_code}")
            body = b""
            while chunk := response.raw.read1(4_096, decode_content=True):
                body += chunk
                if len(body) > MAX_RESPONSE_BYTES:
                    raise UnusableResponse(f"its response is over {MAX_RESPONSE_BYTES} bytes")
                if self._monotonic() > deadline:
                    raise TimeoutError  # or this thread would go on after its caller timed out
            return body


def parse_response(body: bytes) -> Quotation:
    """Return the quote of a JSON response: of an object, or of a list whose first element is one.

    Supports `quote`, `author` and `category` (Mashape, API Ninjas), `categories` (version 2 of API Ninjas), and `q` and
    `a` (ZenQuotes). Raises `UnusableResponse`.
    """
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UnusableResponse("its response is not JSON") from error
    item: Any = parsed[0] if isinstance(parsed, list) and parsed else parsed
    if not isinstance(item, dict):
        raise UnusableResponse("its response is neither an object nor a list of objects")
    categories = item.get("categories")
    first_category = categories[0] if isinstance(categories, list) and categories else None
    author = item.get("author", item.get("a"))
    if author == "zenquotes.io":  # its rate limit error has the form of a quote
        raise UnusableResponse("its rate limit is reached")
    category = item.get("category") or first_category or DEFAULT_CATEGORY
    try:
        return validate_quotation({"quote": item.get("quote", item.get("q")), "author": author, "category": category})
    except InvalidQuotation as error:
        raise UnusableResponse(f"in its response, {error}") from error


class CircuitBreaker:
    """After `FAILURE_THRESHOLD` failures in a row, allows only a trial request per `RECOVERY_SECONDS`."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._lock = Lock()
        self._failures = 0
        self._open_until = 0.0

    def allows_request(self) -> bool:
        """Return whether to send a request now. When a trial request is due, only one caller may send it."""
        with self._lock:
            is_allowed = self._failures < FAILURE_THRESHOLD or self._monotonic() >= self._open_until
            if is_allowed:
                self._open_until = self._monotonic() + RECOVERY_SECONDS
            return is_allowed

    def record(self, *, success: bool) -> None:
        """Count a request that failed, or reset the count: after several failures in a row, requests are paused."""
        with self._lock:
            self._failures = 0 if success else self._failures + 1
            if self._failures >= FAILURE_THRESHOLD:
                self._open_until = self._monotonic() + RECOVERY_SECONDS
                log.warning("Too many failures: no request to the upstream API for %.0f seconds", RECOVERY_SECONDS)
