"""Every contract test of the store runs on SQLite and on PostgreSQL, each on a database of its own."""

import shutil
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from storage.database import open_engines, parse_url
from storage.migrate import migrate
from storage.schema import metadata
from storage.store import Store
from tests.contract.world import Clock, World
from tests.servers.postgres import PostgresServer


def _migrated(url: str) -> str:
    engines = open_engines(parse_url(url))
    migrate(engines, "the test's database")
    engines.dispose()
    return url


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated file to copy: much faster than migrating one a test."""
    file = tmp_path_factory.mktemp("template") / "banter.db"
    _migrated(f"sqlite:///{file}")
    return file


@pytest.fixture(scope="session")
def shared_database(postgres: PostgresServer) -> str:
    """One migrated database, emptied for each test."""
    name = postgres.create_database()
    _migrated(postgres.url(name))
    return name


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def empty_url(database: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """A database without tables."""
    if database == "sqlite":
        yield f"sqlite:///{tmp_path / 'banter.db'}"
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    name = server.create_database()
    yield server.url(name)
    server.drop_database(name)


@pytest.fixture
def url(database: str, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """A migrated, empty database."""
    if database == "sqlite":
        file = tmp_path / "banter.db"
        shutil.copyfile(request.getfixturevalue("sqlite_template"), file)
        return f"sqlite:///{file}"
    server: PostgresServer = request.getfixturevalue("postgres")
    name: str = request.getfixturevalue("shared_database")
    tables = ", ".join(table.name for table in metadata.sorted_tables)
    server.execute(f"TRUNCATE {tables} RESTART IDENTITY", name)
    return server.url(name)


@pytest.fixture
def clock() -> Clock:
    return Clock(datetime(2026, 3, 1, 12, tzinfo=UTC))


@pytest.fixture
async def store(url: str, clock: Clock) -> AsyncIterator[Store]:
    opened = Store.open(url, clock=clock)
    yield opened
    await opened.close()


@pytest.fixture
async def second_store(url: str, clock: Clock) -> AsyncIterator[Store]:
    """Another process's view of the same database."""
    opened = Store.open(url, clock=clock)
    yield opened
    await opened.close()


@pytest.fixture
def world(store: Store, clock: Clock) -> World:
    return World(store, clock)
