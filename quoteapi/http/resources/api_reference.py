"""The API reference: `/openapi.json`, and `/docs`, a page rendered from it."""

import json
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import falcon

from quoteapi.http.errors import PROBLEM_JSON
from quoteapi.http.html import PAGE_SECONDS, render_page, respond_with_html
from quoteapi.http.urls import link_prefix, public_base_url
from quoteapi.settings import Settings

OPENAPI_FILE = Path(__file__).parent.parent / "openapi.json"
OPENAPI_CACHE_SECONDS = 3_600
PREFIX_PLACEHOLDER, BASE_URL_PLACEHOLDER = "\ue000", "\ue001"
"""Private-use characters in the cached page, in place of what differs between requests."""
EXAMPLE_BASE_URL = "https://quotes.example.org"
"""The base URL in examples if the service does not know its public one."""
COMMON_ERROR_MIN_USES = 5
"""An error response that at least this many operations have is described once, in the general rules."""
FORM = "application/x-www-form-urlencoded"
_Json = dict[str, Any]


class OpenApiDocument:
    """The resource `/openapi.json`: the OpenAPI document."""

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Send the OpenAPI document, cacheable for an hour."""
        resp.data = OPENAPI_FILE.read_bytes()
        resp.content_type = falcon.MEDIA_JSON
        resp.set_header("Cache-Control", f"public, max-age={OPENAPI_CACHE_SECONDS}")


class ApiReference:
    """The resource `/docs`: the OpenAPI document as a page, with a form to try each operation."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Send the API reference as an HTML page. Raises `falcon.HTTPBadRequest` for an invalid `Host`."""
        from html import escape  # noqa: PLC0415 imported late, to keep cold starts fast

        prefix, base_url = link_prefix(req, self._settings), public_base_url(req, self._settings)
        if not base_url.startswith("http"):
            base_url = EXAMPLE_BASE_URL + prefix
        page = _render_reference().replace(PREFIX_PLACEHOLDER, escape(prefix))
        respond_with_html(resp, page.replace(BASE_URL_PLACEHOLDER, escape(base_url)), PAGE_SECONDS)


@lru_cache(maxsize=1)
def _render_reference() -> str:
    """Return the page with placeholders: rendering it takes 0.1 s, and a client can send any `Host`."""
    helpers = {
        "by_name": _by_name,
        "describe_schema": _describe_schema,
        "example_path": _example_path,
        "curl_command": _curl_command,
    }
    to_json = partial(json.dumps, ensure_ascii=False, indent=2)
    values = {"PROBLEM_JSON": PROBLEM_JSON, "to_json": to_json, **helpers, **_template_values()}
    return render_page("docs.html", PREFIX_PLACEHOLDER, base=BASE_URL_PLACEHOLDER, **values)


@lru_cache(maxsize=1)
def _template_values() -> dict[str, object]:
    raw = json.loads(OPENAPI_FILE.read_bytes())
    document = _resolve_references(raw, raw)
    operations = _operations(document["paths"])
    responses = [response for operation in operations for response in operation["responses"]]
    errors = [response for response in responses if response["status"] >= "4"]
    uses = Counter(error["x-name"] for error in errors)
    problems = errors[0]["content"][PROBLEM_JSON]["examples"]
    introduction, *rules = document["info"]["description"].split("\n\n## ")
    return {
        "document": document,
        "operations": operations,
        "introduction": introduction,
        "rules": [rule.split("\n\n", 1) for rule in rules],
        "common_errors": {error["x-name"]: error for error in errors if uses[error["x-name"]] >= COMMON_ERROR_MIN_USES},
        "problem_example": next(iter(problems.values()))["value"],
    }


def _resolve_references(node: Any, document: _Json) -> Any:  # noqa: ANN401 JSON
    """Return `node` with each `$ref` replaced by its target plus the component's name as `x-name`."""
    if isinstance(node, list):
        return [_resolve_references(part, document) for part in node]
    if not isinstance(node, dict):
        return node
    if "$ref" not in node:
        return {name: _resolve_references(part, document) for name, part in node.items()}
    *_, kind, name = node["$ref"].split("/")
    return {**_resolve_references(document["components"][kind][name], document), "x-name": name}


def _operations(paths: _Json) -> list[_Json]:
    """Return the POST and GET operations, each with its path, method, parameters and list of responses."""
    return [
        {
            **item[method],
            "path": path,
            "method": method.upper(),
            "parameters": _parameters(item, item[method]),
            "responses": [{**response, "status": status} for status, response in item[method]["responses"].items()],
        }
        for path, item in paths.items()
        for method in ("post", "get")
        if method in item
    ]


def _parameters(item: _Json, operation: _Json) -> list[_Json]:
    """Return an operation's parameters: its form fields first, then those in the path, then the others."""
    fields: list[_Json] = []
    if "requestBody" in operation:
        form = operation["requestBody"]["content"][FORM]
        examples = {name: value for example in form["examples"].values() for name, value in example["value"].items()}
        fields = [
            {**schema, "name": name, "in": "body", "schema": schema, "example": examples[name]}
            | {"required": name in form["schema"]["required"]}
            for name, schema in form["schema"]["properties"].items()
        ]
    path_parameters = [parameter for parameter in item["parameters"] if parameter["in"] == "path"]
    return [*fields, *path_parameters, *operation.get("parameters", [])]


def _by_name(parameters: Iterable[_Json]) -> list[tuple[str, _Json]]:
    """Return parameters or security schemes with the names that a table shows."""
    return [(item.get("name", "Authorization: Bearer …"), item) for item in parameters]


def _describe_schema(schema: _Json) -> str:
    """Return in words which values a schema allows, such as "integer, at least 1"."""
    if "enum" in schema:
        return " or ".join(map(str, schema["enum"]))
    if schema.get("type") == "integer":
        return f"integer, {schema['minimum']} to {schema['maximum']}" if "maximum" in schema else "integer, at least 1"
    if schema.get("format") == "date":
        return "date, YYYY-MM-DD"
    return f"text, up to {schema['maxLength']} characters" if "maxLength" in schema else "text"


def _example_path(operation: _Json) -> str:
    """Return an operation's path with the example of each parameter in place of its name."""
    examples = {parameter["name"]: parameter.get("example", "") for parameter in operation["parameters"]}
    path: str = operation["path"]
    return path.format(**examples)


def _curl_command(operation: _Json, base_url: str) -> str:
    """Return a curl command that sends the example request of an operation."""
    import shlex  # noqa: PLC0415 imported late, to keep cold starts fast

    words = []
    if operation["method"] == "POST":
        body = operation.get("requestBody", {}).get("content", {FORM: {"examples": {"": {"value": {}}}}})[FORM]
        fields = next(iter(body["examples"].values()))["value"]
        words = [word for name, value in fields.items() for word in ("-d", f"{name}={str(value).removeprefix('+')}")]
        words = words or ["-X", "POST"]
    url = f"{base_url}{_example_path(operation)}"
    if "x-example-query" in operation:
        url = f"'{url}?{urlencode(operation['x-example-query'])}'"
    return f"{shlex.join(['curl', *words])} {url}"
