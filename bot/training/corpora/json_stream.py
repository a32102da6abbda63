"""Read a JSON file of any size from front to back, value by value, with the line of what is wrong."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from bot.training.corpora.text import CHUNK_CHARACTERS, opened, wrong
from bot.training.errors import TrainingError

LONGEST_VALUE = 1 << 26
"""Characters of one value that is taken whole."""

_SPACE = " \t\r\n"
_EDGE = 16
"""So near to the end of what is read, an error may only mean that the rest is still to come."""


class JsonStream:
    """A cursor. Who walks through `array` or `members` reads or skips each value before asking for the next."""

    def __init__(self, path: Path, file: TextIO) -> None:
        self._path = path
        self._file = file
        self._decoder = json.JSONDecoder()
        self._buffer = ""
        self._at = 0
        self._counted_to = 0
        self._lines_before = 0

    @property
    def line(self) -> int:
        """Where the cursor stands, from 1."""
        self._lines_before += self._buffer.count("\n", self._counted_to, self._at)
        self._counted_to = self._at
        return self._lines_before + 1

    def peek(self) -> str:
        """The first character of what comes next; empty at the end of the file."""
        while True:
            while self._at < len(self._buffer):
                if self._buffer[self._at] not in _SPACE:
                    return self._buffer[self._at]
                self._at += 1
            if not self._fill():
                return ""

    def value(self) -> Any:
        """The next value, whole. Raises TrainingError."""
        self.peek()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._buffer, self._at)
            except json.JSONDecodeError as error:
                cut_off = error.pos >= len(self._buffer) - _EDGE or error.msg.startswith("Unterminated")
                if cut_off and self._fill():
                    continue
                raise self._wrong(error.msg, error.pos if not cut_off else None) from error
            except RecursionError as error:
                raise self._wrong("it is nested too deeply", self._at) from error
            is_number = isinstance(value, int | float)  # which may go on: 1, 1e, 1e5
            if is_number and end >= len(self._buffer) - _EDGE and self._fill():
                continue
            self._at = end
            return value

    def skip(self) -> None:
        """Go past the next value, however large."""
        match self.peek():
            case "{":
                for _ in self.members():
                    self.skip()
            case "[":
                for _ in self.array():
                    self.skip()
            case _:
                self.value()

    def array(self) -> Iterator[None]:
        """Stops before every value of the array that comes next."""
        yield from self._listed("[", "]")

    def members(self) -> Iterator[str]:
        """The keys of the object that comes next; after each the cursor stands before its value."""
        for _ in self._listed("{", "}"):
            key = self.value()
            if not isinstance(key, str):
                raise self._wrong("a key is no text", self._at)
            self._take(":")
            yield key

    def end(self) -> None:
        """Raises TrainingError where something follows."""
        if self.peek():
            raise self._wrong("more follows after its end", self._at)

    def _listed(self, opening: str, closing: str) -> Iterator[None]:
        self._take(opening)
        if self.peek() == closing:
            self._at += 1
            return
        while True:
            yield
            if self.peek() == closing:
                self._at += 1
                return
            self._take(",")

    def _take(self, sign: str) -> None:
        if self.peek() != sign:
            raise self._wrong(f"expecting {sign!r}", self._at if self.peek() else None)
        self._at += 1

    def _fill(self) -> bool:
        """Read on; False at the end of the file."""
        if len(self._buffer) - self._at > LONGEST_VALUE:
            raise self._wrong(f"a value is longer than {LONGEST_VALUE >> 20} million characters", self._at)
        piece = self._file.read(CHUNK_CHARACTERS)
        if not piece:
            return False
        self._lines_before = self.line - 1
        self._buffer = self._buffer[self._at :] + piece
        self._at = self._counted_to = 0
        return True

    def _wrong(self, reason: str, at: int | None) -> TrainingError:
        if at is None:
            end = len(self._buffer)
            reason = "the file ends in the middle: it was cut off. Export or copy it again"
            return wrong(self._path, self._line_at(end), f"this is not JSON ({reason}).")
        return wrong(self._path, self._line_at(at), f"this is not JSON ({reason}).")

    def _line_at(self, at: int) -> int:
        return self._lines_before + self._buffer.count("\n", self._counted_to, at) + 1


@contextmanager
def json_stream(path: Path) -> Iterator[JsonStream]:
    """Open the file. Raises TrainingError where it cannot be read or is empty."""
    with opened(path) as file:
        stream = JsonStream(path, file)
        if not stream.peek():
            raise TrainingError(f"{path}: the file is empty.")
        yield stream
