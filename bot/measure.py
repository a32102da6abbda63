"""What this machine can do, measured: behind `banter bench`.

`measure_overhead` sends messages through intake, store, worker and outbox with a model that answers at once, the
worker in a process of its own as in `banter run`, and reports the time from an adapter's event to its post.
`measure_model` lets the configured model answer chats, one and many at a time.
"""

import asyncio
import contextlib
import multiprocessing
import os
import platform
import socket
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from adapters.base import (
    AdapterStatus,
    Author,
    Channel,
    ChannelKind,
    Identity,
    IncomingMessage,
    OutgoingPart,
    Receipt,
    Sink,
)
from bot.config import ChannelSettings, Config, RankerHead
from bot.context import Context
from bot.generator.candidates import Candidate, GenerationRequest
from bot.generator.dialects.base import Utterance
from bot.intake import Intake
from bot.models import Models
from bot.post import Poster
from bot.reload import LiveConfig
from bot.reply import Ports, compose_reply
from bot.safety import Moderators
from bot.wake import WakePipe
from bot.worker import Worker
from storage import migrate
from storage.store import Store

CHATS = 200
_SETTINGS = """
triggers: {quiet_time: "0s"}
limits: {user: "1000000/min", channel: "1000000/min", queue_per_channel: 1000, queue_total: 1000000}
decoding: {default: {candidates: 8}}
"""
_QUESTIONS = (
    "hi, how are you?",
    "what did you do today?",
    "I had pasta for lunch and it was great",
    "do you like cats or dogs better?",
    "my boss is annoying me again",
    "have you seen any good films lately?",
    "I can't decide what to cook tonight",
    "it rains here all week",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Overhead:
    """Times from event to post at one rate. `sent_per_second` is what was reached, not what was asked for."""

    rate: int
    messages: int
    sent_per_second: float
    p50_ms: float
    p99_ms: float


class LoopbackAdapter:
    """A platform that says what it is told and notes when it is answered."""

    platform = "loopback"
    typing_interval = timedelta(seconds=5)

    def __init__(self) -> None:
        self.answered_at: dict[str, float] = {}

    @property
    def status(self) -> AdapterStatus:
        return AdapterStatus(ready=True, detail="measuring")

    async def identify(self) -> Identity:
        return Identity(id="loopback", name="loopback")

    async def listen(self, sink: Sink) -> None:
        return None

    def split(self, text: str) -> list[str]:
        return [text]

    async def post(self, part: OutgoingPart) -> Receipt:
        self.answered_at[str(part.reply_to)] = time.perf_counter()
        return Receipt(part.nonce)

    async def find_posted(self, part: OutgoingPart) -> Receipt | None:
        return None

    async def show_typing(self, channel: Channel) -> None:
        return None

    async def close(self) -> None:
        return None


@dataclass(slots=True)
class _Instant:
    """A model that needs no time: eight ready candidates, so that all that is left is ours."""

    revision: str = "instant"
    one_line: bool = True
    busy_since: float | None = None
    ranker_revisions: Mapping[str, str] = field(default_factory=dict)

    @property
    def generator(self) -> "_Instant":
        return self

    @property
    def batcher(self) -> "_Instant":
        return self

    def settled(self, settings: ChannelSettings) -> ChannelSettings:
        return settings

    def encode(self, context: Context, settings: ChannelSettings) -> tuple[int, ...]:
        return tuple(range(32))

    async def generate(self, request: GenerationRequest) -> Sequence[Candidate]:
        return [
            Candidate(token_ids=tuple(range(12)), text=f"That is answer number {number}.", log_prob=-9.0, finished=True)
            for number in range(request.decoding.candidates)
        ]

    async def score(self, head: RankerHead, turns: Sequence[str], replies: Sequence[str]) -> Sequence[float] | None:
        return [1.0 / (place + 1) for place in range(len(replies))]


async def measure_overhead(url: str | None, rates: Sequence[int], seconds: float) -> list[Overhead]:
    """The overhead at each rate (messages a second), on a fresh SQLite file or on the given database."""
    with tempfile.TemporaryDirectory() as name:
        place = _Place(url or "sqlite:///bench.db", Path(name))
        place.config.write_text(_SETTINGS)
        async with place.store() as store:
            await asyncio.to_thread(migrate.migrate, store.engines, store.where)
            pipe, theirs = WakePipe.pair()
            worker = multiprocessing.get_context("spawn").Process(target=_work, args=(place, theirs), daemon=True)
            worker.start()
            theirs.close()
            try:
                return await _with_parts(store, pipe, LiveConfig(place.config), rates, seconds)
            finally:
                pipe.close()
                await asyncio.to_thread(worker.join)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where both processes find the database and the configuration."""

    url: str
    folder: Path

    @property
    def config(self) -> Path:
        return self.folder / "config.yaml"

    @contextlib.asynccontextmanager
    async def store(self) -> AsyncIterator[Store]:
        store = Store.open(self.url, base=self.folder)
        try:
            yield store
        finally:
            await store.close()


def _work(place: _Place, end: socket.socket) -> None:
    """The worker's process, until the other end of the pipe is closed."""
    asyncio.run(_answer_instantly(place, WakePipe(end)))


async def _answer_instantly(place: _Place, pipe: WakePipe) -> None:
    loop = asyncio.get_running_loop()
    async with place.store() as store:
        worker = Worker(store, LiveConfig(place.config), _Instant(), "bench-worker")  # type: ignore[arg-type]

        def on_topic(topic: str) -> None:
            if topic == "turns":
                worker.wake()

        store.on_commit(pipe.send)
        store.on_commit(lambda topic: loop.call_soon_threadsafe(on_topic, topic))
        working = asyncio.create_task(worker.run())
        pipe.send("ready")
        await pipe.listen(on_topic)
        worker.stop()
        await working


async def _with_parts(
    store: Store, pipe: WakePipe, live: LiveConfig, rates: Sequence[int], seconds: float
) -> list[Overhead]:
    adapter = LoopbackAdapter()
    intake = Intake(store, live, Moderators())
    poster = Poster(store, adapter, "bench-poster", at_most_once=lambda: False)
    ready = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_topic(topic: str) -> None:
        if topic == "ready":
            ready.set()
        elif topic == "outbox":
            poster.wake()

    store.on_commit(pipe.send)
    store.on_commit(lambda topic: loop.call_soon_threadsafe(on_topic, topic))
    tasks = [asyncio.create_task(pipe.listen(on_topic)), asyncio.create_task(poster.run())]
    try:
        async with asyncio.timeout(60):
            await ready.wait()
        await _at_rate(intake, adapter, rate=5, seconds=2)  # what is loaded and built at first use
        return [await _at_rate(intake, adapter, rate, seconds) for rate in rates]
    finally:
        await poster.drain(timedelta(seconds=1))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _at_rate(intake: Intake, adapter: LoopbackAdapter, rate: int, seconds: float) -> Overhead:
    count = max(10, round(rate * seconds))
    asked_at: dict[str, float] = {}
    run = time.time_ns()
    began = time.perf_counter()
    sending = set()
    for number in range(count):
        delay = began + number / rate - time.perf_counter()
        if delay > 0:
            await asyncio.sleep(delay)
        message_id = str(run + number)
        asked_at[message_id] = time.perf_counter()
        sending.add(asyncio.create_task(intake.message(_message(message_id, number))))
    await asyncio.gather(*sending)
    sent_in = time.perf_counter() - began
    async with asyncio.timeout(120):
        while not asked_at.keys() <= adapter.answered_at.keys():
            await asyncio.sleep(0.02)
    times = sorted((adapter.answered_at[one] - asked) * 1000 for one, asked in asked_at.items())
    return Overhead(
        rate=rate,
        messages=count,
        sent_per_second=round(count / sent_in, 1),
        p50_ms=round(statistics.median(times), 1),
        p99_ms=round(times[min(len(times) - 1, int(len(times) * 0.99))], 1),
    )


def _message(message_id: str, number: int) -> IncomingMessage:
    chat = str(number % CHATS)
    return IncomingMessage(
        channel=Channel(platform="loopback", address=chat, kind=ChannelKind.PRIVATE),
        message_id=message_id,
        author=Author(id=chat),
        text=_QUESTIONS[number % len(_QUESTIONS)],
        sent_at=datetime.now(UTC),
        complete=True,
    )


async def measure_model(config: Config, chats: Sequence[int], repeats: int) -> dict[int, float]:
    """Median seconds for one round of answers (generated and ranked) at each number of simultaneous chats."""
    models = await asyncio.to_thread(Models.load, config)
    settings = models.settled(
        config.for_channel(Channel(platform="terminal", address="bench", kind=ChannelKind.PRIVATE))
    )
    moderator = Moderators().of(settings)
    ports = Ports(
        encode=lambda context: models.encode(context, settings),
        generate=models.generate,
        score=models.score,
    )

    async def one(number: int) -> None:
        said = _QUESTIONS[number % len(_QUESTIONS)]
        context = Context(utterances=[Utterance(1, said)], said=said, earlier_replies=())
        await compose_reply(context, settings, moderator, ports, seed=number)

    times: dict[int, list[float]] = {count: [] for count in chats}
    await one(0)
    for repeat in range(repeats):
        for count in chats:
            began = time.perf_counter()
            await asyncio.gather(*(one(repeat * 1000 + number) for number in range(count)))
            times[count].append(time.perf_counter() - began)
    models.close()
    return {count: statistics.median(measured) for count, measured in times.items()}


def machine() -> str:
    """This machine in a line."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.partition(": ")[2] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return f"{name}, {os.cpu_count()} cores, Python {platform.python_version()}"
