"""Read config.yaml into plain values, remembering the line of every key.

YAML 1.2, so `off` and `auto` are words. The parser's events are turned into values here rather than by the
library, because a file that people edit needs every duplicate key named, and a hostile one needs limits on
depth, aliases and size before anything is built. Knows nothing of what the settings mean.
"""

import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    CollectionStartEvent,
    DocumentStartEvent,
    Event,
    MappingStartEvent,
    ScalarEvent,
    SequenceStartEvent,
)

from bot.config.errors import ConfigError, KeyPath, Problem, path_text, shown

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 20
MAX_ALIASES = 50
MAX_VALUES = 50_000

_NULL = {"", "~", "null", "Null", "NULL"}
_TRUE = {"true", "True", "TRUE"}
_FALSE = {"false", "False", "FALSE"}
_INTEGER = re.compile(r"[-+]?[0-9]{1,40}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]{1,40}|[0-9]{1,40}(\.[0-9]{0,40})?)([eE][-+]?[0-9]{1,3})?")
_HINTS = {
    "mapping values are not allowed": 'check the indentation, and put text that holds ": " in quotes',
    "cannot start any token": "indent with spaces, never with tabs, and put text that begins with a sign in quotes",
    "expected ',' or": "a bracket is not closed, a comma is missing, or ${NAME} is not in quotes",
    "could not find expected ':'": "every line of a section is written as key: value",
    "expected <block end>": "lines of one section begin in the same column",
    "while scanning a quoted scalar": "a quote that was opened is not closed",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """What a file says: values as written, the line (from 1) of each, and what is wrong with it so far."""

    data: dict[str, Any]
    lines: dict[KeyPath, int]
    problems: list[Problem]

    def line(self, path: KeyPath) -> int | None:
        """The line of a place, or of the nearest place around it that the file has."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.lines:
                return self.lines[path[:length]]
        return None


def read_document(path: Path) -> Document:
    """Read a YAML file. Raises ConfigError where it cannot be read as a whole; lesser problems are kept."""
    return parse_document(read_text(path), str(path))


def read_text(path: Path) -> str:
    """A small text file. Raises ConfigError naming what is in the way."""
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):  # reading a pipe or a device may never end
            raise _refused(path, "is a folder, not a file" if stat.S_ISDIR(mode) else "is no ordinary file")
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise _refused(path, "there is no such file") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a usable path"
        raise _refused(path, f"cannot be read: {reason}") from None
    if len(content) > MAX_BYTES:
        raise _refused(path, f"is larger than {MAX_BYTES // 1024} KiB")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _refused(path, "is not UTF-8 text", "save it with the encoding UTF-8", line) from None


def parse_document(text: str, file: str) -> Document:
    """Read YAML text; `file` is the name that problems are reported under."""
    builder = _Builder(file)
    try:
        builder.build(YAML(typ="safe", pure=True).parse(text))
    except ConfigError:
        raise
    except MarkedYAMLError as error:
        raise ConfigError([_yaml_problem(error, file)]) from None
    except (YAMLError, ValueError, OverflowError, LookupError, AssertionError, AttributeError, TypeError):
        # Odd escapes, control characters and directives surface from the parser as any of these.
        raise ConfigError([Problem(file=file, line=builder.line, key=None, message="is not valid YAML")]) from None
    return builder.document()


def _refused(path: Path, message: str, hint: str | None = None, line: int | None = None) -> ConfigError:
    return ConfigError([Problem(file=str(path), line=line, key=None, message=message, hint=hint)])


def _yaml_problem(error: MarkedYAMLError, file: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    reason = " ".join(str(error.problem or error.context or "").split())
    said = f"{error.context} {error.problem}"
    return Problem(
        file=file,
        line=mark.line + 1 if mark else None,
        key=None,
        message=f"is not valid YAML: {reason}",
        hint=next((hint for part, hint in _HINTS.items() if part in said), None),
    )


@dataclass(slots=True)
class _Node:
    """A value and the line it begins at; mappings keep the line of each key."""

    line: int
    value: Any = None
    entries: dict[str, tuple[int, "_Node"]] | None = None
    items: list["_Node"] | None = None
    key: tuple[str, int] | None = None  # of a mapping under way: the key whose value comes next
    last_key: str = ""
    open: bool = False


class _Builder:
    """Nodes from events, without recursion, so that depth is a number and not the interpreter's stack."""

    def __init__(self, file: str) -> None:
        self.line = 1
        self._file = file
        self._stack: list[_Node] = []
        self._anchors: dict[str, _Node] = {}
        self._aliases = 0
        self._root: _Node | None = None
        self._problems: list[Problem] = []
        self._lines: dict[KeyPath, int] = {}
        self._values = 0

    def build(self, events: Iterable[Event]) -> None:
        documents = 0
        for event in events:
            self.line = event.start_mark.line + 1
            if isinstance(event, DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise self._stop("a second document begins here", "remove the line ---")
            elif isinstance(event, CollectionEndEvent):
                self._stack.pop().open = False
            elif isinstance(event, AliasEvent):
                self._place(self._anchored(event))
            elif isinstance(event, ScalarEvent | CollectionStartEvent):
                self._start(event)

    def document(self) -> Document:
        root = self._root
        data = self._plain(root, ()) if root else None
        if data is None:
            data = {}
        if root and not isinstance(data, dict):
            self.line = root.line
            raise self._stop("is not a list of settings", "write it as lines of key: value")
        return Document(data=data, lines=self._lines, problems=self._problems)

    def _start(self, event: ScalarEvent | CollectionStartEvent) -> None:
        if event.ctag is not None and str(event.ctag) not in ("!", "!!str", "tag:yaml.org,2002:str"):
            raise self._stop(f"the tag {shown(str(event.ctag))} is not allowed", "write the plain value")
        self._count()
        node = _Node(self.line)
        if isinstance(event, ScalarEvent):
            plain = bool(event.implicit[0]) and event.ctag is None
            node.value = _scalar(event.value) if plain else event.value
            in_mapping = bool(self._stack) and self._stack[-1].entries is not None
            if in_mapping and self._stack[-1].key is None:
                self._begin_entry(str(event.value))
                return
        elif isinstance(event, MappingStartEvent):
            node.entries = {}
        elif isinstance(event, SequenceStartEvent):
            node.items = []
        if event.anchor:
            self._anchors[event.anchor] = node
        self._place(node)
        if not isinstance(event, ScalarEvent):
            node.open = True
            self._stack.append(node)
            if len(self._stack) > MAX_DEPTH:
                raise self._stop(f"is nested deeper than {MAX_DEPTH} levels")

    def _begin_entry(self, key: str) -> None:
        mapping = self._stack[-1]
        if mapping.entries is not None and key in mapping.entries:
            first = mapping.entries[key][0]
            self._problems.append(
                Problem(
                    file=self._file,
                    line=self.line,
                    key=path_text((*self._here(), key)),
                    message=f"is written twice; first in line {first}",
                )
            )
        mapping.key, mapping.last_key = (key, self.line), key

    def _place(self, node: _Node) -> None:
        if not self._stack:
            self._root = node
            return
        parent = self._stack[-1]
        if parent.items is not None:
            parent.items.append(node)
        elif parent.entries is not None:
            if parent.key is None:
                raise self._stop("a key must be a word")
            key, line = parent.key
            parent.entries.setdefault(key, (line, node))
            parent.key = None

    def _anchored(self, event: AliasEvent) -> _Node:
        self._aliases += 1
        if self._aliases > MAX_ALIASES:
            raise self._stop(f"more than {MAX_ALIASES} aliases are used")
        node = self._anchors.get(event.anchor)
        if node is None:
            raise self._stop(f"*{shown(event.anchor).strip(chr(34))} refers to nothing above", "put the text in quotes")
        if node.open:
            raise self._stop("a value may not contain itself")
        return node

    def _here(self) -> KeyPath:
        path: list[str | int] = []
        for node in self._stack[:-1]:
            path.append(node.last_key if node.items is None else len(node.items) - 1)
        return tuple(path)

    def _plain(self, node: _Node, path: KeyPath) -> Any:
        """Values without nodes; an alias becomes a copy, so the count of values bounds what aliases can do."""
        self._count()
        if len(path) > MAX_DEPTH:
            raise self._stop(f"aliases nest it deeper than {MAX_DEPTH} levels")
        if node.entries is not None:
            plain: dict[str, Any] = {}
            for key, (line, child) in node.entries.items():
                self._lines[(*path, key)] = line
                plain[key] = self._plain(child, (*path, key))
            return plain
        if node.items is not None:
            for index, child in enumerate(node.items):
                self._lines[(*path, index)] = child.line
            return [self._plain(child, (*path, index)) for index, child in enumerate(node.items)]
        return node.value

    def _count(self) -> None:
        """Once as an event and once as a value, which an alias repeats."""
        self._values += 1
        if self._values > 2 * MAX_VALUES:
            raise self._stop(f"holds more than {MAX_VALUES} values")

    def _stop(self, message: str, hint: str | None = None) -> ConfigError:
        problem = Problem(file=self._file, line=self.line, key=None, message=message, hint=hint)
        return ConfigError([*self._problems, problem])


def _scalar(text: str) -> Any:
    """A plain scalar by YAML 1.2's core schema, without infinities and octals, which no setting needs."""
    if text in _NULL:
        return None
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text
