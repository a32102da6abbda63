"""What is published about the settings is what the program does."""

import json
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

from bot.config import Config, config_schema
from tests.unit.config.reference import PAGE, PROJECT, SCHEMA, fields, page_with_table, schema

REFRESH = "run: python -m tests.unit.config.reference"


@pytest.mark.parametrize(("path", "field"), list(fields(Config)), ids=lambda one: one if isinstance(one, str) else "")
def test_every_key_has_a_sentence(path: str, field: Any) -> None:
    assert field.description, path
    assert len(field.description) <= 150


def test_the_published_schema_is_the_programs() -> None:
    assert SCHEMA.read_text(encoding="utf-8") == schema(), REFRESH


def test_the_page_lists_every_key_as_it_is() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == page_with_table(page), REFRESH


def test_the_schema_is_valid_and_accepts_the_shipped_file() -> None:
    jsonschema.Draft202012Validator.check_schema(config_schema())
    shipped = YAML(typ="safe", pure=True).load((PROJECT / "config.yaml").read_text(encoding="utf-8"))
    jsonschema.validate(shipped, config_schema())


@pytest.mark.parametrize(
    "settings",
    [{"bott": {}}, {"triggers": {"quiet_time": "2"}}, {"limits": {"user": "fast"}}, {"model": {"dtype": "int8"}}],
)
def test_the_schema_refuses_what_the_program_refuses(settings: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(settings, config_schema())


def test_the_schemas_defaults_are_written_as_people_write_them() -> None:
    definitions = json.loads(SCHEMA.read_text(encoding="utf-8"))["$defs"]
    assert definitions["Triggers"]["properties"]["quiet_time"]["default"] == "1.5s"
    assert definitions["Limits"]["properties"]["user"]["default"] == "10/min"


def test_editors_find_the_schema_from_the_first_line() -> None:
    first = (PROJECT / "config.yaml").read_text(encoding="utf-8").splitlines()[0]
    assert first == "# yaml-language-server: $schema=docs/config.schema.json"
    assert SCHEMA == PROJECT / "docs" / "config.schema.json"
