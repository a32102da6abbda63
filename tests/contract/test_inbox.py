"""What comes in: each event once, consecutive messages as one turn, limits, refusals, fixed answers."""

import asyncio
from datetime import timedelta

import pytest

from adapters.base import Channel, ChannelKind
from storage import inbox, places
from storage.records import QueueLimits, Receival, ReplyKind
from storage.schema import channels, dead_letters, messages, replies, turns
from storage.store import Store
from tests.contract.world import ANN, BOB, World

QUIET = timedelta(seconds=1.5)


async def test_a_message_opens_a_turn(world: World) -> None:
    received = await world.say(ANN, "Hello!")
    assert received.outcome is Receival.TURN
    (turn,) = await world.rows(turns)
    (message,) = await world.rows(messages)
    assert (turn.state, turn.author_id, turn.trigger) == ("pending", "author-of-1001", "private")
    assert (message.text, message.turn_id, message.received_at) == ("Hello!", turn.id, world.clock())


async def test_the_same_event_makes_one_row_and_one_turn(world: World) -> None:
    message = world.message(ANN)
    outcomes = [(await world.store.write(inbox.add_message, message)).outcome for _ in range(3)]
    assert outcomes == [Receival.TURN, Receival.DUPLICATE, Receival.DUPLICATE]
    assert len(await world.rows(messages)) == len(await world.rows(turns)) == 1


async def test_the_same_event_through_two_processes_at_once_makes_one_turn(world: World, second_store: Store) -> None:
    events = [world.message(channel) for channel in (ANN, BOB) for _ in range(20)]
    outcomes = await asyncio.gather(
        *(store.write(inbox.add_message, event) for event in events for store in (world.store, second_store))
    )
    assert sum(each.outcome is Receival.TURN for each in outcomes) == len(events)
    assert sum(each.outcome is Receival.DUPLICATE for each in outcomes) == len(events)
    assert len(await world.rows(messages)) == len(await world.rows(turns)) == len(events)


async def test_two_platforms_may_use_the_same_ids(world: World) -> None:
    other = Channel(platform="discord", address=ANN.address, kind=ChannelKind.PRIVATE)
    await world.say(ANN, message_id="7")
    assert (await world.say(other, message_id="7")).outcome is Receival.TURN


async def test_messages_within_the_quiet_time_are_one_turn(world: World) -> None:
    await world.say(ANN, "Hello", quiet_time=QUIET)
    world.clock.advance(seconds=1)
    assert (await world.say(ANN, "how are you?", quiet_time=QUIET)).outcome is Receival.JOINED
    assert (await world.lease()).turns == []  # they may go on writing
    world.clock.advance(seconds=2)
    turn = await world.lease_one()
    assert await world.transcript(turn) == [("author-of-1001", "Hello"), ("author-of-1001", "how are you?")]
    assert turn.reply_to == "102"  # the newest of them


async def test_a_longer_pause_opens_the_next_turn(world: World) -> None:
    await world.say(ANN, quiet_time=QUIET)
    world.clock.advance(seconds=2)
    assert (await world.say(ANN, quiet_time=QUIET)).outcome is Receival.TURN


async def test_somebody_elses_message_is_a_turn_of_its_own(world: World) -> None:
    await world.say(ANN, quiet_time=QUIET)
    assert (await world.say(ANN, author_id="other", quiet_time=QUIET)).outcome is Receival.TURN
    assert (await world.say(ANN, quiet_time=QUIET)).outcome is Receival.TURN  # not the newest turn any more


async def test_a_message_without_trigger_joins_what_its_author_just_asked(world: World) -> None:
    await world.say(ANN, "Banter,", quiet_time=QUIET)
    assert (await world.say(ANN, "are you there?", trigger=None, quiet_time=QUIET)).outcome is Receival.JOINED


async def test_nothing_joins_a_turn_in_work(world: World) -> None:
    await world.say(ANN)
    await world.lease_one()
    assert (await world.say(ANN, quiet_time=QUIET)).outcome is Receival.TURN


async def test_late_messages_are_joined_by_the_time_they_were_sent(world: World) -> None:
    """After an outage everything arrives within one second, although it was said over an hour."""
    an_hour_ago = world.clock() - timedelta(hours=1)
    for seconds, expected in ((0, Receival.TURN), (1, Receival.JOINED), (60, Receival.TURN)):
        received = await world.say(ANN, sent_at=an_hour_ago + timedelta(seconds=seconds), quiet_time=QUIET)
        assert received.outcome is expected


async def test_a_message_without_trigger_is_context_only(world: World) -> None:
    assert (await world.say(ANN, trigger=None)).outcome is Receival.CONTEXT
    assert await world.rows(turns) == []
    assert len(await world.rows(messages)) == 1


async def test_a_full_channel_refuses_and_others_go_on(world: World) -> None:
    limits = QueueLimits(channel=2, total=100)
    for _ in range(2):
        assert (await world.say(ANN, queue=limits)).outcome is Receival.TURN
    refused = await world.say(ANN, queue=limits)
    assert (refused.outcome, refused.reason) == (Receival.REFUSED, "queue_channel")
    assert (await world.say(BOB, queue=limits)).outcome is Receival.TURN
    states = [(turn.state, turn.reason) for turn in await world.rows(turns)]
    assert states.count(("refused", "queue_channel")) == 1


async def test_a_full_queue_refuses_everybody(world: World) -> None:
    limits = QueueLimits(channel=100, total=2)
    await world.say(ANN, queue=limits)
    await world.say(BOB, queue=limits)
    assert (await world.say(BOB, queue=limits)).reason == "queue_total"


async def test_an_answered_turn_makes_room(world: World) -> None:
    limits = QueueLimits(channel=1, total=1)
    await world.say(ANN, queue=limits)
    await world.finish(await world.lease_one())
    assert (await world.say(ANN, queue=limits)).outcome is Receival.TURN


async def test_what_was_written_while_we_were_away_is_not_refused_for_its_number(world: World) -> None:
    limits = QueueLimits(channel=1, total=100)
    before = world.clock() - timedelta(minutes=10)
    for minute in range(3):
        received = await world.say(ANN, queue=limits, sent_at=before + timedelta(minutes=minute))
        assert received.outcome is Receival.TURN


async def test_a_refusal_of_the_intake_is_recorded_with_its_reason(world: World) -> None:
    received = await world.say(ANN, refusal="blocked_words")
    assert (received.outcome, received.reason) == (Receival.REFUSED, "blocked_words")
    assert (await world.lease()).turns == []


async def test_admission_is_asked_once_and_only_for_new_messages(world: World) -> None:
    asked = []

    def admit() -> str:
        asked.append("asked")
        return "limit_user"

    message = world.message(ANN)
    assert (await world.store.write(inbox.add_message, message, admit)).reason == "limit_user"
    assert (await world.store.write(inbox.add_message, message, admit)).outcome is Receival.DUPLICATE
    assert asked == ["asked"]


async def test_a_fixed_answer_goes_to_the_outbox_at_once(world: World) -> None:
    assert (await world.say(ANN, answer="Call 112.")).outcome is Receival.ANSWERED
    (reply,) = await world.lease_replies()
    assert (reply.text, reply.kind, reply.reply_to) == ("Call 112.", ReplyKind.REPLY, "101")
    assert (await world.lease()).turns == []


async def test_a_conversation_is_forgotten_after_silence(world: World) -> None:
    await world.converse(ANN, "My cat is ill.", "Oh no.")
    world.clock.advance(hours=13)
    await world.say(ANN, "Hello!")
    assert await world.transcript(await world.lease_one()) == [("author-of-1001", "Hello!")]


async def test_a_conversation_that_is_owed_a_reply_is_not_forgotten(world: World) -> None:
    await world.say(ANN, "Are you there?")
    world.clock.advance(hours=13)
    await world.say(ANN, "Hello?")
    first = await world.lease_one()
    assert await world.transcript(first) == [("author-of-1001", "Are you there?")]
    assert (await world.rows(turns))[1].conversation_id == first.conversation_id


async def test_a_command_is_handled_once_and_its_words_are_not_kept(world: World) -> None:
    outcomes = [
        await world.store.write(inbox.claim_command, ANN, "55", "ann", world.clock()),
        await world.store.write(inbox.claim_command, ANN, "55", "ann", world.clock()),
    ]
    assert outcomes == [True, False]
    (message,) = await world.rows(messages)
    assert message.text == ""
    await world.say(ANN, "Hello!")
    assert await world.transcript(await world.lease_one()) == [("author-of-1001", "Hello!")]


async def test_a_notice_is_posted_and_never_remembered(world: World) -> None:
    await world.store.write(inbox.add_notice, ANN, "Slow down, please.", reply_to="9")
    (reply,) = await world.lease_replies()
    assert (reply.kind, reply.text, reply.reply_to) == (ReplyKind.NOTICE, "Slow down, please.", "9")
    await world.post(reply)
    assert await world.rows(messages) == []


async def test_an_edit_before_the_answer_is_answered_as_edited(world: World) -> None:
    await world.say(ANN, "I hate cats", message_id="5")
    assert await world.store.write(inbox.edit_message, ANN, "5", "I have cats")
    assert await world.transcript(await world.lease_one()) == [("author-of-1001", "I have cats")]
    assert not await world.store.write(inbox.edit_message, ANN, "5", "I have cats")  # nothing new
    assert not await world.store.write(inbox.edit_message, ANN, "6", "unknown")
    assert not await world.store.write(inbox.edit_message, BOB, "5", "unknown channel")


async def test_an_edit_after_the_reply_changes_the_record_alone(world: World) -> None:
    await world.say(ANN, "Hello", message_id="5")
    await world.finish(await world.lease_one(), "Hi!")
    assert await world.store.write(inbox.edit_message, ANN, "5", "Goodbye")
    assert (await world.lease()).turns == []
    (reply,) = await world.rows(replies)
    assert reply.text == "Hi!"


async def test_a_deleted_message_loses_its_words_and_its_turn(world: World) -> None:
    await world.say(ANN, "I regret this", message_id="5", quiet_time=QUIET)
    await world.say(ANN, "and this", message_id="6", quiet_time=QUIET)
    assert await world.store.write(inbox.delete_messages, ANN, ["5"]) == 1
    assert (await world.rows(turns))[0].state == "pending"  # one is left to answer
    assert await world.store.write(inbox.delete_messages, ANN, ["5", "6", "7"]) == 1
    (turn,) = await world.rows(turns)
    assert (turn.state, turn.reason) == ("refused", "deleted")
    assert [message.text for message in await world.rows(messages)] == ["", ""]


async def test_a_dead_letter_is_kept_once(world: World) -> None:
    for expected in (True, False):
        kept = await world.store.write(inbox.add_dead_letter, "telegram", "77", '{"odd": 1}', "no chat")
        assert kept is expected
    assert await world.store.write(inbox.add_dead_letter, "discord", "77", "{}", "no chat")
    assert [letter.raw for letter in await world.rows(dead_letters)] == ['{"odd": 1}', "{}"]


@pytest.mark.parametrize(
    ("said", "kept"), [("a\x00b", "a\ufffdb"), ("half \ud83d", "half \ufffd"), ("\ud83d\ude00", "\U0001f600")]
)
async def test_text_that_a_database_refuses_is_kept_readable(world: World, said: str, kept: str) -> None:
    await world.say(ANN, said)
    assert [message.text for message in await world.rows(messages)] == [kept]


async def test_a_megabyte_is_kept_whole(world: World) -> None:
    text = "ä🙂" * 200_000
    await world.say(ANN, text)
    assert await world.transcript(await world.lease_one()) == [("author-of-1001", text)]


async def test_turns_are_counted_by_trigger_and_by_bots(world: World) -> None:
    start = world.clock()
    world.clock.advance(seconds=1)
    await world.say(ANN, trigger="chance")
    await world.say(ANN, trigger="mention", author_id="robot", author_is_bot=True)
    await world.say(ANN, trigger="mention", refusal="limit_user")
    count = inbox.count_turns_since
    assert await world.store.read(count, ANN, start, trigger="chance", bots=False) == 1
    assert await world.store.read(count, ANN, start, trigger=None, bots=True) == 1
    assert await world.store.read(count, ANN, start, trigger=None, bots=False) == 2
    assert await world.store.read(count, ANN, world.clock(), trigger=None, bots=False) == 0
    assert await world.store.read(count, BOB, start, trigger=None, bots=False) == 0


async def test_the_newest_message_is_known_by_number_not_by_spelling(world: World) -> None:
    for message_id in ("9", "10", "8", "not-a-number"):
        await world.say(ANN, message_id=message_id)
    await world.say(BOB, message_id="999")
    await world.store.write(places.mark_gone, BOB, "blocked")
    assert await world.store.read(places.last_seen, "telegram") == {ANN.address: "10"}


async def test_a_channel_is_described_as_it_was_last_seen(world: World) -> None:
    for kind, parent in ((ChannelKind.GROUP, None), (ChannelKind.THREAD, "4")):
        owned = parent is not None
        await world.say(Channel(platform="discord", address="5", kind=kind, server="1", parent=parent, owned=owned))
    (row,) = await world.rows(channels)
    assert (row.kind, row.parent, row.owned) == ("thread", "4", True)
