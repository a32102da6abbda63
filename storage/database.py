"""Engines for SQLite and PostgreSQL, and the translation of their errors into ours.

SQLite keeps what it was told (`synchronous=FULL`), forgets what it must (`secure_delete`) and never leases a
turn twice: every writing transaction begins with `BEGIN IMMEDIATE`, since a deferred one reads, lets another
process write, and then overwrites it.
"""

import errno
import json
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError

from storage.errors import StoreError, StoreUnavailable, StoreUnusable
from storage.turnstile import begin_writing

BUSY_TIMEOUT_MS = 5_000
WAL_LIMIT_BYTES = 64 * 1024 * 1024
KNOWN_SCHEMES = "sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME"

_to_json = json.JSONEncoder(separators=(",", ":")).encode

# Codes that a retry of the same transaction can heal: serialization, deadlock, shutdown, lost connection.
_PASSING_SQLSTATES = ("40001", "40P01", "57P01", "57P02", "57P03", "53300", "55P03")
_PSYCOPG_IN_TRANSACTION = (2, 3)  # libpq's PQTRANS_INTRANS and PQTRANS_INERROR

_PRAGMAS = (
    "synchronous=FULL",
    "foreign_keys=ON",
    "secure_delete=ON",
    f"journal_size_limit={WAL_LIMIT_BYTES}",
)

_REMEDIES = {
    "locked": "another program holds it; close it, or wait",
    "full": "free some space on its disk",
    "readonly": "make the file and its folder writable for this user",
    "unable to open": "make the folder writable for this user",
    "password authentication": "check user and password in storage.url",
    "does not exist": "create it, or correct storage.url",
}


@dataclass(frozen=True, slots=True)
class Engines:
    """`write` begins transactions that change something, `read` those that only look."""

    write: Engine
    read: Engine
    sqlite_file: Path | None

    def dispose(self) -> None:
        self.write.dispose()
        self.read.dispose()


def parse_url(url: str, base: Path | None = None) -> URL:
    """The URL with the driver this project uses; relative SQLite files lie beside `base`.

    Any driver name of the same database is accepted (`sqlite+aiosqlite`, `postgresql+asyncpg`), so that
    a URL copied from elsewhere works. Raises StoreUnusable for everything else, never showing a password.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise StoreUnusable(f"storage.url is no database URL; write {KNOWN_SCHEMES}") from None
    backend = parsed.drivername.partition("+")[0]
    if backend == "sqlite":
        if not parsed.database or parsed.database == ":memory:":
            raise StoreUnusable("storage.url names no file; write for example sqlite:///data/banter.db")
        return parsed.set(drivername="sqlite+pysqlite", database=str((base or Path.cwd()) / parsed.database))
    if backend in ("postgresql", "postgres"):
        return parsed.set(drivername="postgresql+psycopg")
    raise StoreUnusable(f"storage.url: {parsed.drivername!r} is not supported; write {KNOWN_SCHEMES}")


def open_engines(url: URL) -> Engines:
    """Engines for a URL of `parse_url`. Opens no connection yet, but makes a SQLite file's folder."""
    if url.get_backend_name() == "sqlite":
        file = Path(str(url.database))
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreUnusable(f"{file.parent}: the database's folder cannot be made: {error.strerror}") from None
        if file.is_dir():
            raise StoreUnusable(f"{file} is a folder; storage.url must name a file")
        return Engines(_sqlite(url, writing=True), _sqlite(url, writing=False), file)
    try:
        engine = create_engine(
            url,
            pool_size=2,
            json_serializer=_to_json,
            connect_args={
                "connect_timeout": 5,
                "keepalives_idle": 30,
                "options": "-c lock_timeout=5000 -c statement_timeout=30000 "
                "-c idle_in_transaction_session_timeout=60000",
            },
        )
    except ModuleNotFoundError:
        raise StoreUnusable("PostgreSQL needs an extra; run: pip install 'banter[postgres]'") from None
    return Engines(engine, engine, None)


def _sqlite(url: URL, *, writing: bool) -> Engine:
    file = Path(str(url.database))
    engine = create_engine(
        url,
        json_serializer=_to_json,
        connect_args={"timeout": BUSY_TIMEOUT_MS / 1000, "check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, _record: Any) -> None:
        connection.isolation_level = None  # the driver must not begin transactions by itself
        _close_to_others(file)
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        _switch_to_wal(connection)

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        raw = connection.connection.dbapi_connection
        assert isinstance(raw, sqlite3.Connection)
        if writing:
            _begin_writing(connection, raw, file)
        else:
            raw.execute("BEGIN")

    return engine


def _begin_writing(connection: Connection, raw: sqlite3.Connection, file: Path) -> None:
    raw.execute("PRAGMA busy_timeout=0")  # we ask again ourselves, and more often than SQLite would
    try:
        if not begin_writing(raw, file, BUSY_TIMEOUT_MS / 1000):
            connection.exec_driver_sql("BEGIN IMMEDIATE")  # once more, for SQLAlchemy's words about the failure
    finally:
        raw.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")


def _close_to_others(file: Path) -> None:
    """People's words are for the owner alone; log and index files take the mode of the database."""
    status = file.stat()
    if status.st_mode & 0o077 and status.st_uid == os.geteuid():
        file.chmod(0o600)


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    """The first switch needs the file alone and does not wait for a second process by itself."""
    deadline = time.monotonic() + BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def is_passing(error: DBAPIError) -> bool:
    """Whether the same transaction may succeed when simply run again."""
    if error.connection_invalidated:
        return True
    sqlstate = getattr(error.orig, "sqlstate", None)
    return sqlstate is not None and (sqlstate.startswith("08") or sqlstate in _PASSING_SQLSTATES)


def still_in_transaction(connection: Connection) -> bool:
    """Whether the surrounding transaction stands after an error (a full disk ends it on SQLite)."""
    if connection.closed or connection.invalidated:
        return False
    raw = connection.connection.dbapi_connection
    if isinstance(raw, sqlite3.Connection):
        return raw.in_transaction
    status: int = getattr(raw, "info").transaction_status  # noqa: B009 - psycopg is an optional dependency
    return status in _PSYCOPG_IN_TRANSACTION


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Raise the database's own errors as StoreUnavailable or StoreUnusable, in words for an operator.

    `where` names the database without its password. Errors of ours and of the caller pass unchanged.
    """
    try:
        yield
    except DBAPIError as error:
        ours = in_our_words(where, error)
        if ours is error:
            raise
        raise ours from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT):
            raise StoreUnavailable(f"{where}: {error.strerror}") from error
        raise


def in_our_words(where: str, error: DBAPIError) -> StoreError | DBAPIError:
    """The error for an operator; itself where the statement is to blame, which only we can mend."""
    message = str(error.orig).strip().splitlines()[0] if str(error.orig).strip() else type(error.orig).__name__
    if "malformed" in message or "not a database" in message:
        return _caused_by(
            error,
            StoreUnusable(
                f"{where} is damaged or no SQLite database ({message}). Move it away and put back a backup "
                "from the folder 'backups' beside it; a missing file is made anew."
            ),
        )
    if getattr(error.orig, "sqlstate", None) == "42501":
        return _caused_by(error, StoreUnusable(f"{where}: {message}; let storage.url's user own its database"))
    if not (isinstance(error, (OperationalError, InterfaceError)) or is_passing(error)):
        return error
    hint = next((remedy for sign, remedy in _REMEDIES.items() if sign in message.lower()), "trying again")
    return _caused_by(error, StoreUnavailable(f"{where}: {message} ({hint})"))


def _caused_by(cause: DBAPIError, error: StoreError) -> StoreError:
    error.__cause__ = cause
    return error
