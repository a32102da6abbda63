"""One process leads, and only it does the chores."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bot.intake import Intake
from bot.reload import LiveConfig
from bot.scheduler import LEADER_LEASE, Scheduler
from storage import upkeep
from storage.store import Store
from tests.unit.bot.conftest import Clock, People


@pytest.fixture
def make_scheduler(tmp_path: Path, store: Store) -> Callable[[str], Scheduler]:
    config = tmp_path / "scheduler.yaml"
    config.write_text('privacy: {retention: "30d"}\n')

    async def nothing() -> None:
        return None

    return lambda holder: Scheduler(store, LiveConfig(config, env={}), holder, nothing)


async def test_one_of_two_processes_leads_and_the_other_follows_when_it_is_gone(
    make_scheduler: Callable[[str], Scheduler], clock: Clock
) -> None:
    first, second = make_scheduler("first"), make_scheduler("second")
    for scheduler in (first, second):
        await scheduler._lead()
    assert (first.leads, second.leads) == (True, False)
    clock.advance(seconds=LEADER_LEASE.total_seconds() + 1)
    await second._lead()
    await first._lead()
    assert (first.leads, second.leads) == (False, True)


async def test_resigning_lets_another_lead_at_once(make_scheduler: Callable[[str], Scheduler]) -> None:
    first, second = make_scheduler("first"), make_scheduler("second")
    await first._lead()
    await first.resign()
    await second._lead()
    assert second.leads


async def test_retention_erases_what_is_older_than_configured(
    make_scheduler: Callable[[str], Scheduler],
    make_intake: Callable[..., Intake],
    people: People,
    store: Store,
    clock: Clock,
) -> None:
    intake = make_intake()
    await intake.message(people.message("the old heron"))
    await store.write(_answer_everything)
    clock.advance(days=31)
    await intake.message(people.message("the new heron"))
    await make_scheduler("leader")._retention()
    assert store.sqlite_file is not None
    content = b"".join(file.read_bytes() for file in store.sqlite_file.parent.glob("banter.db*"))
    assert b"the old heron" not in content
    assert b"the new heron" in content


def _answer_everything(tx: Any) -> None:
    from storage import places
    from storage.schema import turns

    places.refuse_open_turns(tx, turns.c.id > 0, "test")


async def test_a_backup_is_a_whole_database_and_old_ones_go(
    make_scheduler: Callable[[str], Scheduler], store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.scheduler.utc_now", clock)
    scheduler = make_scheduler("leader")
    for _ in range(9):
        await scheduler._back_up()
        clock.advance(days=1)
    assert store.sqlite_file is not None
    copies = sorted((store.sqlite_file.parent / "backups").glob("*.db"))
    assert len(copies) == 7
    copy = Store.open(f"sqlite:///{copies[-1]}")
    assert (await copy.read(upkeep.counts)).pending == 0
    await copy.close()


async def test_a_follower_does_no_chores(make_scheduler: Callable[[str], Scheduler], store: Store) -> None:
    scheduler = make_scheduler("follower")
    await scheduler._led(scheduler._back_up)()
    assert store.sqlite_file is not None
    assert not (store.sqlite_file.parent / "backups").exists()


async def test_it_runs_until_it_is_cancelled(make_scheduler: Callable[[str], Scheduler]) -> None:
    scheduler = make_scheduler("leader")
    running = asyncio.create_task(scheduler.run())
    async with asyncio.timeout(5):
        while not scheduler.leads:
            await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
