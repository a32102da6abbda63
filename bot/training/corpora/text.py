"""Open corpus files, and say what is wrong with one: file, line, reason."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from bot.training.errors import TrainingError

CHUNK_CHARACTERS = 1 << 20


@contextmanager
def opened(path: Path) -> Iterator[TextIO]:
    """A file of UTF-8 text, line breaks as they are. Raises TrainingError where it cannot be read."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            yield file
    except OSError as error:
        raise TrainingError(f"{path}: cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise TrainingError(f"{path}:{_line_of(path)}: this is not UTF-8 text. Convert the file.") from error


def wrong(path: Path, line: int, reason: str) -> TrainingError:
    """The error of one line (from 1)."""
    return TrainingError(f"{path}:{line}: {reason}")


def _line_of(path: Path) -> int:
    """The first line that cannot be decoded."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return 1
