"""Fixtures for all tests."""

from collections.abc import Iterator

import pytest

from tests.servers.postgres import PostgresServer


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A private PostgreSQL; where none comes up the test fails."""
    with PostgresServer() as server:
        yield server
