"""PostgreSQL when things go wrong: restarts, cut connections, answers that never arrive, wrong users."""

import asyncio
import contextlib
import socket
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from storage import inbox
from storage.database import open_engines, parse_url
from storage.errors import StoreUnavailable, StoreUnusable
from storage.migrate import migrate
from storage.records import Receival
from storage.schema import messages
from storage.store import Store, Transaction
from tests.contract.world import ANN, BOB, Clock, World
from tests.servers.postgres import PostgresServer


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    """A server that a test may stop."""
    with PostgresServer() as server:
        yield server


@pytest.fixture
def database() -> str:
    return "postgresql"


async def test_a_server_that_stops_is_unavailable_and_works_again_when_it_is_back(
    own_server: PostgresServer, clock: Clock
) -> None:
    store = Store.open(own_server.url(own_server.create_database()), clock=clock)
    await asyncio.to_thread(migrate, store.engines, store.where)
    world = World(store, clock)
    await world.say()
    await asyncio.to_thread(own_server.stop)
    with pytest.raises(StoreUnavailable, match="postgresql"):
        await world.say()
    with pytest.raises(StoreUnavailable):
        await world.rows(messages)
    await asyncio.to_thread(own_server.start)
    await world.say()
    assert len(await world.rows(messages)) == 2
    await store.close()


async def test_a_restart_between_two_turns_is_not_noticed(own_server: PostgresServer, clock: Clock) -> None:
    store = Store.open(own_server.url(own_server.create_database()), clock=clock)
    await asyncio.to_thread(migrate, store.engines, store.where)
    world = World(store, clock)
    await world.say()
    await asyncio.to_thread(own_server.stop)
    await asyncio.to_thread(own_server.start)
    assert len(await world.rows(messages)) == 1
    await world.say()
    await store.close()


async def test_a_connection_killed_in_mid_use_is_replaced_and_the_work_done_once(world: World) -> None:
    runs = []

    def say_and_die(tx: Transaction) -> Receival:
        runs.append(1)
        received = inbox.add_message(tx, event)
        if len(runs) == 1:
            tx.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
        return received.outcome

    event = world.message()
    assert await world.store.write(say_and_die) is Receival.TURN
    assert len(runs) == 2
    assert len(await world.rows(messages)) == 1


async def test_a_reader_whose_connection_is_killed_reads_again(world: World) -> None:
    runs = []

    def look_and_die(tx: Transaction) -> int:
        runs.append(1)
        if len(runs) == 1:
            tx.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
        return int(tx.execute(text("SELECT count(*) FROM messages")).scalar_one())

    await world.say()
    assert await world.store.read(look_and_die) == 1


async def test_a_serialization_failure_is_tried_again(world: World) -> None:
    runs = []

    def clash(tx: Transaction) -> str:
        runs.append(1)
        if len(runs) < 3:
            tx.execute(text("DO $$ BEGIN RAISE EXCEPTION 'clash' USING ERRCODE = '40001'; END $$"))
        return "done"

    assert await world.store.write(clash) == "done"


async def test_deadlocks_between_two_processes_are_resolved(world: World, second_store: Store) -> None:
    """Groups lock rows in the order of arrival: two processes may meet crosswise."""
    both = threading.Barrier(2, timeout=20)
    runs = []

    def cross(tx: Transaction, first: str, second: str) -> None:
        runs.append(first)
        lock = text("UPDATE channels SET persona = :me WHERE address = :address")
        tx.execute(lock, {"me": first, "address": first})
        if len(runs) <= 2:
            both.wait()
        tx.execute(lock, {"me": first, "address": second})

    for channel in (ANN, BOB):
        await world.say(channel)
    await asyncio.gather(
        world.store.write(cross, ANN.address, BOB.address), second_store.write(cross, BOB.address, ANN.address)
    )
    assert len(runs) == 3


class CommitProxy:
    """Stands between store and server, and once cuts the connection at the COMMIT: before the server got it,
    or after the server has done it and before anybody hears of it."""

    def __init__(self, upstream: str, folder: Path) -> None:
        self.cut: str | None = None
        self._upstream = upstream
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / ".s.PGSQL.5432"))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._upstream)
            lost = threading.Event()
            for source, target, to_server in ((client, server, True), (server, client, False)):
                threading.Thread(target=self._pump, args=(source, target, to_server, lost), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, to_server: bool, lost: threading.Event) -> None:
        try:
            while data := source.recv(65_536):
                if to_server and self.cut and b"COMMIT" in data:
                    before, self.cut = self.cut == "before", None
                    if before:
                        break
                    lost.set()
                elif not to_server and lost.is_set():
                    break  # the server has committed; its answer is lost
                target.sendall(data)
        except OSError:
            pass
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


@pytest.fixture
def proxy(postgres: PostgresServer) -> Iterator[tuple[CommitProxy, str]]:
    with tempfile.TemporaryDirectory(prefix="bnt-", dir="/tmp") as folder:
        running = CommitProxy(f"{postgres.folder}/.s.PGSQL.5432", Path(folder))
        yield running, folder
        running.close()


@pytest.fixture
async def proxied(url: str, proxy: tuple[CommitProxy, str], clock: Clock) -> AsyncIterator[World]:
    store = Store.open(f"{url.partition('?')[0]}?host={proxy[1]}", clock=clock)
    yield World(store, clock)
    await store.close()


@pytest.mark.parametrize(("cut", "expected_runs"), [("before", 2), ("after", 1)])
async def test_a_commit_whose_answer_is_lost_happens_exactly_once(
    proxied: World, proxy: tuple[CommitProxy, str], cut: str, expected_runs: int
) -> None:
    """A notice has no key that could tell a repetition: only the database knows whether it is there."""
    runs = []

    def add_notice(tx: Transaction) -> str:
        runs.append(1)
        inbox.add_notice(tx, proxied.message().channel, "once", reply_to=None)
        return "committed"

    await proxied.say()
    proxy[0].cut = cut
    assert await proxied.store.write(add_notice) == "committed"
    assert proxy[0].cut is None
    assert len(runs) == expected_runs
    assert [reply.text for reply in await proxied.lease_replies()] == ["once"]


async def test_a_user_without_rights_gets_one_sentence(own_server: PostgresServer) -> None:
    name = own_server.create_database()
    own_server.execute("CREATE ROLE guest LOGIN")
    engines = open_engines(parse_url(own_server.url(name).replace("postgres@", "guest:s3cret@")))
    with pytest.raises(StoreUnusable, match="permission denied for schema public") as refused:
        migrate(engines, "postgresql://guest@db/banter")
    assert "s3cret" not in str(refused.value)
    engines.dispose()


async def test_a_missing_database_is_named(postgres: PostgresServer) -> None:
    store = Store.open(postgres.url("nowhere").replace("postgres@", "postgres:s3cret@"))
    with pytest.raises(StoreUnavailable, match='"nowhere" does not exist') as refused:
        await store.write(lambda tx: tx.now)
    assert "s3cret" not in str(refused.value)
    await store.close()


async def test_nobody_at_the_address_is_unavailable(tmp_path: Path) -> None:
    store = Store.open(f"postgresql://u:s3cret@/x?host={tmp_path}")
    with pytest.raises(StoreUnavailable) as refused:
        await store.write(lambda tx: tx.now)
    assert "s3cret" not in str(refused.value)
    await store.close()
