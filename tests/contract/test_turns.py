"""The work queue: leases, order, fairness, fencing, retries, death."""

import asyncio
from datetime import timedelta

import pytest

from adapters.base import Channel, ChannelKind
from storage import inbox, places, turns
from storage.errors import LeaseLost
from storage.records import FinishedTurn, Receival, ReplyKind
from storage.schema import candidates, compositions, replies
from storage.schema import turns as turns_table
from storage.store import Store
from tests.contract.world import ANN, BOB, LEASE, World, channel_of, composition

SORRY = "I lost my words, sorry."


async def test_a_conversation_has_one_turn_in_work(world: World) -> None:
    await world.say(ANN, "one")
    await world.say(ANN, "two")
    first = await world.lease_one()
    assert await world.transcript(first) == [("author-of-1001", "one")]
    assert (await world.lease()).turns == []


async def test_the_next_turn_waits_until_the_reply_before_it_is_posted(world: World) -> None:
    await world.say(ANN, "one")
    await world.say(ANN, "two")
    await world.finish(await world.lease_one(), "first reply")
    assert (await world.lease()).turns == []
    (reply,) = await world.lease_replies()
    assert (await world.lease()).turns == []
    await world.post(reply)
    assert [line[1] for line in await world.transcript(await world.lease_one())] == ["one", "first reply", "two"]


async def test_a_reply_stands_behind_its_turn_although_more_was_said_meanwhile(world: World) -> None:
    await world.say(ANN, "What is 1 + 1?")
    turn = await world.lease_one()
    await world.say(ANN, "And 2 + 2?")
    await world.say(ANN, "never mind", trigger=None, author_id="other")
    await world.finish(turn, "Two.")
    (reply,) = await world.lease_replies()
    await world.post(reply)
    second = await world.lease_one()
    lines = await world.store.read(turns.transcript, second, 50)
    assert [line.text for line in lines] == ["What is 1 + 1?", "Two.", "And 2 + 2?"]
    assert [line.in_turn for line in lines] == [False, False, True]
    await world.finish(second, "Four.")
    (reply,) = await world.lease_replies()
    await world.post(reply)
    await world.say(ANN, "Thanks!")
    whole = [line[1] for line in await world.transcript(await world.lease_one())]
    assert whole == ["What is 1 + 1?", "Two.", "And 2 + 2?", "Four.", "never mind", "Thanks!"]


async def test_a_transcript_keeps_the_newest_messages(world: World) -> None:
    for number in range(5):
        await world.say(ANN, f"fact {number}", trigger=None)
    await world.say(ANN, "question")
    assert [line[1] for line in await world.transcript(await world.lease_one(), 2)] == ["fact 4", "question"]


async def test_conversations_are_answered_side_by_side_oldest_first(world: World) -> None:
    for number in range(5):
        await world.say(channel_of(str(number), str(number)), f"from {number}")
        world.clock.advance(seconds=1)
    leased = (await world.lease(3)).turns
    assert [turn.channel.address for turn in leased] == ["0", "1", "2"]
    assert [turn.channel.address for turn in (await world.lease(3)).turns] == ["3", "4"]


async def test_a_server_with_200_channels_holds_up_nobody(world: World) -> None:
    for number in range(200):
        await world.say(channel_of("busy", f"busy-{number}"))
    world.clock.advance(seconds=1)
    await world.say(ANN, "Hello?")
    leased = (await world.lease(8)).turns
    assert [turn.channel.address for turn in leased][:2] == ["busy-0", ANN.address]
    assert len(leased) == 8


async def test_platforms_and_servers_take_turns(world: World) -> None:
    for number in range(4):
        await world.say(channel_of("1", f"a{number}"))
    for number in range(2):
        await world.say(channel_of("2", f"b{number}"))
    await world.say(channel_of("1", "c0", platform="telegram"))
    addresses = [turn.channel.address for turn in (await world.lease(7)).turns]
    assert addresses == ["a0", "b0", "c0", "a1", "b1", "a2", "a3"]


async def test_a_finished_turn_keeps_everything_that_made_it(world: World) -> None:
    await world.say(ANN)
    turn = await world.lease_one()
    await world.finish(turn, "Fine.")
    (row,) = await world.rows(turns_table)
    assert (row.state, row.finished_at, row.lease_token) == ("replied", world.clock(), None)
    (kept,) = await world.rows(compositions)
    assert (kept.turn_id, kept.attempt, kept.seed, kept.context_ids) == (turn.id, 1, 7, [5, 6, 7])
    assert (kept.decoding, kept.ranker_revisions) == ({"top_k": 40}, {"human_vs_rand": "r1"})
    first, second, third = await world.rows(candidates)
    assert (first.text, first.chosen, first.scores, first.verdict) == ("Fine.", True, {"human_vs_rand": 0.5}, None)
    assert (second.chosen, second.verdict) == (False, {"category": "none"})
    assert (third.dropped, third.final, third.token_ids) == ("repeat", None, [1, 2, 2])
    (reply,) = await world.rows(replies)
    assert (reply.text, reply.state, reply.turn_id, reply.reply_to) == ("Fine.", "ready", turn.id, "101")


async def test_a_turn_may_end_without_a_reply(world: World) -> None:
    await world.say(ANN)
    finished = FinishedTurn(text=None, reason="nothing_safe", composition=composition())
    await world.store.write(turns.finish_turn, await world.lease_one(), finished)
    (row,) = await world.rows(turns_table)
    assert (row.state, row.reason) == ("refused", "nothing_safe")
    assert await world.rows(replies) == []
    assert len(await world.rows(candidates)) == 3


async def test_a_reply_answers_the_message_that_is_the_newest_at_the_end(world: World) -> None:
    await world.say(ANN, message_id="7", quiet_time=timedelta(seconds=2))
    await world.say(ANN, message_id="8", quiet_time=timedelta(seconds=2))
    world.clock.advance(seconds=3)
    await world.finish(await world.lease_one())
    (reply,) = await world.lease_replies()
    assert reply.reply_to == "8"


async def test_a_finished_turn_cannot_be_finished_again(world: World) -> None:
    await world.say(ANN)
    turn = await world.lease_one()
    await world.finish(turn)
    with pytest.raises(LeaseLost):
        await world.finish(turn, "twice")
    with pytest.raises(LeaseLost):
        await world.store.write(turns.fail_turn, turn, "too late", SORRY)
    assert [reply.text for reply in await world.rows(replies)] == ["Fine."]


async def test_an_expired_lease_is_anothers_and_the_first_holder_changes_nothing(world: World) -> None:
    await world.say(ANN)
    frozen = await world.lease_one()
    world.clock.advance(seconds=31)
    assert (await world.lease()).turns == []  # it waits out its back-off
    world.clock.advance(seconds=5)
    (second,) = (await world.lease(holder="other")).turns
    assert (second.id, second.attempt) == (frozen.id, 2)
    with pytest.raises(LeaseLost):
        await world.finish(frozen, "from the grave")
    assert await world.store.write(turns.extend_leases, [frozen], LEASE) == set()
    await world.store.write(turns.hand_back, frozen)
    await world.finish(second, "Here I am.")
    assert [reply.text for reply in await world.rows(replies)] == ["Here I am."]


async def test_a_lease_that_is_extended_does_not_expire(world: World) -> None:
    await world.say(ANN)
    await world.say(BOB)
    held = (await world.lease()).turns
    world.clock.advance(seconds=20)
    assert await world.store.write(turns.extend_leases, held[:1], LEASE) == {held[0].id}
    assert await world.store.write(turns.extend_leases, [], LEASE) == set()
    world.clock.advance(seconds=20)
    assert await world.store.write(turns.return_expired_leases, "Sorry.") == 1
    await world.finish(held[0])
    with pytest.raises(LeaseLost):
        await world.finish(held[1])


async def test_a_turn_handed_back_is_leased_again_as_the_same_attempt(world: World) -> None:
    await world.say(ANN)
    turn = await world.lease_one()
    await world.store.write(turns.hand_back, turn)
    again = await world.lease_one()
    assert (again.id, again.attempt) == (turn.id, 1)
    assert again.token != turn.token
    with pytest.raises(LeaseLost):
        await world.finish(turn)


async def test_the_turns_of_a_dead_worker_return_at_once(world: World) -> None:
    await world.say(ANN)
    await world.say(BOB)
    await world.lease(1, holder="dead")
    (alive,) = (await world.lease(1, holder="alive")).turns
    assert await world.store.write(turns.return_leases_of, "dead", "Sorry.") == 1
    await world.finish(alive)
    world.clock.advance(seconds=2)
    (turn,) = (await world.lease(holder="new")).turns
    assert (turn.channel.address, turn.attempt) == (ANN.address, 2)


async def test_a_turn_whose_workers_die_thrice_is_dead(world: World) -> None:
    await world.say(ANN)
    for _ in range(3):
        await world.lease_one()
        world.clock.advance(minutes=2)
        await world.store.write(turns.return_expired_leases, "Sorry.")
        world.clock.advance(minutes=2)
    assert (await world.lease()).turns == []
    (dead,) = await world.store.read(turns.list_dead)
    assert (dead.attempts, dead.platform, dead.address) == (3, "telegram", ANN.address)
    assert "3 times" in dead.reason
    (notice,) = await world.lease_replies()
    assert notice.text == "Sorry."


async def test_a_failed_turn_is_retried_later_and_alone(world: World) -> None:
    await world.say(ANN, "poison")
    poisoned = await world.lease_one()
    assert not await world.store.write(turns.fail_turn, poisoned, "NaN", SORRY)
    assert (await world.lease()).turns == []
    world.clock.advance(seconds=2)
    await world.say(BOB, "Hello!")
    busy = await world.lease(idle=False)
    assert [turn.channel.address for turn in busy.turns] == [BOB.address]
    assert busy.retry_waiting
    alone = await world.lease(idle=True)
    assert [(turn.id, turn.attempt) for turn in alone.turns] == [(poisoned.id, 2)]
    assert not alone.retry_waiting


async def test_many_retries_do_not_hide_what_is_fresh(world: World) -> None:
    for number in range(20):
        await world.say(channel_of(str(number), str(number)))
    for turn in (await world.lease(20)).turns:
        await world.store.write(turns.fail_turn, turn, "out of memory", SORRY)
    world.clock.advance(minutes=1)
    await world.say(ANN)
    lease = await world.lease(4, idle=False)
    assert [turn.channel.address for turn in lease.turns] == [ANN.address]
    assert lease.retry_waiting


async def test_a_turn_that_fails_thrice_is_dead_with_an_apology(world: World) -> None:
    await world.say(ANN)
    for attempt in (1, 2, 3):
        turn = await world.lease_one()
        assert turn.attempt == attempt
        assert await world.store.write(turns.fail_turn, turn, f"reason {attempt}", SORRY) is (attempt == 3)
        world.clock.advance(minutes=1)
    (dead,) = await world.store.read(turns.list_dead)
    assert (dead.id, dead.reason, dead.attempts) == (turn.id, "reason 3", 3)
    (notice,) = await world.lease_replies()
    assert (notice.text, notice.kind) == (SORRY, ReplyKind.NOTICE)


async def test_a_dead_turn_is_retried_or_dropped_by_the_operator(world: World) -> None:
    for channel in (ANN, BOB):
        await world.say(channel)
        for _ in range(3):
            await world.store.write(turns.fail_turn, await world.lease_one(), "broken", SORRY)
            world.clock.advance(minutes=1)
    bobs, anns = await world.store.read(turns.list_dead)
    assert await world.store.write(turns.drop_dead, bobs.id)
    assert not await world.store.write(turns.drop_dead, bobs.id)
    assert await world.store.write(turns.retry_dead, anns.id)
    assert not await world.store.write(turns.retry_dead, anns.id)
    assert not await world.store.write(turns.retry_dead, bobs.id)
    again = await world.lease_one()
    assert (again.id, again.attempt) == (anns.id, 1)
    await world.finish(again)
    assert await world.store.read(turns.list_dead) == []


async def test_a_dead_turn_is_not_retried_where_nothing_may_be_posted(world: World) -> None:
    await world.say(ANN)
    for _ in range(3):
        await world.store.write(turns.fail_turn, await world.lease_one(), "broken", SORRY)
        world.clock.advance(minutes=1)
    await world.store.write(places.mark_gone, ANN, "blocked")
    (dead,) = await world.store.read(turns.list_dead)
    assert not await world.store.write(turns.retry_dead, dead.id)


async def test_the_next_due_turn_is_known(world: World) -> None:
    assert await world.store.read(turns.next_due) is None
    await world.say(ANN, quiet_time=timedelta(seconds=2))
    due = world.clock() + timedelta(seconds=2)
    assert await world.store.read(turns.next_due) == due
    world.clock.advance(seconds=2)
    await world.say(ANN)
    await world.lease_one()
    assert await world.store.read(turns.next_due) is None  # the second waits for the first, not for time


async def test_workers_that_lease_at_once_never_share_a_turn(world: World, second_store: Store) -> None:
    for number in range(60):
        await world.say(channel_of(str(number % 7), str(number)))

    async def work(store: Store, holder: str) -> list[int]:
        taken: list[int] = []
        while True:
            lease = await store.write(turns.lease_turns, holder, 3, LEASE, idle=True, apology="Sorry.")
            if not lease.turns:
                return taken
            taken += [turn.id for turn in lease.turns]

    shares = await asyncio.gather(
        *(work(store, f"{number}") for number in range(3) for store in (world.store, second_store))
    )
    everything = [turn_id for share in shares for turn_id in share]
    assert len(everything) == len(set(everything))
    while (rest := (await world.lease(60)).turns) != []:  # passed over where two workers met
        everything += [turn.id for turn in rest]
    assert len(everything) == len(set(everything)) == 60


async def test_workers_answer_a_long_conversation_in_order(world: World, second_store: Store) -> None:
    """Two workers and one poster, racing for twenty turns of each of three conversations."""
    places_of_talk = [Channel(platform="telegram", address=str(n), kind=ChannelKind.PRIVATE) for n in range(3)]
    for number in range(20):
        for channel in places_of_talk:
            assert (await world.say(channel, f"{number}")).outcome is Receival.TURN
    posted: dict[str, list[str]] = {channel.address: [] for channel in places_of_talk}

    async def work(store: Store) -> None:
        while sum(map(len, posted.values())) < 60:
            for turn in (await store.write(turns.lease_turns, "w", 2, LEASE, idle=True, apology="Sorry.")).turns:
                lines = await store.read(turns.transcript, turn, 50)
                finished = FinishedTurn(text=f"re {lines[-1].text}", reason=None, composition=None)
                await store.write(turns.finish_turn, turn, finished)

    async def post() -> None:
        while sum(map(len, posted.values())) < 60:
            for reply in await world.lease_replies():
                posted[reply.channel.address].append(reply.text)
                await world.post(reply)

    async with asyncio.timeout(45):
        await asyncio.gather(work(world.store), work(second_store), post())
    assert all(texts == [f"re {number}" for number in range(20)] for texts in posted.values())


async def test_a_message_never_joins_a_turn_that_is_being_leased(world: World, second_store: Store) -> None:
    """Whether it joins or opens the next turn, every message is in exactly one turn, and the transcript that a
    worker reads after its lease holds all of its turn."""
    quiet = timedelta(seconds=1)
    for round_ in range(15):
        channel = Channel(platform="telegram", address=f"r{round_}", kind=ChannelKind.PRIVATE)
        await world.say(channel, "one", quiet_time=quiet)
        world.clock.advance(seconds=2)
        late = world.message(
            channel, "two", received_at=world.clock() - timedelta(seconds=1.5), quiet_time=timedelta(seconds=1)
        )
        received, lease = await asyncio.gather(
            second_store.write(inbox.add_message, late),
            world.store.write(turns.lease_turns, "w", 8, LEASE, idle=True, apology="Sorry."),
        )
        for turn in lease.turns:
            if turn.channel != channel:  # an earlier round's, which had to wait for its quiet time
                continue
            said = [line[1] for line in await world.transcript(turn)]
            assert said == (["one", "two"] if received.outcome is Receival.JOINED else ["one"])
