"""The contract: `/openapi.json`, and `/docs`, the page that is made from it."""

import json
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import falcon

from quoteapi.http.errors import PROBLEM_JSON
from quoteapi.http.html import PAGE_SECONDS, render_page, send_page
from quoteapi.http.urls import link_prefix, public_base_url
from quoteapi.settings import Settings

DOCUMENT = Path(__file__).parent.parent / "openapi.json"
DOCUMENT_SECONDS = 3_600
REMEMBERED_ADDRESSES = 16
"""For how many addresses of the service the page is kept: it takes longer to make than any other."""
SOMEWHERE = "https://quotes.example.org"
"""What the examples name where the service does not know its own address."""
OF_ALL = frozenset(
    (
        *("X-Request-ID", "X-Content-Type-Options", "RateLimit-Policy", "RateLimit", "Vary"),
        *("Access-Control-Allow-Origin", "Access-Control-Expose-Headers"),
        *("Content-Security-Policy", "X-Frame-Options", "Referrer-Policy"),
    )
)
"""Headers that the page tells of once, and not with each answer."""
MANY = 5
"""An error that so many operations have is told of once, too."""
FORM = "application/x-www-form-urlencoded"


class OpenApiDocument:
    """The document, as it is."""

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer it."""
        resp.data = _document()
        resp.content_type = falcon.MEDIA_JSON
        resp.set_header("Cache-Control", f"public, max-age={DOCUMENT_SECONDS}")

    on_head = on_get


class ApiReference:
    """The document as a page, where everything can be tried."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer the page."""
        home, base = link_prefix(req, self._settings), public_base_url(req, self._settings)
        if not base.startswith("http"):
            base = SOMEWHERE + home
        send_page(resp, _page(home, base), PAGE_SECONDS)

    on_head = on_get


class Field(NamedTuple):
    """What may be sent: a parameter, or a part of a body."""

    name: str
    place: str
    description: str
    is_required: bool
    kind: str
    """In words."""
    schema: dict[str, Any]
    example: str
    value: str
    """What a form begins with."""


class Representation(NamedTuple):
    """A media type that an answer may have, with examples of it."""

    media_type: str
    examples: list[tuple[str, str]]
    problems: list[dict[str, str]]
    """Instead, where it says what is wrong: titles and details."""


class Answer(NamedTuple):
    """What may come back."""

    name: str
    status: str
    description: str
    headers: dict[str, Any]
    representations: list[Representation]


class Operation(NamedTuple):
    """A method of a path."""

    name: str
    method: str
    path: str
    summary: str
    description: str
    acts: str
    """What it changes in the world; empty where it only reads."""
    fields: list[Field]
    answers: list[Answer]
    media_types: list[str]
    bodies: list[str]
    query: str
    """What the example has after its path, with the question mark."""
    curl: str
    """The words of curl between its name and the address."""

    @property
    def place(self) -> str:
        """The path, with the examples of what stands in it."""
        path = self.path
        for field in self.fields:
            path = path.replace(f"{{{field.name}}}", field.example)
        return path


class Told(NamedTuple):
    """Everything on the page."""

    info: dict[str, str]
    tags: list[tuple[dict[str, str], list[Operation]]]
    headers: dict[str, Any]
    sent: list[Field]
    """Headers that every request may have."""
    error: str
    """One, as it comes."""
    errors: dict[str, Answer]
    """Those of so many operations that the page tells of them once."""
    schemes: list[dict[str, str]]


@lru_cache(REMEMBERED_ADDRESSES)
def _page(home: str, base: str) -> str:
    return render_page("docs.html", home, base=base, **_told()._asdict())


@lru_cache(maxsize=1)
def _document() -> bytes:
    return DOCUMENT.read_bytes()


@lru_cache(maxsize=1)
def _told() -> Told:
    written = json.loads(_document())
    document = _resolved(written, written)
    operations = list(_operations(document["paths"]))
    tags = [(tag, [operation for name, operation in operations if name == tag["name"]]) for tag in document["tags"]]
    answers = [answer for _, operation in operations for answer in operation.answers]
    uses = Counter(answer.name for answer in answers)
    headers = {name: header for answer in answers for name, header in answer.headers.items() if name in OF_ALL}
    return Told(
        document["info"],
        tags,
        headers,
        [_parameter(parameter, {}) for parameter in document["paths"]["/"]["parameters"]],
        _pretty(next(problem for answer in answers for one in answer.representations for problem in one.problems)),
        {answer.name: answer for answer in answers if answer.status >= "4" and uses[answer.name] >= MANY},
        list(document["components"]["securitySchemes"].values()),
    )


def _resolved(node: Any, document: dict[str, Any]) -> Any:  # noqa: ANN401 JSON
    """Answer a part of a document with what it refers to in its place."""
    if isinstance(node, list):
        return [_resolved(part, document) for part in node]
    if not isinstance(node, dict):
        return node
    if "$ref" not in node:
        return {name: _resolved(part, document) for name, part in node.items()}
    *_, kind, name = node["$ref"].split("/")
    return {**_resolved(document["components"][kind][name], document), "x-name": name}


def _operations(paths: dict[str, Any]) -> Iterator[tuple[str, Operation]]:
    """Answer what reads or acts, each with its tag; HEAD and OPTIONS the page tells of once."""
    for path, item in paths.items():
        of_path = [parameter for parameter in item["parameters"] if parameter["in"] == "path"]
        for method in ("post", "get"):
            if method in item:
                yield item[method]["tags"][0], _operation(path, method, item[method], of_path)


def _operation(path: str, method: str, told: dict[str, Any], of_path: list[dict[str, Any]]) -> Operation:
    asked, body = told.get("x-ask", {}), told.get("requestBody", {}).get("content", {})
    parameters = [_parameter(parameter, asked) for parameter in [*of_path, *told.get("parameters", [])]]
    answers = [_answer(status, answer) for status, answer in told["responses"].items()]
    return Operation(
        name=told["operationId"],
        method=method.upper(),
        path=path,
        summary=told["summary"],
        description=told["description"],
        acts=told.get("x-acts", ""),
        fields=[*_of_body(body), *parameters],
        answers=answers,
        media_types=[one.media_type for answer in answers if answer.status[0] == "2" for one in answer.representations],
        bodies=list(body),
        query=f"?{urlencode(asked)}" if asked else "",
        curl=_curl(method, body),
    )


def _parameter(parameter: dict[str, Any], asked: dict[str, Any]) -> Field:
    return Field(
        parameter["name"],
        parameter["in"],
        parameter["description"],
        parameter.get("required", False),
        _in_words(parameter["schema"]),
        parameter["schema"],
        str(parameter.get("example", "")),
        str(asked.get(parameter["name"], "")),
    )


def _of_body(body: dict[str, Any]) -> list[Field]:
    if not body:
        return []
    schema = body[FORM]["schema"]
    example = {name: value for one in body[FORM]["examples"].values() for name, value in one["value"].items()}
    return [
        Field(name, "body", part["description"], name in schema["required"], _in_words(part), part, example[name], "")
        for name, part in schema["properties"].items()
    ]


def _in_words(schema: dict[str, Any]) -> str:
    """Say what a schema lets in."""
    if "enum" in schema:
        return " or ".join(map(str, schema["enum"]))
    if schema.get("type") == "integer":
        most = f" to {schema['maximum']}" if "maximum" in schema else " or more"
        return f"a whole number, {schema['minimum']}{most}"
    if schema.get("format") == "date":
        return "a date, YYYY-MM-DD"
    return f"up to {schema['maxLength']} characters" if "maxLength" in schema else "text"


def _answer(status: str, told: dict[str, Any]) -> Answer:
    content = told.get("content", {})
    representations = [_representation(media_type, part) for media_type, part in content.items()]
    return Answer(told["x-name"], status, told["description"], told["headers"], representations)


def _representation(media_type: str, content: dict[str, Any]) -> Representation:
    if media_type == PROBLEM_JSON:
        return Representation(media_type, [], [example["value"] for example in content["examples"].values()])
    return Representation(media_type, list(_examples(content)), [])


def _examples(content: dict[str, Any]) -> Iterator[tuple[str, str]]:
    named = {name: example["value"] for name, example in content.get("examples", {}).items()}
    if "example" in content:
        named = {"": content["example"]}
    for name, value in named.items():
        yield name, _pretty(value)


def _pretty(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)


def _curl(method: str, body: dict[str, Any]) -> str:
    import shlex  # noqa: PLC0415 a cold start need not load it

    if method == "get":
        return ""
    first = next(iter(body[FORM]["examples"].values()))["value"] if body else {}
    words = [word for name, value in first.items() for word in ("-d", f"{name}={value.removeprefix('+')}")]
    return shlex.join(words or ["-X", method.upper()]) + " "
