"""Checks requests against the Bot API's specification (`spec/telegram_bot_api.json`), as a strict server would.

A parameter is first decoded from the form it came in, by the types that its field allows, and then checked.
"""

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from aiohttp import web

SPEC_FILE = Path(__file__).parent / "spec" / "telegram_bot_api.json"

_LIMITS = {  # from the descriptions; in characters unless said otherwise
    ("sendMessage", "text"): 4096,  # UTF-16 code units
    ("editMessageText", "text"): 4096,
    ("answerCallbackQuery", "text"): 200,
    ("setWebhook", "secret_token"): 256,
}


@cache
def load_spec() -> dict[str, Any]:
    spec: dict[str, Any] = json.loads(SPEC_FILE.read_text(encoding="utf-8"))
    return spec


@cache
def find_method(name: str) -> str | None:
    """The method as the specification writes it; names are case-insensitive."""
    return {method.lower(): method for method in load_spec()["methods"]}.get(name.lower())


async def read_form(http: web.Request) -> dict[str, Any]:
    """Parameters from wherever the Bot API takes them: query, form, multipart or JSON."""
    parameters: dict[str, Any] = dict(http.query)
    if http.content_type == "application/json":
        parameters.update(json.loads(await http.read() or b"{}"))
    else:
        parameters.update(await http.post())
    return parameters


def decode(method: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The values that strings of a form stand for; what cannot be decoded stays a string."""
    types = {field["name"]: field["types"] for field in load_spec()["methods"][method].get("fields", [])}
    return {name: _decode(value, types.get(name, ["String"])) for name, value in parameters.items()}


def _decode(value: Any, types: list[str]) -> Any:
    if not isinstance(value, str) or types == ["String"]:
        return value
    if "Integer" in types and re.fullmatch(r"-?\d+", value):
        return int(value)
    if "String" in types:
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def find_violations(method: str, parameters: Mapping[str, Any]) -> list[str]:
    """What the specification says against a request with decoded parameters."""
    problems = _check_fields(method, load_spec()["methods"][method].get("fields", []), parameters)
    for name, value in parameters.items():
        limit = _LIMITS.get((method, name))
        if limit and isinstance(value, str) and len(value.encode("utf-16-le", "surrogatepass")) // 2 > limit:
            problems.append(f"{method}: {name} is longer than {limit}")
    if method == "setMyCommands":
        problems += _check_commands(parameters.get("commands"))
    return problems


def _check_commands(commands: Any) -> list[str]:
    if not isinstance(commands, list) or len(commands) > 100:
        return ["setMyCommands: at most 100 commands"]
    return [
        f"setMyCommands: bad command {command}"
        for command in commands
        if not re.fullmatch(r"[a-z0-9_]{1,32}", str(command.get("command")))
        or not 1 <= len(str(command.get("description"))) <= 256
    ]


def _check_fields(where: str, fields: list[dict[str, Any]], values: Mapping[str, Any]) -> list[str]:
    known = {field["name"]: field for field in fields}
    problems = [f"{where}: unknown field {name}" for name in values if name not in known]
    for name, field in known.items():
        if name not in values:
            problems += [f"{where}: {name} is missing"] if field["required"] else []
        elif not any(_fits(values[name], type_name) for type_name in field["types"]):
            problems.append(f"{where}: {name} is no {' or '.join(field['types'])}: {str(values[name])[:80]!r}")
        else:
            problems += _check_constant(where, field, values[name])
    return problems


def _check_constant(where: str, field: dict[str, Any], value: Any) -> list[str]:
    """Kinds of a union are told apart by a field that, says its description, "must be" something."""
    constant = re.search(r"must be (\w+)$", field["description"])
    if constant and value != constant[1]:
        return [f"{where}: {field['name']} must be {constant[1]}"]
    return []


def _fits(value: Any, type_name: str) -> bool:
    if type_name.startswith("Array of "):
        return isinstance(value, list) and all(_fits(item, type_name.removeprefix("Array of ")) for item in value)
    simple: dict[str, Any] = {"Integer": int, "String": str, "Float": (int, float), "Boolean": bool}
    if type_name in simple:
        return isinstance(value, simple[type_name]) and (type_name == "Boolean" or not isinstance(value, bool))
    definition = load_spec()["types"][type_name]
    if "subtypes" in definition:
        return any(_fits(value, subtype) for subtype in definition["subtypes"])
    return isinstance(value, Mapping) and not _check_fields(type_name, definition.get("fields", []), value)
