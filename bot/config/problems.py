"""Turn pydantic's errors into sentences for whoever edits config.yaml.

Knows pydantic's error types and how to find a field by its path; knows none of our settings.
"""

import re
import types
import typing
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from bot.config.errors import Fault, KeyPath, did_you_mean, shown
from bot.config.values import format_duration

_BOUNDS = (annotated_types.Ge, annotated_types.Gt, annotated_types.Le, annotated_types.Lt)
_A_SECTION = "must be a section: lines of key: value, indented under it"
_A_LIST = "must be a list, like [one, two]"

# By pydantic's error type; `{value}` is the value as written, other names come from the error's context.
_SENTENCES = {
    "model_type": _A_SECTION,
    "dict_type": _A_SECTION,
    "tuple_type": _A_LIST,
    "list_type": _A_LIST,
    "greater_than": "{value} is too small",
    "greater_than_equal": "{value} is too small",
    "less_than": "{value} is too large",
    "less_than_equal": "{value} is too large",
    "too_long": "has more than {max_length} entries",
    "too_short": "needs entries, at least {min_length}",
    "string_too_short": "needs characters, at least {min_length}",
    "string_too_long": "is longer than {max_length} characters",
    "string_pattern_mismatch": "{value} is not of the form asked for",
    "literal_error": "{value} is not one of the choices",
    "enum": "{value} is not one of the choices",
    "extra_forbidden": "unknown key",
    "missing": "is missing",
}
# Else by the first word of the error type: float_type, float_parsing, ...
_NOT_A = {
    "float": "{value} is not a number",
    "finite": "{value} is not a number",
    "int": "{value} is not a whole number",
    "bool": "{value} is neither true nor false",
    "string": "{value} is not text",
}


def fault(error: ErrorDetails, root: type[BaseModel], written: Any) -> Fault:
    """One error of validating `root`, in words. `written` is the value as the file has it."""
    kind, path = error["type"], error["loc"]
    context: Mapping[str, Any] = error.get("ctx", {})
    if kind == "value_error":  # raised by one of our own types, which say what is allowed
        message, _, allowed = str(context["error"]).partition("; ")
        return Fault(path=path, message=message, hint=allowed or None)
    hint = _hint(kind, context, root, path, written)
    if written is None and kind not in ("missing", "extra_forbidden"):
        return Fault(path=path, message="has no value", hint=hint)
    sentence = _SENTENCES.get(kind) or _NOT_A.get(kind.split("_")[0])
    if sentence is None:
        return Fault(path=path, message=error["msg"], hint=hint)
    return Fault(path=path, message=sentence.format_map({**context, "value": shown(written)}), hint=hint)


def _hint(kind: str, context: Mapping[str, Any], root: type[BaseModel], path: KeyPath, written: Any) -> str | None:
    field = _field(root, path)
    if kind == "extra_forbidden":
        model = _model(root, path[:-1])
        return did_you_mean(str(path[-1]), model.model_fields if model else ())
    if kind in ("literal_error", "enum"):
        expected = str(context["expected"])
        return _choices(written, re.findall(r"'([^']*)'", expected) or [expected])
    if kind == "missing":
        return f"what it is: {field.description}" if field else None
    if kind == "string_pattern_mismatch":
        return f"allowed: {field.description}" if field else None
    return None if kind.endswith("_type") and _SENTENCES.get(kind) else _allowed(field)


def _choices(written: Any, choices: list[str]) -> str:
    allowed = f"allowed: {', '.join(choices)}"
    near = did_you_mean(written, choices) if isinstance(written, str) else None
    return f"{allowed}; {near}" if near and near.startswith("did") else allowed


def _allowed(field: FieldInfo | None) -> str | None:
    """The range of a number or duration."""
    if field is None:
        return None
    bounds = {type(bound): bound for bound in field.metadata if isinstance(bound, _BOUNDS)}
    low: Any = getattr(bounds.get(annotated_types.Ge), "ge", None)
    above: Any = getattr(bounds.get(annotated_types.Gt), "gt", None)
    high: Any = getattr(bounds.get(annotated_types.Le), "le", None)
    if above is not None:
        return f"allowed: above {_bound(above)}" + (f", up to {_bound(high)}" if high is not None else "")
    if low is not None:
        return f"allowed: {_bound(low)} to {_bound(high)}" if high is not None else f"allowed: from {_bound(low)}"
    if high is not None:
        return f"allowed: up to {_bound(high)}"
    return None


def _bound(value: Any) -> str:
    return format_duration(value) if isinstance(value, timedelta) else str(value)


def _field(root: type[BaseModel], path: KeyPath) -> FieldInfo | None:
    """The field that a path leads to, or the list's field for an entry of a list."""
    while path and isinstance(path[-1], int):
        path = path[:-1]
    model = _model(root, path[:-1]) if path else None
    return model.model_fields.get(str(path[-1])) if model else None


def _model(root: type[BaseModel], path: KeyPath) -> type[BaseModel] | None:
    """The model that validates the section at `path`."""
    found: Any = root
    for part in path:
        if isinstance(found, type) and issubclass(found, BaseModel):
            field = found.model_fields.get(str(part))
            found = _bare(field.annotation) if field else None
        else:
            arguments = [one for one in typing.get_args(found) if one is not Ellipsis]
            found = _bare(arguments[-1]) if arguments else None
    return found if isinstance(found, type) and issubclass(found, BaseModel) else None


def _bare(annotation: Any) -> Any:
    """An annotation without Annotated and `| None`."""
    while True:
        origin = typing.get_origin(annotation)
        if origin is typing.Annotated:
            annotation = typing.get_args(annotation)[0]
        elif origin in (typing.Union, types.UnionType):
            annotation = next(one for one in typing.get_args(annotation) if one is not type(None))
        else:
            return annotation
