"""The batcher over an engine that only counts: who goes together, who fails alone. No torch."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Sequence

import pytest

from bot.generator.batching import Batcher
from bot.generator.candidates import Candidate, GenerationRequest
from bot.generator.decoding import Decoding
from bot.generator.dialects.base import Dialect
from bot.generator.errors import GenerationFailed

POISON = 13
EMPTY = 14


class CountingEngine:
    """Answers with the request's first id; records its batches; can be held."""

    revision = "test"
    last_step = 0.0
    dialect: Dialect

    def context_budget(self, reply_tokens: int, max_length: int = 0) -> int:
        return 100 - reply_tokens

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.threads: set[str] = set()
        self.entered = threading.Semaphore(0)
        self.go_on = threading.Event()
        self.go_on.set()

    def generate(self, requests: Sequence[GenerationRequest]) -> list[list[Candidate]]:
        self.batches.append([request.input_ids[0] for request in requests])
        self.threads.add(threading.current_thread().name)
        self.entered.release()
        assert self.go_on.wait(10)
        if any(request.input_ids[0] == POISON for request in requests):
            raise RuntimeError("poisoned")
        return [
            []
            if request.input_ids[0] == EMPTY
            else [Candidate(token_ids=request.input_ids, text="", log_prob=0.0, finished=True)]
            for request in requests
        ]


class LengthRanker:
    name = "length"
    revision = "test"
    last_step = 0.0

    def score(self, pairs: Sequence[tuple[Sequence[str], str]]) -> list[float]:
        return [len(reply) / (10 * len(turns)) for turns, reply in pairs]


def request(number: int, candidates: int = 8) -> GenerationRequest:
    return GenerationRequest(input_ids=(number,), decoding=Decoding(candidates=candidates), seed=0)


@pytest.fixture
def engine() -> CountingEngine:
    return CountingEngine()


@pytest.fixture
async def batcher(engine: CountingEngine) -> AsyncIterator[Batcher]:
    batcher = Batcher(engine, max_rows=32)
    yield batcher
    engine.go_on.set()
    batcher.close()


async def held(engine: CountingEngine, batcher: Batcher) -> asyncio.Task[list[Candidate]]:
    """A first request that keeps the engine busy until it may go on."""
    engine.go_on.clear()
    first = asyncio.create_task(batcher.generate(request(0)))
    await asyncio.to_thread(engine.entered.acquire, timeout=10)
    return first


async def started(*requests: GenerationRequest, on: Batcher) -> list[asyncio.Task[list[Candidate]]]:
    tasks = [asyncio.create_task(on.generate(one)) for one in requests]
    await asyncio.sleep(0)  # let every task reach the queue
    return tasks


async def test_what_waits_while_the_engine_is_busy_goes_together(engine: CountingEngine, batcher: Batcher) -> None:
    first = await held(engine, batcher)
    tasks = await started(request(1), request(2), request(3), on=batcher)
    engine.go_on.set()
    answers = await asyncio.gather(first, *tasks)
    assert [answer[0].token_ids[0] for answer in answers] == [0, 1, 2, 3]
    assert engine.batches == [[0], [1, 2, 3]]
    assert engine.threads == {"engine_0"}


async def test_a_batch_holds_no_more_than_its_rows(engine: CountingEngine, batcher: Batcher) -> None:
    first = await held(engine, batcher)
    tasks = await started(request(1, 20), request(2, 12), request(3, 1), request(4, 60), on=batcher)
    engine.go_on.set()
    await asyncio.gather(first, *tasks)
    assert engine.batches == [[0], [1, 2], [3], [4]]


async def test_a_poisoned_request_fails_alone(engine: CountingEngine, batcher: Batcher) -> None:
    first = await held(engine, batcher)
    tasks = await started(request(1), request(POISON), request(2), on=batcher)
    engine.go_on.set()
    good, bad, other = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(bad, RuntimeError)
    assert isinstance(good, list)
    assert isinstance(other, list)
    assert engine.batches == [[0], [1, POISON, 2], [1], [POISON], [2]]
    await first


async def test_no_candidates_is_a_failure_of_that_request(engine: CountingEngine, batcher: Batcher) -> None:
    first = await held(engine, batcher)
    tasks = await started(request(EMPTY), request(1), on=batcher)
    engine.go_on.set()
    empty, good = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(empty, GenerationFailed)
    assert isinstance(good, list)
    await first


async def test_a_cancelled_request_is_not_computed(engine: CountingEngine, batcher: Batcher) -> None:
    first = await held(engine, batcher)
    gone, kept = await started(request(1), request(2), on=batcher)
    gone.cancel()
    await asyncio.wait([gone])
    engine.go_on.set()
    await asyncio.gather(first, kept)
    assert engine.batches == [[0], [2]]


async def test_a_caller_that_leaves_during_its_call_harms_nobody(engine: CountingEngine, batcher: Batcher) -> None:
    first = await held(engine, batcher)
    (other,) = await started(request(1), on=batcher)
    first.cancel()
    engine.go_on.set()
    assert (await other)[0].token_ids == (1,)


async def test_busy_since_tells_a_hung_call(engine: CountingEngine, batcher: Batcher) -> None:
    assert batcher.busy_since is None
    before = time.monotonic()
    first = await held(engine, batcher)
    since = batcher.busy_since
    assert since is not None
    assert before <= since <= time.monotonic()
    engine.last_step = since + 5
    assert batcher.busy_since == since + 5, "a call that computes tokens is slow, not hung"
    engine.go_on.set()
    await first
    assert batcher.busy_since is None


async def test_scores_come_from_the_engines_thread(batcher: Batcher) -> None:
    assert await batcher.score(LengthRanker(), ["a", "b"], ["12345", "1"]) == [0.25, 0.05]
    name = await batcher.run(lambda: threading.current_thread().name)
    assert name == "engine_0"


async def test_closing_fails_what_still_waits(engine: CountingEngine, batcher: Batcher) -> None:
    first = await held(engine, batcher)
    (waiting,) = await started(request(1), on=batcher)
    batcher.close()
    with pytest.raises(GenerationFailed, match="closed"):
        await waiting
    engine.go_on.set()
    await first
