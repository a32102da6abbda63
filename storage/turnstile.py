"""Processes that write to one SQLite file take turns.

SQLite gives the file to whoever happens to ask when it is free, and lets everybody else sleep longer and longer
between two askings: a process that commits without a pause keeps the others out for seconds. So whoever wants to
write stands in line first, and the one at its head asks often.

The line is a courtesy. Where it does not move, or its file cannot be had, a writer goes to the database without it:
SQLite's own lock is what keeps the data right.
"""

import contextlib
import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

_IN_LINE_SECONDS = 1.0  # whoever stands before us for longer is stopped or stuck
_FIRST_PAUSE_SECONDS = 0.0003
_LONGEST_PAUSE_SECONDS = 0.01


def begin_writing(connection: sqlite3.Connection, file: Path, within_seconds: float) -> bool:
    """Begin a transaction that holds the write lock; False where another program kept it all the time."""
    until = time.monotonic() + within_seconds
    with _in_line(file):
        pauses = _pauses()
        while True:
            try:
                connection.execute("BEGIN IMMEDIATE")
                return True
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                    return False
            time.sleep(next(pauses))


@contextlib.contextmanager
def _in_line(file: Path) -> Iterator[None]:
    try:
        place = os.open(file.with_name(f"{file.name}.write.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        yield
        return
    try:
        _wait_for_head(place)
        yield
    finally:
        os.close(place)


def _wait_for_head(place: int) -> None:
    until = time.monotonic() + _IN_LINE_SECONDS
    pauses = _pauses()
    while time.monotonic() < until:
        try:
            fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            time.sleep(next(pauses))
        except OSError:  # a file system without such locks
            return


def _pauses() -> Iterator[float]:
    pause = _FIRST_PAUSE_SECONDS
    while True:
        yield pause
        pause = min(1.1 * pause, _LONGEST_PAUSE_SECONDS)
