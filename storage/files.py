"""What a SQLite file needs beyond statements: forgetting in its pages, backups, and one owner at a time."""

import fcntl
import os
import sqlite3
import time
from datetime import datetime
from pathlib import Path
from typing import IO

from storage.errors import StoreUnavailable, StoreUnusable

_SCRUB_TRIES = 50
_NETWORK_FILE_SYSTEMS = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs")


def scrub(file: Path) -> None:
    """Empty the write-ahead log, whose old pages still hold erased words (the file's own pages were overwritten
    by `secure_delete`). Blocks; raises StoreUnavailable while a reader holds the log for seconds."""
    connection = sqlite3.connect(file, timeout=5, isolation_level=None)
    try:
        for _ in range(_SCRUB_TRIES):
            busy, _frames, _moved = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if not busy:
                return
            time.sleep(0.1)
    except sqlite3.Error as error:
        raise StoreUnavailable(f"{file}: {error}") from error
    finally:
        connection.close()
    raise StoreUnavailable(f"{file}: the write-ahead log is in use; erased text leaves it with the next checkpoint")


def back_up(file: Path, folder: Path, moment: datetime, keep: int) -> Path:
    """Copy a running database into `folder`, keep the newest `keep` copies. Blocks; returns the copy's path."""
    target = folder / f"{file.stem}-{moment:%Y%m%dT%H%M%S}.db"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partial = target.with_suffix(".partial")
        source = sqlite3.connect(file)
        copy = sqlite3.connect(partial)
        try:
            source.backup(copy, pages=1024)
        finally:
            copy.close()
            source.close()
        os.chmod(partial, 0o600)
        partial.rename(target)
        for old in sorted(folder.glob(f"{file.stem}-*.db"))[:-keep]:
            old.unlink()
    except (OSError, sqlite3.Error) as error:
        raise StoreUnavailable(f"no backup of {file} in {folder}: {error}") from error
    return target


def file_system_of(path: Path) -> str | None:
    """The type of the file system that holds `path`, where the system tells."""
    try:
        mounts = Path("/proc/mounts").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    resolved = path.resolve()
    best: tuple[int, str] | None = None
    for line in mounts:
        _device, mount, kind = line.split()[:3]
        if resolved.is_relative_to(mount) and (best is None or len(mount) >= best[0]):
            best = len(mount), kind
    return None if best is None else best[1]


def is_network_file_system(path: Path) -> bool:
    """SQLite's locks do not hold across a network file system."""
    return file_system_of(path) in _NETWORK_FILE_SYSTEMS


class FileLock:
    """One process at a time holds a name beside a database file; the system frees it when the process dies."""

    def __init__(self, file: Path, name: str) -> None:
        self.path = file.with_name(f"{file.name}.{name}.lock")
        self._handle: IO[str] | None = None

    def acquire(self) -> None:
        """Raises StoreUnusable naming the process that holds it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            handle = open(self.path, "a+", encoding="ascii")  # noqa: SIM115 - held for the life of the process
        except OSError as error:
            raise StoreUnusable(f"{self.path}: {error.strerror}; make the folder writable for this user") from None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            handle.seek(0)
            other = handle.read().strip() or "unknown"
            handle.close()
            raise StoreUnusable(
                f"{self.path}: another banter (process {other}) serves this already; stop it first"
            ) from None
        handle.truncate(0)
        handle.write(str(os.getpid()))
        handle.flush()
        self._handle = handle

    def release(self) -> None:
        if self._handle is not None:
            self._handle.close()
            self._handle = None
