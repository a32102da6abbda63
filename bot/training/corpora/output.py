"""Write a file so that it appears whole or not at all, and what was computed before a mistake is not lost."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from bot.training.errors import TrainingError

PART = ".part"


@contextmanager
def whole_file(path: Path) -> Iterator[TextIO]:
    """A text file that gets its name when the block ends well.

    After a TrainingError or a full disk, the whole lines written so far stay in `PATH.part`, which the error names;
    after an interruption nothing stays. Raises TrainingError.
    """
    part = path.with_name(path.name + PART)
    try:
        try:
            with part.open("w", encoding="utf-8", errors="replace", newline="\n") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except OSError as error:
            raise TrainingError(f"{error.filename or path} cannot be written: {error.strerror}.") from error
    except TrainingError as error:
        lines = _keep_whole_lines(part)
        if not lines:
            raise
        raise TrainingError(f"{error} What was done before, {lines:,} lines, is in {part}.") from error
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _keep_whole_lines(part: Path) -> int:
    """How many there are; the file goes if there is none."""
    lines = whole = 0
    with suppress(OSError):
        with part.open("r+b") as file:
            for line in file:
                if line.endswith(b"\n"):
                    lines += 1
                    whole += len(line)
            file.truncate(whole)
        if not lines:
            part.unlink()
    return lines
