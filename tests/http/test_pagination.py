import json
from base64 import urlsafe_b64encode

import requests

from tests.conftest import Serve
from tests.helpers.http import assert_problem


def encode_cursor(value: object) -> str:
    return urlsafe_b64encode(value if isinstance(value, bytes) else json.dumps(value).encode()).decode().rstrip("=")


INVALID_CURSORS: dict[str, tuple[object, ...]] = {
    "/quotes": (
        *([place, 3, True] for place in ("2", "", -1, 10**9, 10**400, 1.5, True, None, [2])),
        *([2, counted, True] for counted in ("3", 1.5, None, -3, 10**400, True)),
        *([2, 3, 1], [2, 3], [2, 3, True, 4], {"2": 3}, 2, None, "x" * 5_000),
        *(b"\xff\xfe", b"[2,3,true", b"[" * 2_900, b"[2,NaN,true]", b"\0" * 9),
    ),
    "/authors": tuple([place, 3, True] for place in (2, -1, None, "\0", "\ud800", "a\n")),
    "/categories": (["a", "3", True], ["a"], [["a"], 3, True]),
}


def test_an_invalid_cursor_is_rejected(serve: Serve) -> None:
    base = serve()
    for path, forged in INVALID_CURSORS.items():
        for cursor in (
            *map(encode_cursor, forged),
            "nonsense",
            "a",
            "é",
            "%00",
            "%25",
            "=",
            encode_cursor([2, 3, True])[:-3],
        ):
            response = requests.get(f"{base}{path}?cursor={cursor}", timeout=30)
            assert_problem(response, 400, "Invalid cursor", "Use the URL in `next` of the previous page")
