"""Reading YAML: lines, duplicates, limits, and files that are none."""

import os
from pathlib import Path

import pytest

from bot.config import ConfigError, load_config
from bot.config.file import MAX_BYTES, parse_document
from tests.unit.config.conftest import Refuse


def test_every_value_knows_its_line() -> None:
    document = parse_document("a:\n  b: 1\n  c:\n    - x\n    - {d: 2}\n", "f")
    assert document.data == {"a": {"b": 1, "c": ["x", {"d": 2}]}}
    assert document.line(("a", "b")) == 2
    assert document.line(("a", "c", 1, "d")) == 5
    assert document.line(("a", "c", 7, "e")) == 3  # the nearest place around it
    assert document.line(("z",)) is None


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("off", "off"), ("on", "on"), ("yes", "yes"), ("auto", "auto"), ("true", True), ("False", False), ("~", None),
        ("", None), ("12", 12), ("-3", -3), ("1.5", 1.5), ("1e3", 1000.0), ("'12'", "12"), ("10m", "10m"),
        (".inf", ".inf"), ("1_000", "1_000"), ("!!str 5", "5"), ("0123", 123), ("1:30", "1:30"),
    ],
)  # fmt: skip
def test_words_are_read_as_yaml_1_2_reads_them(written: str, value: object) -> None:
    assert parse_document(f"a: {written}", "f").data == {"a": value}


def test_duplicate_keys_are_all_named(refuse: Refuse) -> None:
    assert refuse("bot: {name: a, name: b}\nlogs:\n  level: info\n  level: debug\nbot: {}\n") == [
        "config.yaml:1: bot.name: is written twice; first in line 1",
        "config.yaml:4: logs.level: is written twice; first in line 3",
        "config.yaml:5: bot: is written twice; first in line 1",
    ]


def test_an_alias_repeats_a_value() -> None:
    document = parse_document("a: &x {b: 1}\nc: *x\n", "f")
    assert document.data == {"a": {"b": 1}, "c": {"b": 1}}


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("a: &x [*x]", "may not contain itself"),
        ("a: *nothing", "refers to nothing above"),
        ("a: !!python/object/apply:os.system ['true']", "is not allowed"),
        ("a: !!binary aGk=", "is not allowed"),
        ("a: " + "[" * 40 + "]" * 40, "nested deeper than 20"),
        ("\n".join("  " * depth + "a:" for depth in range(400)), "nested deeper than 20"),
        ("a: &x 1\nb: [" + ", ".join(["*x"] * 60) + "]", "more than 50 aliases"),
        ("a: 1\n---\nb: 2", "a second document begins"),
        ("- a\n- b", "is not a list of settings"),
        ("just words", "is not a list of settings"),
        ("? [a]\n: b", "a key must be a word"),
        ("a: {b", "a bracket is not closed"),
        ("a: b: c", "check the indentation"),
        ("a:\n\tb: 1", "never with tabs"),
        ('a: "\\UFFFFFFFF"', "is not valid YAML"),
        ("a: \x00", "is not valid YAML"),
        ("mix: {x: ${Y}}", "is not in quotes"),
    ],
)
def test_hostile_and_broken_yaml_is_refused(text: str, part: str) -> None:
    with pytest.raises(ConfigError, match=part) as caught:
        parse_document(text, "f")
    assert caught.value.problems[-1].line is not None


def test_a_bomb_of_aliases_stays_small() -> None:
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [" + ", ".join([f"*a{n - 1}"] * 5) + "]" for n in range(1, 10)]
    with pytest.raises(ConfigError, match="holds more than 50000 values"):
        parse_document("\n".join(levels), "f")


def test_a_chain_of_aliases_stays_shallow() -> None:
    text = "a0: &a0 [[[[[x]]]]]\n" + "\n".join(f"a{n}: &a{n} [[[[[*a{n - 1}]]]]]" for n in range(1, 20))
    with pytest.raises(ConfigError, match="nest it deeper than 20"):
        parse_document(text, "f")


def test_no_python_object_is_ever_built(refuse: Refuse, tmp_path: Path) -> None:
    refuse(f"bot: !!python/object/apply:os.mkdir ['{tmp_path}/owned']")
    assert not (tmp_path / "owned").exists()


def test_files_that_are_none_are_told_apart(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    latin = tmp_path / "latin.yaml"
    latin.write_bytes("bot:\n  name: Zoë\n".encode("latin-1"))
    large = tmp_path / "large.yaml"
    large.write_bytes(b"#" * (MAX_BYTES + 1))
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    told = {}
    for path in (tmp_path / "missing.yaml", folder, pipe, latin, large, folder / "x" / "\0"):
        with pytest.raises(ConfigError) as caught:
            load_config(path, {})
        told[path.name] = str(caught.value).removeprefix(str(path))
    assert told == {
        "missing.yaml": ": there is no such file",
        "folder": ": is a folder, not a file",
        "pipe": ": is no ordinary file",
        "latin.yaml": ":2: is not UTF-8 text; save it with the encoding UTF-8",
        "large.yaml": ": is larger than 1024 KiB",
        "\0": ": cannot be read: not a usable path",
    }


def test_a_byte_order_mark_is_no_part_of_the_settings(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(b"\xef\xbb\xbfbot: {name: Rosie}\r\n")
    assert load_config(path, {}).bot.name == "Rosie"
