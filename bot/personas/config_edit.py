"""Add a persona to config.yaml without touching a byte of what people wrote in it.

Lines are put in behind the last persona; the result is read back, and counts only if it says what was there before
and the persona besides. Where a file is written in another way, the lines are handed out for pasting.
"""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bot.config import Config, ConfigError, Decoding, Persona, load_config
from bot.config.file import Document, parse_document, read_text

_INDENT = "  "


@dataclass(frozen=True, slots=True, kw_only=True)
class Addition:
    """A persona under its name; `decoding` is the entry of that name that it writes with, None: the default one."""

    name: str
    persona: Persona
    decoding: Decoding | None

    def sections(self) -> dict[str, dict[str, Any]]:
        """What is to stand under the name, by section."""
        written = self.persona.model_dump(mode="json", exclude_defaults=True, exclude={"decoding"})
        entry = {"name": self.persona.name, **written}
        if self.decoding is None:
            return {"personas": entry}
        return {
            "decoding": self.decoding.model_dump(mode="json", exclude_unset=True) or {"preset": "banter"},
            "personas": {**entry, "decoding": self.name},
        }

    def lines_to_paste(self) -> str:
        """The same as a person would write it."""
        parts = [f"{section}:\n{_entry(self.name, entry, _INDENT)}" for section, entry in self.sections().items()]
        return "".join(parts)


def add_to_file(path: Path, addition: Addition) -> bool:
    """Write the persona into config.yaml; False if the file is written so that this cannot be done safely.

    Raises ConfigError where the file is not valid as it is, and OSError.
    """
    text = read_text(path)
    before = load_config(path, text=text)
    changed = added(text, str(path), addition)
    if changed is None or not _says_the_same(path, changed, before, addition):
        return False
    _replace(path.resolve(), changed)
    return True


def added(text: str, file: str, addition: Addition) -> str | None:
    """The text with the persona in it; None where there is no place for lines. Raises ConfigError."""
    for section, entry in addition.sections().items():
        placed = _placed(text, parse_document(text, file), section, addition.name, entry)
        if placed is None:
            return None
        text = placed
    return text


def _placed(text: str, document: Document, section: str, name: str, entry: dict[str, Any]) -> str | None:
    newline = "\r\n" if "\r\n" in text else "\n"
    lines = text.splitlines(keepends=True)
    held = document.data.get(section)
    if section not in document.data or held is None:
        # What is left out is the default entry, which the first entry written down would replace.
        block = _entry("default", {}, _INDENT) + _entry(name, entry, _INDENT)
    elif isinstance(held, dict) and held and name not in held:
        indent = _indent_of(lines[document.lines[section, next(iter(held))] - 1])
        block = _entry(name, entry, indent)
    else:
        return None
    if section not in document.data:
        end = "" if not lines or lines[-1].endswith(("\n", "\r")) else "\n"
        return text + f"{end}\n{section}:\n{block}".replace("\n", newline)
    place = document.lines[(section,)]
    if held is None and lines[place - 1].split("#")[0].strip() != f"{section}:":
        return None
    if held:
        place = _end_of(lines, document, section, _indent_of(block))
    head = lines[:place]
    if head and not head[-1].endswith(("\n", "\r")):
        head[-1] += newline
    return "".join([*head, block.replace("\n", newline), *lines[place:]])


def _end_of(lines: list[str], document: Document, section: str, indent: str) -> int:
    """How many lines come before the place behind the section's last entry."""
    last = max(line for path, line in document.lines.items() if path[0] == section)
    place = last
    for number in range(last, len(lines)):
        deeper = len(_indent_of(lines[number])) > len(indent) and not lines[number].lstrip().startswith("#")
        if lines[number].strip() and not deeper:
            break
        if deeper:
            place = number + 1
    return place


def _indent_of(line: str) -> str:
    return line[: len(line) - len(line.lstrip(" "))]


def _entry(name: str, values: dict[str, Any], indent: str) -> str:
    if not values:
        return f"{indent}{name}: {{}}\n"
    lines = [f"{indent}{name}:\n", *(f"{indent}{_INDENT}{key}: {_yaml(value)}\n" for key, value in values.items())]
    return "".join(lines)


def _yaml(value: Any) -> str:
    """On one line. Nothing in it is taken for a variable or for YAML's own signs."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_yaml, value))}]"
    if not isinstance(value, str):
        return json.dumps(value)
    quoted = json.dumps(value.replace("${", "$${"), ensure_ascii=False)
    return "".join(sign if sign.isprintable() else f"\\U{ord(sign):08x}" for sign in quoted)


def _says_the_same(path: Path, changed: str, before: Config, addition: Addition) -> bool:
    try:
        after = load_config(path, text=changed)
    except ConfigError:
        return False
    name = addition.name
    if addition.decoding is not None and after.decoding.get(name) != addition.decoding:
        return False
    used = "default" if addition.decoding is None else name
    if after.personas.get(name) != addition.persona.model_copy(update={"decoding": used}):
        return False
    decoding = before.decoding if addition.decoding is None else {**before.decoding, name: addition.decoding}
    expected = before.replaced({"personas": {**before.personas, name: after.personas[name]}, "decoding": decoding})
    return after.revision == expected.revision


def _replace(path: Path, text: str) -> None:
    """Whole or not at all; mode and byte order mark stay."""
    with path.open("rb") as old:
        mark = old.read(3) == b"\xef\xbb\xbf"
    begun = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        begun.write_bytes(text.encode("utf-8-sig" if mark else "utf-8"))
        shutil.copymode(path, begun)
        os.replace(begun, path)
    finally:
        begun.unlink(missing_ok=True)
