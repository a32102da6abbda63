"""How many turns a second the store carries: `python -m tests.contract.bench_store [CONVERSATIONS ...]`.

A turn is what the bot commits for it: message and turn, lease, reply with eight candidates, lease of the
reply, posted. Every conversation waits for its own reply before it goes on. The
databases are durable as in production (SQLite synchronous=FULL, PostgreSQL fsync on).
"""

import asyncio
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from adapters.base import Channel, ChannelKind
from storage import inbox, outbox, turns
from storage.migrate import migrate
from storage.records import CandidateRecord, Composition, FinishedTurn, LeasedReply, LeasedTurn, NewMessage, QueueLimits
from storage.store import Store
from tests.servers.postgres import PostgresServer

LEASE = timedelta(seconds=30)
SECONDS = 4.0


def message(conversation: int, number: int) -> NewMessage:
    now = datetime.now(UTC)
    return NewMessage(
        channel=Channel(platform="telegram", address=str(conversation), kind=ChannelKind.PRIVATE),
        message_id=str(number),
        author_id=str(conversation),
        author_is_bot=False,
        text="How do you like the weather today?",
        sent_at=now,
        received_at=now,
        reply_to=None,
        trigger="private",
        quiet_time=timedelta(0),
        forget_after=timedelta(hours=12),
        queue=QueueLimits(channel=3, total=10_000),
        config_revision="bench",
    )


def answer() -> FinishedTurn:
    candidates = [
        CandidateRecord(
            text="I like it when it rains.",
            token_ids=list(range(1000, 1024)),
            log_prob=-20.0,
            finished=True,
            chosen=number == 0,
            dropped=None,
            scores={"human_vs_rand": 0.7, "repeat": 0.0},
            final=0.6,
            verdict=None,
        )
        for number in range(8)
    ]
    composition = Composition(
        seed=7,
        context_ids=list(range(64)),
        decoding={"candidates": 8, "temperature": 0.8, "top_k": 40},
        persona="default",
        config_revision="bench",
        model_revision="bench",
        ranker_revisions={"human_vs_rand": "bench"},
        moderation_revision="bench",
        rounds=1,
        milliseconds={"generate": 10.0},
        candidates=candidates,
    )
    return FinishedTurn(text="I like it when it rains.", reason=None, composition=composition)


class Bench:
    """As many people as asked for, one worker and one poster, on one store."""

    def __init__(self, store: Store, conversations: int) -> None:
        self.store = store
        self.conversations = conversations
        self.said = [asyncio.Event() for _ in range(conversations)]
        self.turns = asyncio.Event()
        self.replies = asyncio.Event()
        self.latencies: list[float] = []

    async def run(self, seconds: float) -> float:
        """Turns a second."""
        helpers = [asyncio.create_task(self.work()), asyncio.create_task(self.post())]
        started = time.perf_counter()
        await asyncio.gather(*(self.talk(each, started + seconds) for each in range(self.conversations)))
        took = time.perf_counter() - started
        for helper in helpers:
            helper.cancel()
        await asyncio.gather(*helpers, return_exceptions=True)
        return len(self.latencies) / took

    async def talk(self, conversation: int, until: float) -> None:
        number = 0
        while (began := time.perf_counter()) < until:
            number += 1
            await self.store.write(inbox.add_message, message(conversation, number))
            self.turns.set()
            await self.said[conversation].wait()
            self.said[conversation].clear()
            self.latencies.append(time.perf_counter() - began)

    async def work(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            while True:
                await self.turns.wait()
                self.turns.clear()
                lease = await self.store.write(turns.lease_turns, "worker", 64, LEASE, idle=True, apology="Sorry.")
                for turn in lease.turns:
                    tasks.create_task(self.finish(turn))

    async def finish(self, turn: LeasedTurn) -> None:
        await self.store.write(turns.finish_turn, turn, answer())
        self.replies.set()

    async def post(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            while True:
                await self.replies.wait()
                self.replies.clear()
                for reply in await self.store.write(outbox.lease_replies, "telegram", "poster", 64, LEASE):
                    tasks.create_task(self.post_one(reply))

    async def post_one(self, reply: LeasedReply) -> None:
        await self.store.write(outbox.mark_posted, reply, f"{reply.id}")
        self.said[int(reply.channel.address)].set()


async def measure(name: str, url: str, conversations: int) -> None:
    store = Store.open(url)
    migrate(store.engines, store.where)
    bench = Bench(store, conversations)
    rate = await bench.run(SECONDS)
    await store.close()
    ordered = sorted(bench.latencies)
    p50, p99 = (1_000 * ordered[int(len(ordered) * share)] for share in (0.5, 0.99))
    print(f"{name:10} {conversations:4} conversations {rate:8.0f} turns/s   p50 {p50:6.1f} ms   p99 {p99:6.1f} ms")


def main() -> None:
    numbers = [int(argument) for argument in sys.argv[1:]] or [1, 8, 64]
    with tempfile.TemporaryDirectory() as folder, PostgresServer(settings={}) as server:
        for number in numbers:
            asyncio.run(measure("SQLite", f"sqlite:///{Path(folder) / f'{number}.db'}", number))
            asyncio.run(measure("PostgreSQL", server.url(server.create_database()), number))


if __name__ == "__main__":
    main()
