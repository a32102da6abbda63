"""Who is decoded when: requests that wait while the engine is busy go into its next call together.

Plain asyncio over any engine; knows nothing of models. All engine calls run on one thread of its own.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from bot.generator.candidates import Candidate, GenerationRequest
from bot.generator.engine import Generator
from bot.generator.errors import GenerationFailed
from bot.generator.ranking.base import Ranker

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

MAX_ROWS = 128
"""Candidates of one engine call; a single request with more goes alone."""

Waiting = tuple[GenerationRequest, asyncio.Future[list[Candidate]]]


class Batcher:
    """Collects requests into batches. Belongs to one event loop; `close` it when that ends.

    Order: batches are filled first come, first served. A request that makes a batch fail fails alone: the batch is
    repeated one by one. A cancelled caller's request is dropped if it still waits.
    """

    def __init__(self, generator: Generator, max_rows: int = MAX_ROWS) -> None:
        self._generator = generator
        self._max_rows = max_rows
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="engine")
        self._waiting: deque[Waiting] = deque()
        self._drain: asyncio.Task[None] | None = None
        self._busy_since: float | None = None

    @property
    def busy_since(self) -> float | None:
        """Since when the call that runs now shows no sign of life (time.monotonic, seconds); None when idle.

        A call begins with one, and every token that the generator computes is one; a hung call stays here.
        """
        began = self._busy_since
        return None if began is None else max(began, self._generator.last_step)

    async def generate(self, request: GenerationRequest) -> list[Candidate]:
        """The request's candidates. Raises GenerationFailed, or whatever the engine raised for this request."""
        future: asyncio.Future[list[Candidate]] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, future))
        if self._drain is None or self._drain.done():
            self._drain = asyncio.create_task(self._run_batches(), name="engine-batches")
        return await future

    async def score(self, ranker: Ranker, turns: Sequence[str], replies: Sequence[str]) -> list[float]:
        """The ranker's score of each reply to the turns, on the engine's thread."""
        return await self.run(ranker.score, [(turns, reply) for reply in replies])

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a blocking call on the engine's thread, after what is queued there."""

        def timed() -> T:
            self._busy_since = time.monotonic()
            try:
                return function(*args, **kwargs)
            finally:
                self._busy_since = None

        return await asyncio.get_running_loop().run_in_executor(self._thread, timed)

    def close(self) -> None:
        """Fail what waits and let the thread go; a call that runs is not waited for."""
        for _, future in self._waiting:
            if not future.done():
                future.set_exception(GenerationFailed("The engine was closed before it came to this request."))
        self._waiting.clear()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _run_batches(self) -> None:
        while self._waiting:
            batch = self._next_batch()
            if batch:
                await self._answer(batch)

    def _next_batch(self) -> list[Waiting]:
        batch: list[Waiting] = []
        rows = 0
        while self._waiting:
            request, future = self._waiting[0]
            rows += request.decoding.candidates
            if batch and rows > self._max_rows:
                break
            self._waiting.popleft()
            if not future.done():  # else the caller gave up
                batch.append((request, future))
        return batch

    async def _answer(self, batch: list[Waiting]) -> None:
        try:
            answers = await self.run(self._generator.generate, [request for request, _ in batch])
        except Exception as error:
            if len(batch) == 1:
                _fail(batch[0], error)
                return
            log.warning("batch_failed", extra={"requests": len(batch), "error": type(error).__name__})
            for waiting in batch:
                await self._answer([waiting])
            return
        for (_, future), candidates in zip(batch, answers, strict=True):
            if future.done():
                continue
            if candidates:
                future.set_result(candidates)
            else:
                future.set_exception(GenerationFailed("The model computed no finite numbers for this context."))


def _fail(waiting: Waiting, error: Exception) -> None:
    if not waiting[1].done():
        waiting[1].set_exception(error)
