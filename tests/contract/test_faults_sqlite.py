"""SQLite when things go wrong: locked, read-only, full, damaged, misnamed."""

import asyncio
import fcntl
import itertools
import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import event

from storage import database, files, inbox, upkeep
from storage.errors import StoreUnavailable, StoreUnusable
from storage.migrate import migrate
from storage.schema import messages
from storage.store import Store
from tests.contract.world import ANN, BOB, Clock, World

HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def database_file(tmp_path: Path, sqlite_template: Path) -> Path:
    return Path(shutil.copyfile(sqlite_template, tmp_path / "banter.db"))


@pytest.fixture
async def store(database_file: Path, clock: Clock) -> AsyncIterator[Store]:
    opened = Store.open(f"sqlite:///{database_file}", clock=clock)
    yield opened
    await opened.close()


@pytest.fixture
def held(database_file: Path) -> Iterator["subprocess.Popen[str]"]:
    """Another process that holds the file until it is told a line."""
    command = [sys.executable, "-c", HOLD, str(database_file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process


async def test_a_file_that_another_process_holds_is_unavailable_and_then_works_again(
    held: "subprocess.Popen[str]", database_file: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_MS", 200)
    store = Store.open(f"sqlite:///{database_file}", clock=clock)
    world = World(store, clock)
    with pytest.raises(StoreUnavailable, match=r"banter.db: database is locked \(another program holds it"):
        await world.say()
    await asyncio.to_thread(held.communicate, "go\n")
    assert await world.rows(messages) == []
    await world.say()
    assert len(await world.rows(messages)) == 1
    await store.close()


async def test_a_short_lock_is_waited_out(world: World, database_file: Path) -> None:
    holder = sqlite3.connect(database_file, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    saying = asyncio.create_task(world.say())
    await world.store.read(upkeep.counts)  # readers go on meanwhile
    assert not saying.done()
    holder.execute("COMMIT")
    holder.close()
    await saying


@pytest.fixture
def as_nobody() -> Iterator[None]:
    """Root may write everywhere: step down for a moment."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp(prefix="bnt-"))
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


async def test_a_read_only_file_is_unavailable_in_words(
    open_folder: Path, database_file: Path, clock: Clock, request: pytest.FixtureRequest
) -> None:
    file = Path(shutil.copyfile(database_file, open_folder / "banter.db"))
    file.chmod(0o444)
    open_folder.chmod(0o555)
    request.getfixturevalue("as_nobody")
    store = Store.open(f"sqlite:///{file}", clock=clock)
    with pytest.raises(StoreUnavailable, match="writable for this user"):
        await World(store, clock).say()
    await store.close()


async def test_a_folder_that_cannot_be_made_is_unusable(open_folder: Path, request: pytest.FixtureRequest) -> None:
    open_folder.chmod(0o555)
    request.getfixturevalue("as_nobody")
    with pytest.raises(StoreUnusable, match="folder cannot be made: Permission denied"):
        Store.open(f"sqlite:///{open_folder}/data/banter.db")


async def test_a_full_disk_refuses_what_does_not_fit_and_recovers(world: World) -> None:
    pages = 80

    @event.listens_for(world.store.engines.write, "connect")
    def limit(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute(f"PRAGMA max_page_count={pages}")

    await world.say(ANN, "small")
    with pytest.raises(StoreUnavailable, match=r"full \(free some space"):
        await world.say(ANN, "x" * 1_000_000)
    assert [row.text for row in await world.rows(messages)] == ["small"]
    pages = 100_000
    world.store.engines.write.dispose()  # space is back
    await world.say(ANN, "x" * 1_000_000)
    assert len(await world.rows(messages)) == 2


async def test_a_full_disk_in_a_group_commits_all_or_tells(world: World) -> None:
    """SQLite may end the whole transaction when it is full: nobody is told "committed" who is not."""

    @event.listens_for(world.store.engines.write, "connect")
    def limit(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute("PRAGMA max_page_count=80")

    outcomes = await asyncio.gather(
        *(world.say(ANN, "small" if number != 5 else "x" * 1_000_000) for number in range(10)), return_exceptions=True
    )
    refused = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert refused
    assert all(isinstance(outcome, StoreUnavailable) for outcome in refused)
    assert len(await world.rows(messages)) == len(outcomes) - len(refused)


async def start_and_say(store: Store, clock: Clock) -> None:
    migrate(store.engines, store.where)
    await World(store, clock).say()


@pytest.mark.parametrize("damage", ["header", "half", "stub"])
async def test_a_damaged_file_is_unusable_and_left_alone(database_file: Path, clock: Clock, damage: str) -> None:
    whole = database_file.read_bytes()
    broken = {"header": b"\xff" * 16 + whole[16:], "half": whole[: len(whole) // 2], "stub": whole[:50]}[damage]
    database_file.write_bytes(broken)
    store = Store.open(f"sqlite:///{database_file}", clock=clock)
    with pytest.raises(StoreUnusable, match=r"banter\.db is damaged or no SQLite database .* put back a backup"):
        await start_and_say(store, clock)
    await store.close()
    assert database_file.read_bytes() == broken


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("banter.db", "no database URL"),
        ("", "no database URL"),
        ("mysql://root:s3cret@localhost/x", "'mysql' is not supported"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("postgresql://root:s3cret@localhost:port/x", "no database URL"),
    ],
)
def test_a_url_that_names_no_database_is_refused_without_its_password(url: str, message: str) -> None:
    with pytest.raises(StoreUnusable, match=message) as refused:
        Store.open(url)
    assert "s3cret" not in str(refused.value)


def test_a_folder_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreUnusable, match="is a folder"):
        Store.open(f"sqlite:///{tmp_path}")


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("not a folder")
    with pytest.raises(StoreUnusable, match="folder cannot be made"):
        Store.open(f"sqlite:///{tmp_path}/data/banter.db")


@pytest.mark.parametrize("url", ["sqlite:///data/x.db", "sqlite+aiosqlite:///data/x.db"])
async def test_a_relative_file_lies_beside_the_configuration(url: str, tmp_path: Path) -> None:
    store = Store.open(url, base=tmp_path)
    assert store.sqlite_file == tmp_path / "data" / "x.db"
    await store.close()


async def test_database_log_and_index_are_for_the_owner_alone(tmp_path: Path, clock: Clock) -> None:
    store = Store.open(f"sqlite:///{tmp_path}/new.db", clock=clock)
    migrate(store.engines, store.where)
    await World(store, clock).say()
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.glob("new.db*")}
    assert {"new.db", "new.db-wal", "new.db-shm"} < modes.keys()
    assert set(modes.values()) == {0o600}
    await store.close()


async def test_what_was_acknowledged_is_synced_and_safe(world: World) -> None:
    def settings(tx: object) -> list[object]:
        with world.store.engines.write.connect() as connection:
            names = ("journal_mode", "synchronous", "foreign_keys", "secure_delete")
            return [connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in names]

    assert await world.store.read(settings) == ["wal", 2, 1, 1]


async def test_a_backup_of_a_running_store_opens_and_old_ones_go(world: World, tmp_path: Path) -> None:
    await world.say(ANN, "precious")
    file = world.store.sqlite_file
    assert file is not None
    copies = [files.back_up(file, tmp_path / "backups", datetime(2026, 1, day, tzinfo=UTC), 2) for day in (1, 2, 3)]
    assert sorted((tmp_path / "backups").iterdir()) == copies[1:]
    assert copies[-1].stat().st_mode & 0o777 == 0o600
    restored = Store.open(f"sqlite:///{copies[-1]}")
    assert not migrate(restored.engines, restored.where)
    assert (await restored.read(upkeep.counts)).pending == 1
    await restored.close()


def test_a_file_is_served_by_one_process_at_a_time(tmp_path: Path) -> None:
    first, second = (files.FileLock(tmp_path / "banter.db", "telegram") for _ in range(2))
    first.acquire()
    with pytest.raises(StoreUnusable, match=rf"another banter \(process {os.getpid()}\)"):
        second.acquire()
    first.release()
    second.acquire()
    second.release()


async def test_dead_letters_of_one_event_from_two_processes_are_one(world: World, database_file: Path) -> None:
    other = Store.open(f"sqlite:///{database_file}")
    kept = await asyncio.gather(
        *(store.write(inbox.add_dead_letter, "telegram", "1", "{}", "odd") for store in (world.store, other))
    )
    assert sorted(kept) == [False, True]
    await other.close()
    await world.say(BOB)


async def test_a_process_that_never_stops_writing_lets_others_write_too(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/banter.db"
    busy, other = Store.open(url), Store.open(url)
    migrate(busy.engines, busy.where)
    letters = itertools.count()

    async def keep_writing() -> None:
        while True:
            await busy.write(inbox.add_dead_letter, "telegram", str(next(letters)), "raw", "error")

    writing = [asyncio.create_task(keep_writing()) for _ in range(200)]
    waits = []
    for number in range(20):
        began = time.monotonic()
        await other.write(inbox.add_dead_letter, "discord", str(number), "raw", "error")
        waits.append(time.monotonic() - began)
    for task in writing:
        task.cancel()
    await asyncio.gather(*writing, return_exceptions=True)
    await busy.close()
    await other.close()
    assert next(letters) > 200
    assert statistics.median(waits) < 0.5


async def test_a_stopped_process_in_the_line_holds_nobody_up_for_long(tmp_path: Path) -> None:
    store = Store.open(f"sqlite:///{tmp_path}/banter.db")
    migrate(store.engines, store.where)
    with (tmp_path / "banter.db.write.lock").open("w") as line:
        fcntl.flock(line, fcntl.LOCK_EX)
        async with asyncio.timeout(4):
            assert await store.write(inbox.add_dead_letter, "telegram", "1", "raw", "error")
    await store.close()
