"""Open corpus files, and say what is wrong with one: file, line, reason, remedy."""

import codecs
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from bot.training.errors import TrainingError

CHUNK_CHARACTERS = 1 << 20
LONGEST_LINE = 1 << 24
"""Characters; a line beyond it is no dialogue, and a file without line breaks would fill the memory."""

_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_SAMPLE_BYTES = 1 << 12
_HALF = re.compile("[\ud800-\udfff]")


@contextmanager
def opened(path: Path) -> Iterator[TextIO]:
    """A file of UTF-8 text, line breaks as they are, without its byte order mark. Raises TrainingError where it
    cannot be read."""
    try:
        if path.is_fifo() or path.is_char_device():
            raise TrainingError(
                f"{path}: a corpus is read more than once, so it has to be a file. Write it to one first."
            )
        if is_utf_16(path):
            raise TrainingError(
                f"{path}:1: this is UTF-16, not UTF-8 text. Convert it: {_convert_from('UTF-16', path)}"
            )
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield file
    except OSError as error:
        raise TrainingError(f"{path}: cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        line = _line_of(path)
        raise TrainingError(
            f"{path}:{line}: this is not UTF-8 text. Convert the file; if it is Western European: "
            f"{_convert_from('WINDOWS-1252', path)}"
        ) from error


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines, from 1, without their ends. Raises TrainingError, also for a line without end."""
    with opened(path) as file:
        number = 0
        while line := file.readline(LONGEST_LINE + 1):
            number += 1
            if len(line) > LONGEST_LINE:
                limit = LONGEST_LINE >> 20
                raise wrong(path, number, f"the line is longer than {limit} million characters. Is it this format?")
            yield number, line.rstrip("\r\n")


def wrong(path: Path, line: int, reason: str) -> TrainingError:
    """The error of one line (from 1)."""
    return TrainingError(f"{path}:{line}: {reason}")


def whole_characters(text: str) -> str:
    """Halves of characters, which JSON allows and no tokenizer takes, become the replacement character."""
    if _HALF.search(text) is None:
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def is_utf_16(path: Path) -> bool:
    """By its mark, or by NUL bytes, which no other text has."""
    with path.open("rb") as file:
        start = file.read(_SAMPLE_BYTES)
    return start.startswith(_UTF_16) or b"\x00" in start


def _convert_from(encoding: str, path: Path) -> str:
    return f"iconv -f {encoding} -t UTF-8 {path.name!r} > converted"


def _line_of(path: Path) -> int:
    """The first line that cannot be decoded."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return 1


def files_of(path: Path, names: Sequence[str]) -> list[Path]:
    """The file itself, or those of the names that lie in the folder or in one below it, as archives are unpacked."""
    if not path.is_dir():
        return [path]
    found = [file for name in names for file in sorted([*path.glob(name), *path.glob(f"*/{name}")])[:1]]
    if not found:
        raise TrainingError(f"{path}: there is none of {', '.join(names)} in it.")
    return found
