"""The table of every key in docs/configuration.md, made from the models.

`python -m tests.unit.config.reference` writes it and docs/config.schema.json anew.
"""

import json
import typing
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from bot.config import Config, config_schema

PROJECT = Path(__file__).parents[3]
PAGE = PROJECT / "docs" / "configuration.md"
SCHEMA = PROJECT / "docs" / "config.schema.json"
BEGIN, END = "<!-- every key: begin -->\n", "<!-- every key: end -->\n"


def fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every key with its dotted path; NAME stands for a name of your own, [] for an entry of a list."""
    for name, field in model.model_fields.items():
        path = f"{prefix}{name}"
        yield path, field
        inner, kind = _inner(field.annotation)
        if inner is not None:
            yield from fields(inner, path + {"section": ".", "dict": ".NAME.", "tuple": "[]."}[kind])


def _inner(annotation: object) -> tuple[type[BaseModel] | None, str]:
    kind = "section"
    origin = typing.get_origin(annotation)
    if origin in (dict, tuple):
        kind = typing.cast(type, origin).__name__
        annotation = typing.get_args(annotation)[1 if origin is dict else 0]
    is_model = isinstance(annotation, type) and issubclass(annotation, BaseModel)
    return (typing.cast(type[BaseModel], annotation) if is_model else None), kind


def default_of(path: str) -> str:
    """The default as it would be written; empty for sections and for what has none."""
    value: object = Config().model_dump(mode="json")
    for part in path.replace("[]", ".0").replace(".NAME", ".default").split("."):
        if isinstance(value, list):
            value = value[0] if value else None
        elif isinstance(value, dict):
            value = value.get(part)
    plain = not isinstance(value, dict | list) or value == []
    short = len(json.dumps(value)) < 60
    return f"`{json.dumps(value)}`" if value is not None and plain and short else ""


def table() -> str:
    lines = ["| key | default | meaning |", "| --- | --- | --- |"]
    lines += [f"| `{path}` | {default_of(path)} | {field.description} |" for path, field in fields(Config)]
    return "\n".join(lines) + "\n"


def schema() -> str:
    return json.dumps(config_schema(), indent=2, ensure_ascii=False) + "\n"


def page_with_table(page: str) -> str:
    head, _, rest = page.partition(BEGIN)
    return f"{head}{BEGIN}{table()}{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(page_with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    SCHEMA.write_text(schema(), encoding="utf-8")
