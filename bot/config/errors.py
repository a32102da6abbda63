"""What is wrong with a configuration, said so that whoever edits the file can mend it.

Every part of loading reports `Fault`s, a place in the settings with a sentence; `ConfigError` carries them
as `Problem`s, which also know file and line.
"""

import difflib
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

_TYPE_NAMES = {list: "a list", dict: "a section"}

KeyPath = tuple[str | int, ...]

_LONGEST_SHOWN = 60
# A long run without spaces that holds letters and digits may be a token, and is never repeated.
_MAY_BE_SECRET = re.compile(r"(?=[^\s]*[0-9])(?=[^\s]*[A-Za-z])[^\s/]{24,}|://[^\s/]*@")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something wrong at one place of the settings. `hint` says what is allowed or what was probably meant."""

    path: KeyPath
    message: str
    hint: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A fault with the file and line (from 1) where it is to be mended; shown as one line."""

    file: str
    line: int | None
    key: str | None
    message: str
    hint: str | None = None

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        parts = [place, *([self.key] if self.key else []), self.message]
        return ": ".join(parts) + (f"; {self.hint}" if self.hint else "")


class ConfigError(Exception):
    """The configuration cannot be used; `problems` names every reason found, in the order of the file."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: Sequence[Problem] = tuple(sorted(problems, key=lambda problem: problem.line or math.inf))
        super().__init__("\n".join(str(problem) for problem in self.problems))


def shown(value: Any) -> str:
    """A value as a message may repeat it: on one line, short, and never what could be a secret."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | dict):
        return _TYPE_NAMES[type(value)]
    text = _one_line(str(value))
    if _MAY_BE_SECRET.search(text):
        return '"***"'
    return text if isinstance(value, int | float) else f'"{text}"'


def path_text(path: KeyPath) -> str:
    """`("overrides", 0, "set")` as `overrides[0].set`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{_one_line(part)}"
    return text.removeprefix(".")


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """A hint that names the nearest of the known words, or all of them where none is near and they are few."""
    choices = sorted(known)
    near = difflib.get_close_matches(_one_line(word).lower(), choices, n=1, cutoff=0.6)
    if near:
        return f'did you mean "{near[0]}"?'
    return f"known here: {', '.join(choices)}" if 0 < len(choices) <= 20 else None


def value_at(settings: Any, path: KeyPath) -> Any:
    """The value at a place of nested settings; None where there is none."""
    for part in path:
        try:
            settings = settings[part]
        except (KeyError, IndexError, TypeError):
            return None
    return settings


def _one_line(text: str) -> str:
    clean = "".join(character if character.isprintable() else "?" for character in text)
    return clean if len(clean) <= _LONGEST_SHOWN else clean[:_LONGEST_SHOWN] + "..."
