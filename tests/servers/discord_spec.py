"""Requests checked against Discord's OpenAPI document (see spec/DISCORD.md)."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

SPEC = Path(__file__).parent / "spec" / "discord_openapi.json"


@cache
def _document() -> dict[str, Any]:
    document: dict[str, Any] = _read_one_of_as_any_of(json.loads(SPEC.read_text(encoding="utf-8")))
    return document


def _read_one_of_as_any_of(node: Any) -> Any:
    if isinstance(node, dict):
        return {"anyOf" if key == "oneOf" else key: _read_one_of_as_any_of(value) for key, value in node.items()}
    return [_read_one_of_as_any_of(item) for item in node] if isinstance(node, list) else node


@cache
def operations() -> dict[str, tuple[str, str]]:
    """Method and path template by operation id."""
    return {
        operation["operationId"]: (method.upper(), path)
        for path, item in _document()["paths"].items()
        for method, operation in item.items()
    }


@cache
def _operation(operation_id: str) -> dict[str, Any]:
    method, path = operations()[operation_id]
    found: dict[str, Any] = _document()["paths"][path][method.lower()]
    return found


@cache
def _validator(operation_id: str) -> Draft202012Validator | None:
    content = _operation(operation_id).get("requestBody", {}).get("content", {})
    if "application/json" not in content:
        return None
    schema = {**content["application/json"]["schema"], "components": _document()["components"]}
    return Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)


def check_request(operation_id: str, body: Any, query: dict[str, str]) -> Iterator[str]:
    """What the document says against a request."""
    validator = _validator(operation_id)
    if validator is None and body is not None:
        yield f"{operation_id}: a body where there is none"
    if validator is not None:
        for error in validator.iter_errors(body):
            yield f"{operation_id}: {error.json_path}: {error.message}"
        if isinstance(body, dict):
            for name in body.keys() - _properties(validator.schema):
                yield f"{operation_id}: unknown property {name}"
    parameters = {parameter["name"] for parameter in _operation(operation_id)["parameters"]}
    for name in query.keys() - parameters:
        yield f"{operation_id}: unknown query parameter {name}"


def _properties(schema: dict[str, Any]) -> set[str]:
    """All properties that a schema or one of its alternatives names."""
    if "$ref" in schema:
        schema = _document()["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    names = set(schema.get("properties", {}))
    for alternative in (*schema.get("anyOf", ()), *schema.get("allOf", ())):
        names |= _properties(alternative)
    return names
