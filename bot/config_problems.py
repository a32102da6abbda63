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

from bot.config_errors import Fault, KeyPath, did_you_mean, shown
from bot.config_values import format_duration

_BOUNDS = (annotated_types.Ge, annotated_types.Gt, annotated_types.Le, annotated_types.Lt)
_NOT_A = {
    "float": "is not a number",
    "int": "is not a whole number",
    "bool": "is neither true nor false",
    "string": "is not text",
}
_WRONG_SHAPE = {
    "model": "must be a section: lines of key: value, indented under it",
    "dict": "must be a section: lines of key: value, indented under it",
    "tuple": "must be a list, like [one, two]",
    "list": "must be a list, like [one, two]",
    "set": "must be a list, like [one, two]",
}


def fault(error: ErrorDetails, root: type[BaseModel], written: Any) -> Fault:
    """One error of validating `root`, in words. `written` is the value as the file has it."""
    path: KeyPath = error["loc"]
    kind = error["type"]
    context: Mapping[str, Any] = error.get("ctx", {})
    field = _field(root, path)
    if kind == "extra_forbidden":
        model = _model(root, path[:-1])
        return Fault(
            path=path, message="unknown key", hint=did_you_mean(str(path[-1]), model.model_fields if model else ())
        )
    if kind == "missing":
        return Fault(path=path, message="is missing", hint=f"what it is: {field.description}" if field else None)
    if kind == "value_error":
        message, _, hint = str(context.get("error", error["msg"])).partition("; ")
        return Fault(path=path, message=message, hint=hint or None)
    if kind in ("literal_error", "enum"):
        choices = re.findall(r"'([^']*)'", str(context["expected"])) or [str(context["expected"])]
        return Fault(path=path, message=f"{shown(written)} is not one of the choices", hint=_choices(written, choices))
    if written is None:
        return Fault(path=path, message="has no value", hint=_allowed(field))
    stem = kind.split("_")[0]
    if kind.endswith("_type") and stem in _WRONG_SHAPE:
        return Fault(path=path, message=_WRONG_SHAPE[stem])
    if kind in ("greater_than", "greater_than_equal", "less_than", "less_than_equal"):
        size = "small" if kind.startswith("greater") else "large"
        return Fault(path=path, message=f"{shown(written)} is too {size}", hint=_allowed(field))
    if kind == "string_pattern_mismatch":
        message = f"{shown(written)} is not of the form asked for"
        return Fault(path=path, message=message, hint=f"allowed: {field.description}" if field else None)
    if stem in _NOT_A:
        return Fault(path=path, message=_string_or(kind, written, context, stem), hint=_allowed(field))
    return Fault(path=path, message=_length(kind, context) or error["msg"], hint=_allowed(field))


def _string_or(kind: str, written: Any, context: Mapping[str, Any], stem: str) -> str:
    if kind == "string_too_short":
        return "is empty" if context["min_length"] == 1 else f"is shorter than {context['min_length']} characters"
    if kind == "string_too_long":
        return f"is longer than {context['max_length']} characters"
    return f"{shown(written)} {_NOT_A[stem]}"


def _length(kind: str, context: Mapping[str, Any]) -> str | None:
    if kind == "too_long":
        return f"has more than {context['max_length']} entries"
    if kind == "too_short":
        return f"needs at least {context['min_length']} entry"
    return None


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
