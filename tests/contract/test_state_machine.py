"""Turns and replies under every order of events that hypothesis can think of, on SQLite with a clock of its own.

Workers and posters come, go, freeze and return late; whatever happens, a conversation has one turn in work,
replies leave in the order of their turns, none leaves twice, and in the end everything has ended.
"""

import atexit
import shutil
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule
from sqlalchemy import select

from adapters.base import Channel, ChannelKind
from storage import inbox, outbox, places, turns
from storage.commit import GroupCommit, Job
from storage.database import open_engines, parse_url
from storage.errors import LeaseLost
from storage.migrate import migrate
from storage.records import FinishedTurn, LeasedReply, LeasedTurn, NewMessage, QueueLimits
from storage.schema import replies as replies_table
from storage.schema import turns as turns_table
from storage.transaction import Transaction
from tests.contract.world import LEASE, Clock

CHANNELS = [Channel(platform="telegram", address=str(number), kind=ChannelKind.PRIVATE) for number in range(3)]
channels = st.sampled_from(CHANNELS)
_template: list[Path] = []


def template() -> Path:
    if not _template:
        folder = tempfile.mkdtemp(prefix="bnt-")
        atexit.register(shutil.rmtree, folder)
        file = Path(folder) / "template.db"
        engines = open_engines(parse_url(f"sqlite:///{file}"))
        migrate(engines, "template")
        engines.dispose()
        _template.append(file)
    return _template[0]


class Conversations(RuleBasedStateMachine):
    leased = Bundle("leased")
    posting = Bundle("posting")

    @initialize()
    def open(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="bnt-"))
        file = shutil.copyfile(template(), self.folder / "banter.db")
        self.engines = open_engines(parse_url(f"sqlite:///{file}"))
        self.clock = Clock(datetime(2026, 3, 1, 12, tzinfo=UTC))
        self.commit = GroupCommit(self.engines.write, "it", self.clock)
        self.message_id = 0
        self.posted: dict[str, list[int]] = {channel.address: [] for channel in CHANNELS}

    def teardown(self) -> None:
        if hasattr(self, "engines"):
            self.drain()
            self.engines.dispose()
            shutil.rmtree(self.folder)

    def run(self, statement: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        job = Job(lambda tx: statement(tx, *args, **kwargs))
        self.commit.run([job])
        if job.error is not None:
            raise job.error
        return job.result

    def rows(self, table: Any) -> list[Any]:
        def look(tx: Transaction) -> list[Any]:
            return list(tx.execute(select(table).order_by(table.c.id)))

        return list(self.run(look))

    @rule(said=st.lists(st.tuples(channels, st.sampled_from([0, 0, 2])), min_size=1, max_size=6), again=st.booleans())
    def say(self, said: list[tuple[Channel, int]], again: bool) -> None:
        for channel, quiet in said:
            self.message_id += 1
            self.receive(channel, quiet)
        if again:  # the platform delivers the last one twice
            self.receive(*said[-1])

    def receive(self, channel: Channel, quiet: int) -> None:
        message = NewMessage(
            channel=channel,
            message_id=str(self.message_id),
            author_id="a",
            author_is_bot=False,
            text=f"message {self.message_id}",
            sent_at=self.clock(),
            received_at=self.clock(),
            reply_to=None,
            trigger="private",
            quiet_time=timedelta(seconds=quiet),
            forget_after=timedelta(hours=12),
            queue=QueueLimits(channel=6, total=14),
            config_revision="c",
        )
        self.run(inbox.add_message, message)

    @rule(seconds=st.sampled_from([1, 5, 31, 3_600]))
    def wait(self, seconds: int) -> None:
        self.clock.advance(seconds=seconds)

    @rule(target=leased, idle=st.booleans(), limit=st.integers(1, 6))
    def lease(self, idle: bool, limit: int) -> list[LeasedTurn]:
        return list(self.run(turns.lease_turns, "w", limit, LEASE, idle=idle, apology="Sorry.").turns)

    @rule(held=consumes(leased), end=st.sampled_from(["reply", "nothing", "fail", "hand back", "die"]))
    def end_turns(self, held: list[LeasedTurn], end: str) -> None:
        for turn in held:
            if end == "die":
                continue
            try:
                if end == "fail":
                    self.run(turns.fail_turn, turn, "broken", "Sorry.")
                elif end == "hand back":
                    self.run(turns.hand_back, turn)
                else:
                    text = f"reply {turn.id}" if end == "reply" else None
                    self.run(turns.finish_turn, turn, FinishedTurn(text=text, reason=None, composition=None))
            except LeaseLost:
                pass  # it took too long; somebody else answers

    @rule(held=leased)
    def stay_alive(self, held: list[LeasedTurn]) -> None:
        assert self.run(turns.extend_leases, held, LEASE) <= {turn.id for turn in held}

    @rule(target=posting, limit=st.integers(1, 6))
    def lease_replies(self, limit: int) -> list[LeasedReply]:
        return list(self.run(outbox.lease_replies, "telegram", "p", limit, LEASE))

    @rule(held=consumes(posting), end=st.sampled_from(["posted", "later", "failed", "die"]))
    def end_replies(self, held: list[LeasedReply], end: str) -> None:
        for reply in held:
            if end != "die":
                self.end_reply(reply, end)

    def end_reply(self, reply: LeasedReply, end: str) -> None:
        try:
            if end == "later":
                self.run(outbox.try_later, reply, timedelta(seconds=5), "429", in_doubt=False)
            elif end == "failed":
                self.run(outbox.mark_failed, reply, "400")
            else:
                self.run(outbox.mark_posted, reply, str(reply.id))
                self.posted[reply.channel.address].append(reply.id)
        except LeaseLost:
            pass

    @rule(channel=channels)
    def reset(self, channel: Channel) -> None:
        self.run(places.reset_conversation, channel)

    @rule(channel=channels)
    def leave_and_return(self, channel: Channel) -> None:
        self.run(places.mark_gone, channel, "kicked")
        self.run(places.mark_back, channel)

    @rule()
    def return_expired(self) -> None:
        self.run(turns.return_expired_leases, "Sorry.")
        self.run(outbox.return_expired_leases)

    @invariant()
    def one_turn_in_work_a_conversation(self) -> None:
        if not hasattr(self, "engines"):
            return
        in_work = [turn.conversation_id for turn in self.rows(turns_table) if turn.state == "leased"]
        assert len(in_work) == len(set(in_work))
        under_way = [reply.channel_id for reply in self.rows(replies_table) if reply.state == "posting"]
        assert len(under_way) == len(set(under_way))

    def drain(self) -> None:
        """A worker and a poster without misfortunes finish whatever is left."""
        for _ in range(200):
            self.clock.advance(minutes=2)
            self.return_expired()
            self.end_turns(list(self.run(turns.lease_turns, "w", 8, LEASE, idle=True, apology="Sorry.").turns), "reply")
            self.end_replies(self.run(outbox.lease_replies, "telegram", "p", 8, LEASE), "posted")
            if not self.owes():
                break
        assert not self.owes()
        everything = self.rows(replies_table)
        assert len({reply.turn_id for reply in everything if reply.kind == "reply"}) == sum(
            reply.kind == "reply" for reply in everything
        )
        for address, ids in self.posted.items():
            assert ids == sorted(set(ids)), f"replies left out of order or twice in {address}"
        answered = [reply.turn_id for reply in everything if reply.state == "posted" and reply.turn_id]
        by_turn = {turn.id: turn for turn in self.rows(turns_table)}
        assert all(by_turn[turn_id].state == "replied" for turn_id in answered)

    def owes(self) -> bool:
        states = {row.state for table in (turns_table, replies_table) for row in self.rows(table)}
        return bool(states & {"pending", "leased", "ready", "posting"})


TestConversations = Conversations.TestCase
TestConversations.settings = settings(
    max_examples=25,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
