"""The program on PostgreSQL: one process, several, and a database that goes away. Real processes, real sockets."""

import asyncio
import os
import signal
import statistics
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers.postgres import PostgresServer
from tests.servers.telegram import TelegramServer
from tests.system.process import FAULTS, BanterProcess, telegram_settings


@pytest.fixture
async def telegram() -> AsyncIterator[TelegramServer]:
    async with TelegramServer() as server:
        yield server
        assert server.violations == []


class Database:
    """One database of a private server."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._name = server.create_database()

    @property
    def url(self) -> str:
        return self._server.url(self._name)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return self._server.execute(query, self._name)

    def open_turns(self) -> int:
        ((count,),) = self.rows("select count(*) from turns where state in ('pending', 'leased')")
        return int(count)

    def drop(self) -> None:
        self._server.drop_database(self._name)


@pytest.fixture
def database(postgres: PostgresServer) -> Iterator[Database]:
    made = Database(postgres)
    yield made
    made.drop()


def banter(folder: Path, database: Database, server: TelegramServer, *only: str) -> BanterProcess:
    folder.mkdir(exist_ok=True)
    arguments = ("run", *(word for part in only for word in ("--only", part)))
    settings = telegram_settings(server.url, server.token, storage={"url": database.url})
    return BanterProcess(folder, settings, arguments=arguments)


def chats(server: TelegramServer) -> Counter[int]:
    return Counter(sent.chat for sent in server.sent)


async def wait_until_settled(database: Database, within: float = 30.0) -> None:
    """Until nothing is owed and nothing waits to be posted: what was to come twice would be there by now."""
    unposted = "select count(*) from replies where state in ('ready', 'posting')"
    async with asyncio.timeout(within):
        while database.open_turns() or database.rows(unposted) != [(0,)]:
            await asyncio.sleep(0.05)


async def test_a_message_is_answered_and_recorded(tmp_path: Path, telegram: TelegramServer, database: Database) -> None:
    async with banter(tmp_path, database, telegram) as bot:
        telegram.say("hi, how are you?")
        await telegram.wait_for_sent(1, within=60)
        assert await bot.stop() == 0
    assert database.rows("select state from turns") == [("replied",)]
    assert database.rows("select state, in_doubt from replies") == [("posted", False)]
    assert database.rows("select count(*) from candidates where chosen") == [(1,)]


async def test_killed_and_started_again_it_answers_once(
    tmp_path: Path, telegram: TelegramServer, database: Database
) -> None:
    async with banter(tmp_path, database, telegram) as bot:
        telegram.say("hello")
        await telegram.wait_for_sent(1, within=60)
        (worker,) = bot.workers()
        os.kill(worker, signal.SIGSTOP)
        telegram.say("what is your favourite food?")
        telegram.say("and yours?", user=8)
        await telegram.wait_until_confirmed()
        await bot.restart()
        os.kill(worker, signal.SIGKILL)  # a stopped process cannot end by itself
        await telegram.wait_for_sent(3, within=60)
        await wait_until_settled(database)
        assert chats(telegram) == {7: 2, 8: 1}


async def test_killed_while_a_reply_is_generated_it_answers_once_when_the_lease_has_run_out(
    tmp_path: Path, telegram: TelegramServer, database: Database
) -> None:
    async with banter(tmp_path, database, telegram) as bot:
        await bot.restart(PYTHONPATH=str(FAULTS), BANTER_TEST_HANG_ONCE=str(tmp_path / "hang"))
        telegram.say("hello")
        async with asyncio.timeout(60):
            while not (tmp_path / "hang").exists():
                await asyncio.sleep(0.05)
        await bot.restart()
        await telegram.wait_for_sent(1, within=75)
        await wait_until_settled(database)
        assert chats(telegram) == {7: 1}
        assert database.rows("select state, attempts from turns") == [("replied", 2)]


async def test_a_database_that_stops_and_starts_costs_no_message_and_no_process(
    tmp_path: Path, telegram: TelegramServer
) -> None:
    with PostgresServer() as server:
        database = Database(server)
        async with banter(tmp_path, database, telegram) as bot:
            telegram.say("hello")
            await telegram.wait_for_sent(1, within=60)
            workers = bot.workers()
            telegram.say("said just before", user=20)
            await asyncio.to_thread(server.stop)
            for user in range(21, 25):
                telegram.say("said while it is away", user=user)
            await bot.wait_for_event("poll_failed")
            await asyncio.to_thread(server.start)
            await telegram.wait_for(lambda: chats(telegram).keys() == {7, *range(20, 25)}, within=60)
            await wait_until_settled(database)
            telegram.say("said when it is back", user=30)
            await telegram.wait_for(lambda: chats(telegram)[30] > 0, within=30)
            assert chats(telegram) == dict.fromkeys([7, *range(20, 25), 30], 1)
            assert bot.running
            assert bot.workers() == workers
            assert "Traceback" not in bot.printed


async def test_two_processes_share_the_work_and_wake_each_other(
    tmp_path: Path, telegram: TelegramServer, database: Database
) -> None:
    async with (
        banter(tmp_path / "adapters", database, telegram, "telegram") as adapters,
        banter(tmp_path / "worker", database, telegram, "worker"),
    ):
        for number in range(1, 8):
            telegram.say(f"hello number {number}")
            await telegram.wait_for_sent(number, within=60)
        await wait_until_settled(database)
        assert adapters.workers() == []
        # Without a wake-up the poster looks once a second.
        waited = database.rows("select extract(epoch from posted_at - created_at)::float from replies")
        assert statistics.median(seconds for (seconds,) in waited) < 0.25


async def test_two_workers_answer_each_turn_once(tmp_path: Path, telegram: TelegramServer, database: Database) -> None:
    async with (
        banter(tmp_path / "adapters", database, telegram, "telegram"),
        banter(tmp_path / "one", database, telegram, "worker") as one,
        banter(tmp_path / "two", database, telegram, "worker") as two,
    ):
        await one.wait_for_event("worker_ready")
        await two.wait_for_event("worker_ready")
        users = range(20, 60)
        for user in users:
            telegram.say("what did you do today?", user=user)
        await telegram.wait_for(lambda: len(chats(telegram)) == len(users), within=60)
        await wait_until_settled(database)
        assert chats(telegram) == dict.fromkeys(users, 1)
        assert database.rows("select count(distinct lease_holder) from turns") == [(2,)]
        assert database.rows("select count(*) from turns where attempts > 1") == [(0,)]
