"""A person's right to be forgotten, and retention: what is gone is gone from every table and every page."""

from datetime import timedelta
from pathlib import Path

import pytest

from adapters.base import Channel, ChannelKind
from storage import files, inbox, people, turns, upkeep
from storage.errors import LeaseLost
from storage.records import Receival
from storage.schema import channels, metadata
from storage.schema import turns as turns_table
from storage.store import Store
from tests.contract.world import ANN, BOB, World

GROUP = Channel(platform="telegram", address="-50", kind=ChannelKind.GROUP, server="-50")
SECRET = "xylophone-quarrel"
ANNS_ID = "880088"


async def everything(world: World) -> str:
    """All rows of all tables as text."""
    return "\n".join([repr(row) for table in metadata.sorted_tables for row in await world.rows(table)])


async def ann_says_secrets(world: World) -> None:
    for number in range(30):
        await world.say(GROUP, f"{SECRET} {number} " + "filler " * 40, author_id=ANNS_ID)
        await world.finish(await world.lease_one(), f"You said {SECRET} {number}")
        (reply,) = await world.lease_replies()
        await world.post(reply)
    await world.say(GROUP, "What did she say?", author_id="bob")
    await world.finish(await world.lease_one(), "Nothing.")
    (reply,) = await world.lease_replies()
    await world.post(reply)
    await world.say(ANN, f"{SECRET} in private", author_id=ANNS_ID)
    await world.store.write(inbox.edit_message, ANN, "132", f"{SECRET} edited")
    raw = f'{{"from": {ANNS_ID}, "text": "{SECRET}"}}'
    await world.store.write(inbox.add_dead_letter, "telegram", "1", raw, "odd")


async def test_forgetting_leaves_no_word_in_any_table(world: World) -> None:
    await ann_says_secrets(world)
    assert SECRET in await everything(world)
    assert await world.store.read(people.count_messages, "telegram", ANNS_ID) == 31
    forgotten = await world.store.write(people.forget_person, "telegram", ANNS_ID)
    assert (forgotten.messages, forgotten.replies) == (31, 30)
    left = await everything(world)
    assert SECRET not in left
    assert ANNS_ID not in left
    assert "What did she say?" in left  # Bob's own words stay
    assert await world.store.read(people.count_messages, "telegram", ANNS_ID) == 0


async def test_forgetting_ends_what_is_under_way(world: World) -> None:
    await world.say(ANN, SECRET, author_id=ANNS_ID)
    await world.say(ANN, "next", author_id=ANNS_ID)
    turn = await world.lease_one()
    await world.store.write(people.forget_person, "telegram", ANNS_ID)
    with pytest.raises(LeaseLost):
        await world.finish(turn, SECRET)
    assert (await world.lease()).turns == []
    assert {row.reason for row in await world.rows(turns_table)} == {"forgotten"}


async def test_a_forgotten_reply_is_not_posted_and_cannot_come_back(world: World) -> None:
    await world.say(ANN, "Hello!", author_id=ANNS_ID)
    await world.finish(await world.lease_one(), SECRET)
    (reply,) = await world.lease_replies()
    await world.store.write(people.forget_person, "telegram", ANNS_ID)
    with pytest.raises(LeaseLost):
        await world.post(reply)
    assert SECRET not in await everything(world)


async def test_a_forgotten_event_delivered_again_is_still_known(world: World) -> None:
    event = world.message(ANN, SECRET, author_id=ANNS_ID)
    await world.store.write(inbox.add_message, event)
    await world.store.write(people.forget_person, "telegram", ANNS_ID)
    assert (await world.store.write(inbox.add_message, event)).outcome is Receival.DUPLICATE


async def test_the_same_id_on_another_platform_is_another_person(world: World) -> None:
    other = Channel(platform="discord", address="9", kind=ChannelKind.PRIVATE)
    await world.say(other, "my own words", author_id=ANNS_ID)
    await world.store.write(people.forget_person, "telegram", ANNS_ID)
    assert await world.store.read(people.count_messages, "discord", ANNS_ID) == 1


@pytest.mark.parametrize("database", ["sqlite"])
async def test_forgetting_reaches_the_pages_of_the_file(world: World, second_store: Store) -> None:
    """DELETE and UPDATE leave the old bytes in free pages and in the write-ahead log."""
    await ann_says_secrets(world)
    await second_store.read(upkeep.counts)  # another process has the file open too
    file = world.store.sqlite_file
    assert file is not None
    assert SECRET.encode() in all_bytes(file)
    await world.store.write(people.forget_person, "telegram", ANNS_ID)
    files.scrub(file)
    assert SECRET.encode() not in all_bytes(file)
    assert ANNS_ID.encode() not in all_bytes(file)


def all_bytes(file: Path) -> bytes:
    """The database with its log and index."""
    return b"".join(path.read_bytes() for path in sorted(file.parent.glob(f"{file.name}*")))


async def test_retention_erases_what_is_old_and_finished(world: World) -> None:
    await world.converse(ANN, f"{SECRET} old", "old reply")
    await world.store.write(inbox.add_dead_letter, "telegram", "1", SECRET, "odd")
    world.clock.advance(days=80)
    await world.converse(BOB, "young", "young reply")
    world.clock.advance(days=11)
    assert await world.store.write(upkeep.delete_older_than, timedelta(days=90)) == 2
    left = await everything(world)
    assert SECRET not in left
    assert "old reply" not in left
    assert "young reply" in left
    assert len(await world.rows(turns_table)) == 1
    assert len(await world.rows(channels)) == 2


async def test_retention_leaves_what_is_still_owed(world: World) -> None:
    await world.say(ANN, "waits for an answer")
    await world.say(BOB, "waits for the post")
    leased = {turn.channel.address: turn for turn in (await world.lease()).turns}
    await world.finish(leased[BOB.address], "on its way")
    await world.store.write(turns.hand_back, leased[ANN.address])
    world.clock.advance(days=100)
    assert await world.store.write(upkeep.delete_older_than, timedelta(days=90)) == 0
    (reply,) = await world.lease_replies()
    await world.post(reply)
    assert await world.transcript(await world.lease_one()) == [("author-of-1001", "waits for an answer")]


async def test_a_reply_whose_turn_was_erased_meanwhile_is_posted_and_not_remembered(world: World) -> None:
    await world.say(ANN, "Hello!")
    await world.finish(await world.lease_one())
    (reply,) = await world.lease_replies()
    world.clock.advance(days=100)
    await world.store.write(upkeep.delete_older_than, timedelta(days=90))
    await world.post(reply)
    assert await world.store.write(upkeep.delete_older_than, timedelta(days=90)) == 1


async def test_one_process_leads_until_it_resigns_or_falls_silent(world: World, second_store: Store) -> None:
    lead, resign, minute = upkeep.acquire_leadership, upkeep.resign_leadership, timedelta(minutes=1)
    assert await world.store.write(lead, "scheduler", "a", minute)
    assert not await second_store.write(lead, "scheduler", "b", minute)
    assert await second_store.write(lead, "other", "b", minute)
    world.clock.advance(seconds=50)
    assert await world.store.write(lead, "scheduler", "a", minute)  # renewed
    world.clock.advance(seconds=50)
    assert not await second_store.write(lead, "scheduler", "b", minute)
    world.clock.advance(seconds=20)
    assert await second_store.write(lead, "scheduler", "b", minute)
    assert not await world.store.write(lead, "scheduler", "a", minute)
    await world.store.write(resign, "scheduler", "a")  # not ours to give up
    assert not await world.store.write(lead, "scheduler", "a", minute)
    await second_store.write(resign, "scheduler", "b")
    assert await world.store.write(lead, "scheduler", "a", minute)


async def test_counts_show_the_depth_of_every_queue(world: World) -> None:
    empty = await world.store.read(upkeep.counts)
    assert (empty.pending, empty.leased, empty.ready, empty.dead, empty.oldest_pending) == (0, 0, 0, 0, None)
    await world.say(ANN)
    await world.finish(await world.lease_one())
    start = world.clock()
    await world.say(ANN)
    world.clock.advance(minutes=1)
    await world.say(BOB)
    await world.lease_one()
    await world.store.write(inbox.add_dead_letter, "telegram", "1", "{}", "odd")
    seen = await world.store.read(upkeep.counts)
    assert (seen.pending, seen.leased, seen.ready, seen.dead, seen.dead_letters) == (1, 1, 1, 0, 1)
    assert seen.oldest_pending == start
    (letter,) = await world.store.read(upkeep.list_dead_letters)
    assert (letter.platform, letter.event_id, letter.error) == ("telegram", "1", "odd")
