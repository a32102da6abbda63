"""LISTEN and NOTIFY: a commit in one process wakes the others; a lost connection is opened again."""

import asyncio
from collections import Counter

import pytest

from storage.listen import listen
from storage.store import Store
from tests.contract.world import World
from tests.servers.postgres import PostgresServer


class Heard:
    """Counts wake-ups and lets a test wait for the next one."""

    def __init__(self) -> None:
        self.topics: Counter[str] = Counter()
        self._changed = asyncio.Event()

    def __call__(self, topic: str) -> None:
        self.topics[topic] += 1
        self._changed.set()

    async def until(self, topic: str, count: int) -> None:
        async with asyncio.timeout(20):
            while self.topics[topic] < count:
                self._changed.clear()
                await self._changed.wait()


@pytest.mark.parametrize("database", ["sqlite"])
async def test_on_sqlite_there_is_nothing_to_listen_to(store: Store) -> None:
    async with asyncio.timeout(5):
        await listen(store, Heard())


@pytest.mark.parametrize("database", ["postgresql"])
async def test_a_commit_wakes_the_other_process(world: World, second_store: Store) -> None:
    heard = Heard()
    task = asyncio.create_task(listen(second_store, heard))
    await heard.until("turns", 1)  # it listens now, and looks once for what it missed
    assert heard.topics == {"turns": 1, "outbox": 1}
    await world.say()
    await heard.until("turns", 2)
    await world.finish(await world.lease_one())
    await heard.until("outbox", 2)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("database", ["postgresql"])
async def test_a_listener_that_is_cut_off_listens_again(
    world: World, second_store: Store, postgres: PostgresServer
) -> None:
    heard = Heard()
    task = asyncio.create_task(listen(second_store, heard))
    await heard.until("turns", 1)
    cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
    ((number,),) = await asyncio.to_thread(postgres.execute, cut)
    assert number == 1
    await heard.until("turns", 2)  # it came back
    await world.say()
    await heard.until("turns", 3)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_listeners_of_the_same_process_hear_commits_and_cannot_stop_them(world: World) -> None:
    loop = asyncio.get_running_loop()
    heard = Heard()

    def broken(topic: str) -> None:
        raise ValueError(topic)

    world.store.on_commit(broken)
    world.store.on_commit(lambda topic: loop.call_soon_threadsafe(heard, topic))
    await world.say()
    await heard.until("turns", 1)
    await world.say()
    await heard.until("turns", 2)
