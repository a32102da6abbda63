"""Short words for what the contract tests do: somebody says something, a worker answers, a poster posts."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Table, select

from adapters.base import Channel, ChannelKind
from storage import inbox, outbox, turns
from storage.records import (
    CandidateRecord,
    Composition,
    FinishedTurn,
    Lease,
    LeasedReply,
    LeasedTurn,
    NewMessage,
    QueueLimits,
    Received,
)
from storage.store import Store, Transaction

LEASE = timedelta(seconds=30)
ANN = Channel(platform="telegram", address="1001", kind=ChannelKind.PRIVATE)
BOB = Channel(platform="telegram", address="1002", kind=ChannelKind.PRIVATE)


def channel_of(server: str, address: str, platform: str = "discord") -> Channel:
    return Channel(platform=platform, address=address, kind=ChannelKind.GROUP, server=server)


@dataclass
class Clock:
    """A clock that only moves when told to."""

    moment: datetime

    def __call__(self) -> datetime:
        return self.moment

    def advance(self, **by: float) -> None:
        self.moment += timedelta(**by)


def composition(text: str = "Fine.") -> Composition:
    candidates = [
        CandidateRecord(
            text=text if number == 0 else f"{text} {number}",
            token_ids=[1, 2, number],
            log_prob=-1.5 - number,
            finished=True,
            chosen=number == 0,
            dropped=None if number < 2 else "repeat",
            scores={"human_vs_rand": 0.5},
            final=0.4 if number < 2 else None,
            verdict={"category": "none"} if number else None,
        )
        for number in range(3)
    ]
    return Composition(
        seed=7,
        context_ids=[5, 6, 7],
        decoding={"top_k": 40},
        persona="default",
        config_revision="c1",
        model_revision="m1",
        ranker_revisions={"human_vs_rand": "r1"},
        moderation_revision="w1",
        rounds=1,
        milliseconds={"generate": 12.5},
        candidates=candidates,
    )


class World:
    """A store with people, a worker and a poster around it."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self.store = store
        self.clock = clock
        self._number = 100

    def message(self, channel: Channel = ANN, text: str = "Hello!", **changes: Any) -> NewMessage:
        """By default a person's message that is sent and received now and that the bot owes a reply."""
        self._number += 1
        new = NewMessage(
            channel=channel,
            message_id=str(self._number),
            author_id=f"author-of-{channel.address}",
            author_is_bot=False,
            text=text,
            sent_at=self.clock(),
            received_at=self.clock(),
            reply_to=None,
            trigger="private",
            quiet_time=timedelta(0),
            forget_after=timedelta(hours=12),
            queue=QueueLimits(channel=100, total=1_000),
            config_revision="c1",
        )
        return replace(new, **changes)

    async def say(self, channel: Channel = ANN, text: str = "Hello!", **changes: Any) -> Received:
        return await self.store.write(inbox.add_message, self.message(channel, text, **changes))

    async def lease(self, limit: int = 8, *, holder: str = "worker", idle: bool = True) -> Lease:
        return await self.store.write(turns.lease_turns, holder, limit, LEASE, idle=idle, apology="Sorry.")

    async def lease_one(self) -> LeasedTurn:
        (turn,) = (await self.lease()).turns
        return turn

    async def finish(self, turn: LeasedTurn, text: str | None = "Fine.", reason: str | None = None) -> None:
        made = None if text is None else composition(text)
        finished = FinishedTurn(text=text, reason=reason, composition=made)
        await self.store.write(turns.finish_turn, turn, finished)

    async def lease_replies(self, limit: int = 8, platform: str = "telegram", **choice: Any) -> list[LeasedReply]:
        return await self.store.write(outbox.lease_replies, platform, "poster", limit, LEASE, **choice)

    async def post(self, reply: LeasedReply) -> None:
        await self.store.write(outbox.mark_posted, reply, f"platform-{reply.id}")

    async def converse(self, channel: Channel, text: str, answer: str) -> None:
        """One whole turn, from the message to the posted reply."""
        await self.say(channel, text)
        await self.finish(await self.lease_one(), answer)
        (reply,) = await self.lease_replies(platform=channel.platform)
        await self.post(reply)

    async def transcript(self, turn: LeasedTurn, limit: int = 50) -> list[tuple[str | None, str]]:
        lines = await self.store.read(turns.transcript, turn, limit)
        return [(line.author_id, line.text) for line in lines]

    async def rows(self, table: Table, *conditions: Any) -> list[Any]:
        def look(tx: Transaction) -> list[Any]:
            return list(tx.execute(select(table).where(*conditions).order_by(*table.primary_key.columns)))

        return await self.store.read(look)
