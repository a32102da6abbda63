"""Replies on their way out: order within a channel, parts, doubt, failure, posters that die."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from adapters.base import Channel
from storage import inbox, outbox
from storage.errors import LeaseLost
from storage.records import LeasedReply, ReplyKind
from storage.schema import messages, replies
from storage.store import Store
from tests.contract.world import ANN, BOB, LEASE, World, channel_of


async def notice(world: World, channel: Channel = ANN, text: str = "notice") -> None:
    await world.store.write(inbox.add_notice, channel, text, reply_to=None)


async def test_a_channel_posts_one_reply_at_a_time_in_order(world: World) -> None:
    for text in ("one", "two"):
        await notice(world, ANN, text)
    await notice(world, BOB, "other")
    first, other = await world.lease_replies()
    assert (first.text, other.text) == ("one", "other")
    assert await world.lease_replies() == []
    await world.post(first)
    (second,) = await world.lease_replies()
    assert second.text == "two"


async def test_a_waiting_reply_holds_up_its_own_channel_alone(world: World) -> None:
    for channel, text in ((ANN, "flooded"), (ANN, "behind it"), (BOB, "free")):
        await notice(world, channel, text)
    flooded, free = await world.lease_replies()
    await world.store.write(outbox.try_later, flooded, timedelta(seconds=20), "429", in_doubt=False)
    await world.post(free)
    assert await world.lease_replies() == []
    assert await world.store.read(outbox.next_due, "telegram") == 20.0
    world.clock.advance(seconds=20)
    (again,) = await world.lease_replies()
    assert (again.text, again.attempt, again.in_doubt) == ("flooded", 2, False)


async def test_only_the_asked_platform_and_channels_are_leased(world: World) -> None:
    for channel in (ANN, BOB, channel_of("1", "5")):
        await notice(world, channel)
    assert await world.lease_replies(addresses=[]) == []
    assert [r.channel.address for r in await world.lease_replies(addresses=["1002"])] == ["1002"]
    assert await world.lease_replies(busy=["1001"]) == []
    assert [r.channel.address for r in await world.lease_replies()] == ["1001"]
    assert [r.channel.address for r in await world.lease_replies(platform="discord")] == ["5"]
    assert await world.store.read(outbox.next_due, "discord") is None


async def test_a_posted_reply_becomes_part_of_the_conversation(world: World) -> None:
    await world.converse(ANN, "Hello!", "Hi Ann!")
    person, bot = await world.rows(messages)
    assert (bot.author_id, bot.text, bot.turn_id) == (None, "Hi Ann!", person.turn_id)
    (reply,) = await world.rows(replies)
    assert (reply.state, reply.posted_at, len(reply.receipts)) == ("posted", world.clock(), 1)


async def test_parts_are_remembered_one_by_one(world: World) -> None:
    await notice(world)
    (reply,) = await world.lease_replies()
    await world.store.write(outbox.mark_part, reply, "m1", LEASE)
    world.clock.advance(seconds=31)
    assert await world.store.write(outbox.return_expired_leases) == 1
    (again,) = await world.lease_replies()
    assert (again.receipts, again.in_doubt, again.attempt) == (("m1",), True, 2)
    assert again.first_tried_at == reply.first_tried_at
    await world.store.write(outbox.mark_posted, again, "m2")
    (row,) = await world.rows(replies)
    assert (row.receipts, row.in_doubt) == (["m1", "m2"], False)


async def test_posting_extends_the_lease_with_each_part(world: World) -> None:
    await notice(world)
    (reply,) = await world.lease_replies()
    for part in ("m1", "m2"):
        world.clock.advance(seconds=20)
        await world.store.write(outbox.mark_part, reply, part, LEASE)
    assert await world.store.write(outbox.return_expired_leases) == 0
    await world.store.write(outbox.mark_posted, reply, "m3")


async def test_a_leased_reply_is_in_doubt_until_its_poster_says_more(world: World) -> None:
    await notice(world)
    (reply,) = await world.lease_replies()
    assert not reply.in_doubt
    assert await world.store.write(outbox.return_leases_of, "telegram", "post") == 1
    (again,) = await world.lease_replies()
    assert again.in_doubt
    await world.store.write(outbox.try_later, again, timedelta(0), "429", in_doubt=False)
    (third,) = await world.lease_replies()
    assert not third.in_doubt


async def test_the_replies_of_a_dead_poster_return_and_those_of_others_stay(world: World) -> None:
    await notice(world, ANN)
    await notice(world, channel_of("1", "5"))
    await world.lease_replies()
    await world.lease_replies(platform="discord")
    assert await world.store.write(outbox.return_leases_of, "telegram", "somebody") == 0
    assert await world.store.write(outbox.return_leases_of, "telegram", "poster") == 1
    assert len(await world.lease_replies()) == 1
    assert await world.lease_replies(platform="discord") == []


async def test_doubt_survives_a_later_try(world: World) -> None:
    await notice(world)
    (reply,) = await world.lease_replies()
    await world.store.write(outbox.try_later, reply, timedelta(0), "answer lost", in_doubt=True)
    (again,) = await world.lease_replies()
    assert again.in_doubt


async def test_a_refused_reply_ends_and_lets_the_next_pass(world: World) -> None:
    await world.say(ANN, "one")
    await world.finish(await world.lease_one())
    await world.say(ANN, "two")
    (reply,) = await world.lease_replies()
    await world.store.write(outbox.mark_failed, reply, "403")
    (row,) = await world.rows(replies)
    assert (row.state, row.reason) == ("failed", "403")
    assert [line[1] for line in await world.transcript(await world.lease_one())] == ["one", "two"]


LATE_WRITES: dict[str, Callable[[Store, LeasedReply], Awaitable[None]]] = {
    "part": lambda store, reply: store.write(outbox.mark_part, reply, "m", LEASE),
    "posted": lambda store, reply: store.write(outbox.mark_posted, reply, "m"),
    "later": lambda store, reply: store.write(outbox.try_later, reply, timedelta(0), "x", in_doubt=False),
    "failed": lambda store, reply: store.write(outbox.mark_failed, reply, "x"),
}


@pytest.mark.parametrize("late", LATE_WRITES)
async def test_who_lost_the_lease_changes_nothing(world: World, late: str) -> None:
    await notice(world)
    (frozen,) = await world.lease_replies()
    world.clock.advance(seconds=31)
    await world.store.write(outbox.return_expired_leases)
    (second,) = await world.lease_replies()
    with pytest.raises(LeaseLost):
        await LATE_WRITES[late](world.store, frozen)
    (row,) = await world.rows(replies)
    assert (row.state, row.receipts, row.lease_token) == ("posting", [], second.token)


async def test_posters_that_lease_at_once_never_share_a_reply_or_a_channel(world: World, second_store: Store) -> None:
    addresses = [str(number) for number in range(12)]
    for _ in range(3):
        for address in addresses:
            await notice(world, channel_of("1", address))
    shares = await asyncio.gather(
        *(
            store.write(outbox.lease_replies, "discord", "p", 4, LEASE)
            for _ in range(4)
            for store in (world.store, second_store)
        )
    )
    taken = [reply for share in shares for reply in share]
    assert len({reply.channel.address for reply in taken}) == len(taken) == len({reply.id for reply in taken})


async def test_a_commands_answer_is_no_part_of_the_conversation(world: World) -> None:
    await world.store.write(inbox.add_notice, ANN, "Commands: ...", reply_to="1", kind=ReplyKind.COMMAND)
    (reply,) = await world.lease_replies()
    assert reply.kind is ReplyKind.COMMAND
    await world.post(reply)
    assert await world.rows(messages) == []
