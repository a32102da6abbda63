"""The worker: leases turns, has replies composed, commits them. Runs in a process of its own.

    python -m bot.worker --config config.yaml

Started by `banter run` as its child (with two descriptors: a pipe that wakes and one whose end means that the
parent is gone), or alone by `banter run --only worker`. It ends itself with Exit.HUNG when a generation outlasts
its limit: a thread that is stuck in a model cannot be stopped in any other way.
"""

import argparse
import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import timedelta
from pathlib import Path

from bot import texts
from bot.config import ChannelSettings, Config, ConfigError
from bot.context import build_context
from bot.exits import Exit
from bot.generator.errors import GeneratorError
from bot.logs import set_up_logging
from bot.models import TURNS, Models
from bot.reload import Handover, LiveConfig
from bot.reply import Composed, Judged, Ports, compose_reply, turn_seed
from bot.safety import Moderators
from bot.wake import WakePipe, die_with_parent
from moderation.verdict import Verdict
from storage import listen, turns
from storage.errors import LeaseLost, StoreError
from storage.records import CandidateRecord, Composition, FinishedTurn, LeasedTurn
from storage.store import Store
from storage.transaction import Transaction

log = logging.getLogger(__name__)

LEASE = timedelta(seconds=30)
HEARTBEAT = timedelta(seconds=1)
POLL = timedelta(milliseconds=500)
GRACE = timedelta(seconds=5)


class Worker:
    """Composes replies to many turns at once; how many, follows from how fast the model proved to be."""

    def __init__(self, store: Store, live: LiveConfig, models: Models, holder: str) -> None:
        self._store = store
        self._live = live
        self._models = models
        self._holder = holder
        self._moderators = Moderators()
        self._wake = asyncio.Event()
        self._stopping = False
        self._held: dict[int, LeasedTurn] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._retrying = False
        self._pace = Pace()

    def wake(self) -> None:
        """Turns may wait. Call from the event loop's thread."""
        self._wake.set()

    def stop(self) -> None:
        """Lease nothing more; `run` returns when what is in work is committed or handed back."""
        self._stopping = True
        self._wake.set()

    async def run(self) -> None:
        heartbeat = asyncio.create_task(self._beat(), name="heartbeat")
        try:
            while not self._stopping:
                self._wake.clear()
                wait = await self._lease_due()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait.total_seconds()):
                        await self._wake.wait()
            await self._drain()
        finally:
            heartbeat.cancel()

    async def _lease_due(self) -> timedelta:
        room = self._pace.room(self._live.current().limits.reply_timeout) - len(self._tasks)
        if room <= 0 or self._retrying:
            return POLL
        try:
            # A look costs no lock: an idle worker must not keep the adapters from writing.
            until_due = await self._store.read(_until_due)
            if until_due is None or until_due > timedelta():
                return POLL if until_due is None else min(POLL, until_due)
            lease = await self._store.write(
                turns.lease_turns, self._holder, room, LEASE, idle=not self._tasks, apology=texts.FAILED
            )
        except StoreError as error:
            log.warning("queue_unreadable", extra={"error": str(error)})
            return POLL
        for turn in lease.turns:
            self._start(turn)
        # A turn that failed before must be alone: what is in work ends first.
        self._retrying = (lease.retry_waiting and bool(self._tasks)) or any(turn.attempt > 1 for turn in lease.turns)
        return POLL

    def _start(self, turn: LeasedTurn) -> None:
        self._held[turn.id] = turn
        task = asyncio.create_task(self._answer(turn), name=f"turn-{turn.id}")
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._ended(done, turn))

    def _ended(self, task: asyncio.Task[None], turn: LeasedTurn) -> None:
        self._tasks.discard(task)
        self._held.pop(turn.id, None)
        if not self._tasks:
            self._retrying = False
        self._wake.set()

    async def _answer(self, turn: LeasedTurn) -> None:
        try:
            started = time.perf_counter()
            finished = await self._compose(turn)
            self._pace.note(time.perf_counter() - started)
            await _persist(self._store, turn, finished)
            log.info(
                "turn_finished",
                extra={
                    "turn": turn.id,
                    "conversation": turn.conversation_id,
                    "attempt": turn.attempt,
                    "reason": finished.reason,
                    "milliseconds": dict(finished.composition.milliseconds) if finished.composition else {},
                },
            )
        except LeaseLost:
            log.warning("turn_lease_lost", extra={"turn": turn.id})
        except asyncio.CancelledError:
            await self._hand_back(turn)
            raise
        except Exception as error:
            log.exception("turn_failed", extra={"turn": turn.id, "attempt": turn.attempt})
            await self._fail(turn, f"{type(error).__name__}: {error}")

    async def _compose(self, turn: LeasedTurn) -> FinishedTurn:
        config = self._live.current()
        settings = config.for_channel(turn.channel, persona=turn.channel_persona)
        settings = self._models.settled(settings)
        most_turns = settings.history.turns or TURNS
        lines = await self._store.read(turns.transcript, turn, 4 * most_turns)
        context = build_context(lines, settings.persona, most_turns, one_line=self._models.one_line)
        if not context.said:
            return FinishedTurn(text=None, reason="nothing left to answer", composition=None)
        composed = await compose_reply(
            context,
            settings,
            self._moderators.of(settings),
            self._ports(settings),
            turn_seed(turn.id, turn.created_at.timestamp()),
        )
        return FinishedTurn(
            text=composed.text,
            reason=composed.reason,
            composition=self._record(composed, settings, config),
        )

    def _ports(self, settings: ChannelSettings) -> Ports:
        return Ports(
            encode=lambda context: self._models.encode(context, settings),
            generate=self._models.generate,
            score=self._models.score,
        )

    def _record(self, composed: Composed, settings: ChannelSettings, config: Config) -> Composition:
        return Composition(
            seed=composed.seed,
            context_ids=composed.context_ids,
            decoding=composed.decoding.model_dump(),
            persona=settings.persona_name,
            config_revision=config.revision,
            model_revision=self._models.generator.revision,
            ranker_revisions=self._models.ranker_revisions,
            moderation_revision=self._moderators.of(settings).revision,
            rounds=composed.rounds,
            milliseconds=composed.milliseconds,
            candidates=[_candidate_record(one) for one in composed.judged],
        )

    async def _fail(self, turn: LeasedTurn, reason: str) -> None:
        with contextlib.suppress(StoreError):  # else the lease runs out and the attempt counts as well
            await self._store.write(turns.fail_turn, turn, reason, texts.FAILED)

    async def _hand_back(self, turn: LeasedTurn) -> None:
        with contextlib.suppress(StoreError):
            await self._store.write(turns.hand_back, turn)

    async def _beat(self) -> None:
        """Keep the leases while the model works, and end the process when it works for too long."""
        while True:
            await asyncio.sleep(HEARTBEAT.total_seconds())
            self._end_if_hung()
            if self._held:
                with contextlib.suppress(StoreError):
                    await self._store.write(turns.extend_leases, list(self._held.values()), LEASE)

    def _end_if_hung(self) -> None:
        since = self._models.batcher.busy_since
        limit = self._live.current().limits.reply_timeout.total_seconds()
        if since is not None and time.monotonic() - since > limit:
            log.critical(
                "generation_hung",
                extra={"seconds": round(time.monotonic() - since, 1), "turns": sorted(self._held)},
            )
            os._exit(Exit.HUNG)

    async def _drain(self) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=GRACE.total_seconds())
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class Pace:
    """How many turns to hold at once: as many as the model can answer within a sixth of the reply limit.

    Starts with one and learns from what it sees; a slow model (a big one on a CPU) is given one turn at a time
    rather than a batch that it cannot finish before it would be taken for hung.
    """

    LIMIT = 64

    def __init__(self) -> None:
        self._room = 1
        self._last = 0.0  # seconds the last answer took; 0 until there is news

    def note(self, seconds: float) -> None:
        self._last = seconds

    def room(self, reply_timeout: timedelta) -> int:
        goal = reply_timeout.total_seconds() / 6
        if self._last > goal:
            self._room = max(1, self._room // 2)
        elif 0 < self._last < goal / 4:
            self._room = min(self.LIMIT, self._room * 2)
        self._last = 0.0
        return self._room


def _until_due(tx: Transaction) -> timedelta | None:
    due = turns.next_due(tx)
    return None if due is None else max(due - tx.now, timedelta())


# The text is beside it already. (`dataclasses.asdict` would copy every value deeply, at some cost a turn.)
_VERDICT_FIELDS = tuple(each.name for each in fields(Verdict) if each.name != "text")


def _candidate_record(one: Judged) -> CandidateRecord:
    verdict = None if one.verdict is None else {name: getattr(one.verdict, name) for name in _VERDICT_FIELDS}
    return CandidateRecord(
        text=one.text,
        token_ids=one.candidate.token_ids,
        log_prob=one.candidate.log_prob,
        finished=one.candidate.finished,
        chosen=one.chosen,
        dropped=one.dropped,
        scores=one.scores,
        final=one.final,
        verdict=verdict,
    )


async def _persist(store: Store, turn: LeasedTurn, finished: FinishedTurn) -> None:
    """Commit the reply; a store that is out of order for a while must not cost the work that is done."""
    wait = 0.1
    until = time.monotonic() + LEASE.total_seconds()
    while True:
        try:
            await store.write(turns.finish_turn, turn, finished)
            return
        except LeaseLost:
            raise
        except StoreError:
            if time.monotonic() > until:
                raise
            await asyncio.sleep(wait)
            wait = min(2 * wait, 2.0)


@dataclass(frozen=True, slots=True)
class Parent:
    """What a worker that runs as a child has of its parent: a pipe that goes both ways, and the configuration."""

    wake: int
    handover: Handover


async def run_worker(config_path: Path, holder: str, parent: Parent | None, log_level: str | None = None) -> None:
    """Load everything and work until SIGTERM or SIGINT. Raises ConfigError, CheckpointError, StoreError."""
    set_up_logging(log_level or "warning", "console", ())  # until the configuration says how
    live = LiveConfig(config_path, handover=parent.handover if parent is not None else None)
    config = live.current()
    set_up_logging(log_level or config.logs.level, config.logs.format, config.secrets())
    store = Store.open(config.storage.url, base=config_path.resolve().parent)
    try:
        models = await asyncio.to_thread(Models.load, config)
    except BaseException:
        await store.close()
        raise
    worker = Worker(store, live, models, holder)
    pipe = WakePipe.from_descriptor(parent.wake) if parent is not None else None
    loop = asyncio.get_running_loop()

    def on_topic(topic: str) -> None:
        if topic == "turns":
            worker.wake()

    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, worker.stop)
    store.on_commit(pipe.send if pipe is not None else lambda _topic: None)
    store.on_commit(lambda topic: loop.call_soon_threadsafe(on_topic, topic))
    background = [
        asyncio.create_task(listen.listen(store, on_topic), name="notifications"),
        asyncio.create_task(live.watch(), name="config"),
    ]
    if pipe is not None:
        background.append(asyncio.create_task(pipe.listen(on_topic), name="parent"))
    try:
        await store.write(turns.return_leases_of, holder, texts.FAILED)
        if pipe is not None:
            pipe.send("ready")
        log.info("worker_ready", extra={"model": models.generator.revision})
        await worker.run()
    finally:
        for task in background:
            task.cancel()
        models.close()
        await store.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """The process: returns an exit code of `bot.exits`, says on stderr what a person can mend."""
    parser = argparse.ArgumentParser(prog="python -m bot.worker", description="Answers what waits in the store.")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--holder", default=f"{socket.gethostname()[:24]}-{os.getpid()}-worker")
    parser.add_argument("--wake", type=int)
    parser.add_argument("--lifeline", type=int)
    parser.add_argument("--log-level", help="instead of the configuration's")
    given = parser.parse_args(arguments)
    parent = None
    if given.wake is not None and given.lifeline is not None:
        die_with_parent(given.lifeline, Exit.ORPHANED)
        parent = Parent(given.wake, Handover(**json.load(sys.stdin)))
    try:
        asyncio.run(run_worker(given.config, given.holder, parent, given.log_level))
    except ConfigError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return Exit.CONFIG
    except GeneratorError as error:
        print(f"model: {error}", file=sys.stderr)  # noqa: T201
        return Exit.CONFIG
    except StoreError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return Exit.STORE
    return Exit.OK


if __name__ == "__main__":
    sys.exit(main())
