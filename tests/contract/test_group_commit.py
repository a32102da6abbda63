"""Closures that share a commit, on both databases: neighbours are safe, order holds, nothing handed over is lost."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import insert

from storage.errors import StoreUnavailable
from storage.schema import leaders, messages
from storage.store import Store, Transaction
from tests.contract.world import ANN, BOB, World


class Gate:
    """Holds the writer inside a closure, so that what is handed over meanwhile becomes one group."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.open = threading.Event()

    def __call__(self, _tx: Transaction) -> None:
        self.entered.set()
        assert self.open.wait(20)


async def together(store: Store, *statements: Callable[[Transaction], Any]) -> list[Any]:
    """Run closures in one group."""
    gate = Gate()
    holding = asyncio.create_task(store.write(gate))
    await asyncio.to_thread(gate.entered.wait, 20)
    waiting = [asyncio.create_task(store.write(statement)) for statement in statements]
    await asyncio.sleep(0)  # every task hands its closure over
    gate.open.set()
    await holding
    return await asyncio.gather(*waiting, return_exceptions=True)


async def test_closures_that_wait_share_one_transaction(world: World) -> None:
    first, second = await together(world.store, lambda tx: tx.moment, lambda tx: tx.moment)
    assert first is second


async def test_a_closure_that_raises_leaves_its_neighbours_intact(world: World) -> None:
    def write(tx: Transaction, name: str) -> str:
        tx.execute(insert(leaders).values(name=name, holder="h", until=tx.now))
        return name

    def fail(tx: Transaction) -> None:
        write(tx, "undone")
        tx.wake("turns")
        raise ValueError("mine alone")

    def break_the_statement(tx: Transaction) -> None:
        tx.execute(insert(leaders).values(name="undone too", holder=None, until=tx.now))

    woken: list[str] = []
    world.store.on_commit(woken.append)
    outcomes = await together(
        world.store, lambda tx: write(tx, "a"), fail, break_the_statement, lambda tx: write(tx, "b")
    )
    assert [outcomes[0], outcomes[3]] == ["a", "b"]
    assert isinstance(outcomes[1], ValueError)
    assert isinstance(outcomes[2], Exception)
    assert [row.name for row in await world.rows(leaders)] == ["a", "b"]
    assert woken == []


async def test_a_row_that_another_process_inserts_meanwhile_is_seen_at_the_second_look(
    world: World, second_store: Store
) -> None:
    looks = []

    def add(tx: Transaction, name: str) -> None:
        tx.execute(insert(leaders).values(name=name, holder="h", until=tx.now))

    def look_twice(tx: Transaction) -> int:
        looks.append(1)
        add(tx, "taken" if len(looks) == 1 else "free")
        return len(looks)

    await second_store.write(add, "taken")
    assert await world.store.write(look_twice) == 2
    assert [row.name for row in await world.rows(leaders)] == ["free", "taken"]


async def test_a_cancelled_caller_does_not_take_its_closure_back(world: World) -> None:
    gate = Gate()
    holding = asyncio.create_task(world.store.write(gate))
    await asyncio.to_thread(gate.entered.wait, 20)
    saying = asyncio.create_task(world.say(BOB))
    await asyncio.sleep(0)
    saying.cancel()
    gate.open.set()
    await holding
    await asyncio.gather(saying, return_exceptions=True)
    assert saying.cancelled()
    await world.store.write(lambda tx: None)
    assert len(await world.rows(messages)) == 1


async def test_closing_finishes_what_waits_and_takes_nothing_more(world: World) -> None:
    saying = [asyncio.create_task(world.say(ANN)) for _ in range(100)]
    await asyncio.sleep(0)
    await world.store.close()
    await asyncio.gather(*saying)
    with pytest.raises(StoreUnavailable, match="is closed"):
        await world.say(ANN)
    await world.store.close()


async def test_a_reader_sees_what_its_own_task_has_written(world: World) -> None:
    for number in range(20):
        await world.say(ANN)
        assert len(await world.rows(messages)) == number + 1
