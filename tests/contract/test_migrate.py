"""Migrations on both databases: the same schema as the code's, both ways, all or nothing, one at a time."""

import subprocess
import sys
from collections.abc import Iterator

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, event, inspect, text

from storage.database import Engines, open_engines, parse_url
from storage.errors import StoreUnusable
from storage.migrate import current_revision, downgrade, known_revisions, migrate
from storage.schema import SCHEMA_REVISION, metadata

MIGRATE = """
import os, signal, sys
from sqlalchemy import event
from storage.database import open_engines, parse_url
from storage.migrate import migrate

engines = open_engines(parse_url(sys.argv[1]))
if len(sys.argv) > 2:
    @event.listens_for(engines.write, "before_cursor_execute")
    def die(connection, cursor, statement, *rest):
        if sys.argv[2] in statement:
            os.kill(os.getpid(), signal.SIGKILL)
print(migrate(engines, "it"))
"""


@pytest.fixture
def engines(empty_url: str) -> Iterator[Engines]:
    opened = open_engines(parse_url(empty_url))
    yield opened
    opened.dispose()


def tables(engines: Engines) -> set[str]:
    with engines.read.connect() as connection:
        return set(inspect(connection).get_table_names()) - {"alembic_version"}


def test_the_newest_migration_is_the_schema_of_the_code() -> None:
    assert known_revisions()[-1] == SCHEMA_REVISION


def test_an_upgrade_from_nothing_gives_exactly_the_schema(engines: Engines) -> None:
    assert migrate(engines, "it")
    with engines.read.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
        assert current_revision(connection) == SCHEMA_REVISION


def test_partial_indexes_have_their_conditions(engines: Engines) -> None:
    """The comparison above does not look at them, and without them a queue is slow or a conversation double."""
    migrate(engines, "it")
    definitions = {
        "sqlite": "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL",
        "postgresql": "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
    }
    with engines.read.connect() as connection:
        rows = connection.execute(text(definitions[connection.dialect.name])).all()
        found = {name: sql.partition(" WHERE ")[2] for name, sql in rows if " WHERE " in sql}
    assert set(found) == {"ix_conversations_open", "ix_turns_open", "ix_turns_dead", "ix_replies_open"}
    assert "closed_at IS NULL" in found["ix_conversations_open"]
    assert all(state in found["ix_turns_open"] for state in ("pending", "leased"))
    assert all(state in found["ix_replies_open"] for state in ("ready", "posting"))


def test_a_second_upgrade_changes_nothing(engines: Engines) -> None:
    assert migrate(engines, "it")
    assert not migrate(engines, "it")


def test_a_downgrade_leaves_nothing_and_can_be_taken_back(engines: Engines) -> None:
    migrate(engines, "it")
    downgrade(engines, "it", "base")
    assert tables(engines) == set()
    assert migrate(engines, "it")
    assert tables(engines) == set(metadata.tables)


def test_a_migration_that_fails_in_the_middle_leaves_the_old_state(engines: Engines) -> None:
    def fail(_connection: Connection, _cursor: object, statement: str, *_rest: object) -> None:
        if "CREATE TABLE replies" in statement:
            raise RuntimeError("power cut")

    event.listen(engines.write, "before_cursor_execute", fail)
    with pytest.raises(RuntimeError, match="power cut"):
        migrate(engines, "it")
    assert tables(engines) == set()
    event.remove(engines.write, "before_cursor_execute", fail)
    assert migrate(engines, "it")


def test_a_process_killed_in_the_middle_leaves_the_old_state(engines: Engines, empty_url: str) -> None:
    killed = subprocess.run([sys.executable, "-c", MIGRATE, empty_url, "CREATE TABLE replies"], check=False)
    assert killed.returncode == -9
    assert tables(engines) == set()
    assert migrate(engines, "it")


def test_processes_that_migrate_at_once_do_it_once(engines: Engines, empty_url: str) -> None:
    command = [sys.executable, "-c", MIGRATE, empty_url]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    said = [process.communicate(timeout=60)[0].strip() for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert "True" in said
    assert tables(engines) == set(metadata.tables)


def test_a_newer_schema_is_refused_by_name(engines: Engines) -> None:
    migrate(engines, "it")
    with engines.write.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreUnusable, match=r"it was written by a newer Banter \(schema 9999"):
        migrate(engines, "it")


def test_another_programs_database_is_refused_untouched(engines: Engines) -> None:
    with engines.write.begin() as connection:
        connection.execute(text("CREATE TABLE invoices (id INTEGER)"))
    with pytest.raises(StoreUnusable, match=r"tables of another program \(invoices\)"):
        migrate(engines, "it")
    assert tables(engines) == {"invoices"}
