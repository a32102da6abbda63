"""Checkpoints on a disk that may be full, from processes that may be killed: what is whole, and a place kept free."""

import errno
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bot.training.errors import TrainingError

_NAME = re.compile(r"checkpoint-(\d+)")
_LAST_FILE = "trainer_state.json"
"""The Trainer writes it after everything else of a checkpoint."""

_FULL = (errno.ENOSPC, errno.EDQUOT)
_SAYINGS = ("No space left on device", "Disk quota exceeded", "file write failed", "failed writing file")
"""How safetensors and torch put it; they raise classes of their own."""


def last_whole_checkpoint(out: Path) -> Path | None:
    """The newest checkpoint that was written to its end."""
    return next((path for _, path in sorted(_numbered(out), reverse=True) if _is_whole(path)), None)


def remove_broken_checkpoints(out: Path) -> None:
    """Take away what a killed process began to write."""
    for _, path in list(_numbered(out)):
        if not _is_whole(path):
            shutil.rmtree(path, ignore_errors=True)


def is_disk_full(error: BaseException | None) -> bool:
    """Whether this error, or one that led to it, says that the disk is full."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        if any(saying in str(error) for saying in _SAYINGS):
            return True
        error = error.__cause__ or error.__context__
    return False


@contextmanager
def writing_into(out: Path) -> Iterator[None]:
    """Make the directory and what is written within; a place that cannot be written raises TrainingError."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        yield
    except Exception as error:  # each library that writes has its own class for a full disk
        if not is_disk_full(error) and not isinstance(error, PermissionError | FileExistsError | NotADirectoryError):
            raise
        if not is_disk_full(error):
            raise TrainingError(f"{out}: cannot be written ({error}). Choose another --out.") from error
        kept = last_whole_checkpoint(out)
        raise TrainingError(
            f"{out}: the disk is full. {'Nothing was computed yet' if kept is None else f'{kept.name} is kept'}. Make "
            "room and start the same command again: it goes on from there."
        ) from error


class Reserve:
    """A file as large as a checkpoint. When the disk is full it goes, and what was computed is kept in its place."""

    def __init__(self, out: Path, size_bytes: int) -> None:
        self._file = out / ".reserve"
        self._size_bytes = size_bytes

    def take(self) -> None:
        """Raises TrainingError if there is no room, before anything was computed."""
        try:
            with self._file.open("wb") as stream:
                os.posix_fallocate(stream.fileno(), 0, self._size_bytes)
        except OSError as error:
            self.release()
            if not is_disk_full(error):
                raise
            free = shutil.disk_usage(self._file.parent).free
            raise TrainingError(
                f"{self._file.parent}: the disk has no room for checkpoints: {3 * self._size_bytes / 1e6:.0f} MB are "
                f"needed (two are kept, and room for one more), {free / 1e6:.0f} MB are free. Make room, or choose "
                "another --out."
            ) from error

    def release(self) -> None:
        """Give the room back."""
        self._file.unlink(missing_ok=True)


def _numbered(out: Path) -> Iterator[tuple[int, Path]]:
    for path in out.glob("checkpoint-*"):
        if (match := _NAME.fullmatch(path.name)) is not None:
            yield int(match.group(1)), path


def _is_whole(checkpoint: Path) -> bool:
    try:
        json.loads((checkpoint / _LAST_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True
