"""The store: one writer thread that commits together what waits, one reader thread.

What is written or read lies in the modules beside this one (`inbox`, `turns`, `outbox`, `people`, `upkeep`) as
functions whose first argument is a `Transaction`:

    received = await store.write(inbox.add_message, message)

Closures that arrive while a commit is under way share the next one, and a caller goes on only after the
commit: on one connection this carries many times the commits a second that single transactions do, and an
acknowledgement still follows the commit. A closure may be run more than once before it is committed once
(`storage.commit`), so what it does beside its transaction must bear repetition.
"""

import asyncio
import contextlib
import functools
import logging
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from storage.commit import ATTEMPTS, GroupCommit, Job, may_be_repeated, wait_before_retry
from storage.database import Engines, open_engines, parse_url, translated
from storage.errors import StoreError, StoreUnavailable
from storage.transaction import Clock, Moment, Transaction, utc_now

__all__ = ["Clock", "Store", "Transaction", "utc_now"]

log = logging.getLogger(__name__)

GROUP_LIMIT = 64  # closures a commit

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(slots=True, kw_only=True)
class _AwaitedJob(Job):
    future: "asyncio.Future[Any]"
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)

    def resolve(self) -> None:
        try:
            self.loop.call_soon_threadsafe(self._settle)
        except RuntimeError:  # the caller's loop is closed: nobody waits any more
            log.debug("store_caller_gone")

    def _settle(self) -> None:
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


_Queue = queue.SimpleQueue[_AwaitedJob | None]


class Store:
    """Opens with `Store.open(url)`; every method may be called from any task of any event loop.

    Raises StoreUnavailable when the database takes no change now (nothing was changed, try again) and
    StoreUnusable when only the operator can help. A caller that is cancelled while it waits does not take its
    closure back: what was handed over is written.
    """

    def __init__(self, engines: Engines, where: str, clock: Clock | None = None) -> None:
        self._engines = engines
        self._where = where
        self._clock = clock
        self._listeners: list[Callable[[str], object]] = []
        self._writes: _Queue = queue.SimpleQueue()
        self._reads: _Queue = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._write_loop, name="store-writer", daemon=True),
            threading.Thread(target=self._read_loop, name="store-reader", daemon=True),
        ]
        self._closed = False
        self._closing = threading.Lock()  # nothing is put behind the end mark of the queues
        for thread in self._threads:
            thread.start()

    @classmethod
    def open(cls, url: str, *, base: Path | None = None, clock: Clock | None = None) -> "Store":
        """Raises StoreUnusable for a URL that names no database. Opens no connection yet."""
        parsed = parse_url(url, base)
        engines = open_engines(parsed)
        where = str(engines.sqlite_file or parsed.render_as_string(hide_password=True))
        return cls(engines, where, clock)

    @property
    def where(self) -> str:
        """The database in words, without its password."""
        return self._where

    @property
    def engines(self) -> Engines:
        return self._engines

    @property
    def sqlite_file(self) -> Path | None:
        return self._engines.sqlite_file

    def on_commit(self, listener: Callable[[str], object]) -> None:
        """Call `listener(topic)` after commits that woke a topic, on the writer's thread."""
        self._listeners.append(listener)

    async def write(self, statement: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `statement` in a transaction and return its result after the commit."""
        result: T = await self._submit(self._writes, functools.partial(_call, statement, args, kwargs))
        return result

    async def read(self, statement: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `statement` on a snapshot; it must not write."""
        result: T = await self._submit(self._reads, functools.partial(_call, statement, args, kwargs))
        return result

    async def close(self) -> None:
        """Finish what waits, then close all connections; safe to call twice."""
        with self._closing:
            if not self._closed:
                self._closed = True
                self._writes.put(None)
                self._reads.put(None)
        for thread in self._threads:
            await asyncio.to_thread(thread.join)
        self._engines.dispose()

    async def _submit(self, jobs: _Queue, run: Callable[[Transaction], Any]) -> Any:
        job = _AwaitedJob(run, future=asyncio.get_running_loop().create_future())
        with self._closing:
            if self._closed:
                raise StoreUnavailable(f"{self._where} is closed")
            jobs.put(job)
        return await job.future

    def _write_loop(self) -> None:
        commit = GroupCommit(self._engines.write, self._where, self._clock)
        for jobs in _groups(self._writes):
            topics = commit.run(jobs)
            for job in jobs:
                job.resolve()
            for topic in topics:
                self._wake(topic)

    def _wake(self, topic: str) -> None:
        for listener in self._listeners:
            try:
                listener(topic)
            except Exception:  # what a listener does wrong must not end the only writer
                log.exception("store_listener_failed", extra={"topic": topic})

    def _read_loop(self) -> None:
        for jobs in _groups(self._reads):
            for job in jobs[self._read_together(jobs) :]:
                self._read(job)
            for job in jobs:
                job.resolve()

    def _read_together(self, jobs: Sequence[Job]) -> int:
        """Let what waits look at one snapshot; how many have seen it. Whoever fails, and those behind, look again
        alone: on PostgreSQL nothing more can be asked in a transaction that failed."""
        done = 0
        with contextlib.suppress(Exception), self._engines.read.connect() as connection:
            moment = Moment(connection, self._clock)
            for job in jobs:
                job.result = job.run(Transaction(connection, moment))
                done += 1
        return done

    def _read(self, job: Job) -> None:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                with translated(self._where), self._engines.read.connect() as connection:
                    job.result = job.run(Transaction(connection, Moment(connection, self._clock)))
                    job.error = None
                    return
            except StoreError as error:
                job.error = error
                if not may_be_repeated(error):
                    return
            except Exception as error:
                job.error = error
                return
            if attempt < ATTEMPTS:
                wait_before_retry(attempt)


def _call(statement: Callable[..., Any], args: Any, kwargs: Any, transaction: Transaction) -> Any:
    return statement(transaction, *args, **kwargs)


def _groups(jobs: _Queue) -> Iterator[list[_AwaitedJob]]:
    """What waits, in groups of at most GROUP_LIMIT; ends at None, after everything before it."""
    while True:
        first = jobs.get()
        if first is None:
            return
        group = [first]
        ended = False
        while len(group) < GROUP_LIMIT and not ended:
            try:
                job = jobs.get_nowait()
            except queue.Empty:
                break
            if job is None:
                ended = True
            else:
                group.append(job)
        yield group
        if ended:
            return
