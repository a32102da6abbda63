"""Channels and conversations: resets, personas, channels that are gone, and channels that move."""

from datetime import timedelta

import pytest

from adapters.base import Channel, ChannelKind
from storage import activity, inbox, outbox, places
from storage.errors import LeaseLost
from storage.records import Receival
from storage.schema import channels, conversations, messages, turns
from storage.turns import extend_leases
from tests.contract.world import ANN, BOB, LEASE, World

GROUP = Channel(platform="telegram", address="-50", kind=ChannelKind.GROUP, server="-50")


async def test_a_reset_begins_a_new_conversation_and_refuses_what_waits(world: World) -> None:
    await world.converse(ANN, "My name is Ann.", "Hi Ann.")
    await world.say(ANN, "What is my name?")
    assert await world.store.write(places.reset_conversation, ANN)
    assert [(turn.state, turn.reason) for turn in await world.rows(turns)][-1] == ("refused", "reset")
    await world.say(ANN, "Hello!")
    assert await world.transcript(await world.lease_one()) == [("author-of-1001", "Hello!")]


async def test_a_reset_takes_a_turn_in_work_from_its_worker(world: World) -> None:
    await world.say(ANN)
    turn = await world.lease_one()
    await world.store.write(places.reset_conversation, ANN)
    with pytest.raises(LeaseLost):
        await world.finish(turn)
    assert await world.lease_replies() == []


async def test_a_reset_of_nothing_says_so(world: World) -> None:
    assert not await world.store.write(places.reset_conversation, ANN)
    await world.say(ANN)
    assert await world.store.write(places.reset_conversation, ANN)
    assert not await world.store.write(places.reset_conversation, ANN)


async def test_silent_conversations_are_closed_and_busy_ones_left(world: World) -> None:
    await world.converse(ANN, "Hello!", "Hi!")
    await world.say(BOB)
    world.clock.advance(hours=1)
    assert await world.store.write(places.close_silent_conversations, timedelta(hours=2)) == 0
    assert await world.store.write(places.close_silent_conversations, timedelta(minutes=30)) == 1
    closed = [row.closed_at is not None for row in await world.rows(conversations)]
    assert closed == [True, False]


async def test_a_persona_is_chosen_for_a_channel(world: World) -> None:
    assert await world.store.read(places.chosen_persona, ANN) is None
    await world.store.write(places.choose_persona, ANN, "pirate")
    assert await world.store.read(places.chosen_persona, ANN) == "pirate"
    await world.say(ANN)
    assert (await world.lease_one()).channel_persona == "pirate"
    await world.store.write(places.choose_persona, ANN, None)
    assert await world.store.read(places.chosen_persona, ANN) is None


async def test_a_channel_that_is_gone_owes_nothing_until_it_is_back(world: World) -> None:
    await world.say(GROUP)
    await world.say(GROUP)
    await world.finish(await world.lease_one())
    await world.store.write(places.mark_gone, GROUP, "blocked by the user")
    assert await world.lease_replies() == []
    assert (await world.lease()).turns == []
    assert [(turn.state, turn.reason) for turn in await world.rows(turns)] == [
        ("replied", None),
        ("refused", "channel gone"),
    ]
    assert (await world.say(GROUP)).reason == "channel gone"
    assert (await world.say(GROUP, answer="Call 112.")).reason == "channel gone"
    await world.store.write(places.mark_back, GROUP)
    assert (await world.say(GROUP)).outcome is Receival.TURN


async def test_a_person_who_writes_again_in_private_has_unblocked_us(world: World) -> None:
    await world.store.write(places.mark_gone, ANN, "blocked by the user")
    assert (await world.say(ANN)).outcome is Receival.TURN


async def test_after_a_restart_refused_channels_are_tried_again_and_moved_ones_are_not(world: World) -> None:
    await world.say(GROUP)
    await world.store.write(places.mark_gone, BOB, "no rights")
    await world.store.write(places.move_channel, GROUP.platform, GROUP.address, "-100777")
    await world.store.write(places.mark_all_back, "telegram")
    gone = {row.address for row in await world.rows(channels) if row.gone_reason is not None}
    assert gone == {GROUP.address}


async def test_a_channel_moves_with_history_settings_and_topics(world: World) -> None:
    topic = Channel(platform="telegram", address="-50/7", kind=ChannelKind.THREAD, server="-50", parent="-50")
    stranger = Channel(platform="telegram", address="-501", kind=ChannelKind.GROUP, server="-501")
    await world.converse(GROUP, "We love tea.", "Me too.")
    await world.say(topic)
    await world.say(stranger)
    await world.store.write(places.choose_persona, GROUP, "pirate")
    assert await world.store.write(places.move_channel, "telegram", "-50", "-100500") == 2
    moved = Channel(platform="telegram", address="-100500", kind=ChannelKind.GROUP, server="-100500")
    assert await world.store.read(places.chosen_persona, moved) == "pirate"
    await world.say(moved, "What do we love?")
    leased = {turn.channel.address: turn for turn in (await world.lease()).turns}
    assert set(leased) == {"-100500", "-100500/7", "-501"}
    assert leased["-100500/7"].channel.parent == leased["-100500/7"].channel.server == "-100500"
    assert await world.transcript(leased["-100500"]) == [
        ("author-of--50", "We love tea."),
        (None, "Me too."),
        ("author-of--100500", "What do we love?"),
    ]


async def test_new_numbers_after_a_move_are_new_messages(world: World) -> None:
    """A supergroup counts its messages from 1 again."""
    await world.say(GROUP, "old", message_id="5")
    await world.store.write(places.move_channel, "telegram", "-50", "-100500")
    moved = Channel(platform="telegram", address="-100500", kind=ChannelKind.GROUP, server="-100500")
    assert (await world.say(moved, "new", message_id="5")).outcome is Receival.TURN
    turn = await world.lease_one()
    assert turn.reply_to is None  # 5 would be somebody else's message there
    assert await world.store.read(places.last_seen, "telegram") == {"-100500": "5"}


async def test_a_move_that_is_told_twice_moves_once(world: World) -> None:
    await world.say(GROUP)
    assert await world.store.write(places.move_channel, "telegram", "-50", "-100500") == 1
    assert await world.store.write(places.move_channel, "telegram", "-50", "-100500") == 0
    (turn,) = (await world.lease()).turns
    assert turn.channel.address == "-100500"


async def test_an_event_of_the_old_address_delivered_again_is_answered_nowhere(world: World) -> None:
    event = world.message(GROUP)
    await world.store.write(inbox.add_message, event)
    await world.store.write(places.move_channel, "telegram", "-50", "-100500")
    received = await world.store.write(inbox.add_message, event)
    assert (received.outcome, received.reason) == (Receival.REFUSED, "channel gone")
    assert len((await world.lease()).turns) == 1


async def test_a_new_address_heard_of_before_the_move_is_merged(world: World) -> None:
    moved = Channel(platform="telegram", address="-100500", kind=ChannelKind.GROUP, server="-100500")
    await world.converse(GROUP, "old words", "old reply")
    await world.say(moved, "early words", message_id="1")
    await world.store.write(places.move_channel, "telegram", "-50", "-100500")
    assert (await world.say(moved, "again", message_id="1")).outcome is Receival.DUPLICATE
    turn = await world.lease_one()
    assert turn.channel.address == "-100500"
    await world.finish(turn, "Hi!")
    (reply,) = await world.lease_replies()
    await world.post(reply)
    await world.say(moved, "later words", message_id="2")
    assert [line[1] for line in await world.transcript(await world.lease_one())] == [
        "old words",
        "old reply",
        "later words",
    ]
    addresses = {(row.address, row.gone_reason) for row in await world.rows(channels)}
    assert addresses == {("-100500", None), ("-50", "moved to -100500")}
    everything = [*await world.rows(messages), *await world.rows(turns), *await world.rows(conversations)]
    assert len({row.channel_id for row in everything}) == 1


async def test_a_reply_under_way_follows_the_move(world: World) -> None:
    await world.say(GROUP)
    turn = await world.lease_one()
    await world.store.write(places.move_channel, "telegram", "-50", "-100500")
    assert await world.store.write(extend_leases, [turn], LEASE) == {turn.id}
    await world.finish(turn)
    (reply,) = await world.lease_replies()
    assert (reply.channel.address, reply.reply_to) == ("-100500", None)


async def test_the_bots_last_part_in_a_channel_is_known(world: World) -> None:
    assert await world.store.read(places.last_bot_activity, ANN) is None
    await world.say(ANN)
    assert await world.store.read(places.last_bot_activity, ANN) == world.clock()


async def test_busy_and_settled_channels_are_told_apart(world: World) -> None:
    assert await world.store.read(activity.is_settled, "telegram", ANN.address)
    await world.say(ANN)
    assert [channel.address for channel in await world.store.read(activity.busy_channels, "telegram", 9)] == ["1001"]
    assert not await world.store.read(activity.is_settled, "telegram", ANN.address)
    turn = await world.lease_one()
    assert await world.store.read(activity.turn_holders) == ["worker"]
    await world.finish(turn)
    assert not await world.store.read(activity.is_settled, "telegram", ANN.address)
    assert not await world.store.read(outbox.is_idle, "telegram", ANN.address)
    (reply,) = await world.lease_replies()
    await world.post(reply)
    assert await world.store.read(activity.is_settled, "telegram", ANN.address)
    assert await world.store.read(outbox.is_idle, "telegram", ANN.address)
    assert await world.store.read(activity.busy_channels, "telegram", 9) == []
