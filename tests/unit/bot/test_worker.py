"""The worker with a real store and a model that does what a test tells it."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import pytest

from bot import worker as worker_module
from bot.config import ChannelSettings, RankerHead
from bot.context import Context
from bot.generator.candidates import Candidate, GenerationRequest
from bot.intake import Intake
from bot.reload import LiveConfig
from bot.worker import LEASE, Pace, Worker
from storage import turns
from storage.errors import StoreUnavailable
from storage.store import Store
from storage.transaction import Transaction
from tests.unit.bot.conftest import Clock, People

P = ParamSpec("P")
T = TypeVar("T")


@dataclass
class Model:
    """Answers everything at once, unless the text holds `poison` (it raises) or `slow` (it waits for `go_on`)."""

    revision: str = "test"
    one_line: bool = True
    busy_since: float | None = None
    ranker_revisions: Mapping[str, str] = field(default_factory=dict)
    encoded: list[str] = field(default_factory=list)
    together: list[set[str]] = field(default_factory=list)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    entered: asyncio.Event = field(default_factory=asyncio.Event)
    working: set[str] = field(default_factory=set)

    @property
    def generator(self) -> "Model":
        return self

    @property
    def batcher(self) -> "Model":
        return self

    def settled(self, settings: ChannelSettings) -> ChannelSettings:
        return settings

    def encode(self, context: Context, settings: ChannelSettings) -> tuple[int, ...]:
        self.encoded.append(context.said)
        return (len(self.encoded) - 1,)

    async def generate(self, request: GenerationRequest) -> Sequence[Candidate]:
        said = self.encoded[request.input_ids[0]]
        self.working.add(said)
        self.together.append(set(self.working))
        self.entered.set()
        try:
            if "slow" in said:
                await self.go_on.wait()
            await asyncio.sleep(0)
            if "poison" in said:
                raise RuntimeError("the model cannot bear this")
            return [Candidate(token_ids=(1, 2), text=f"You said: well, {said}", log_prob=-1.0, finished=True)]
        finally:
            self.working.discard(said)

    async def score(self, head: RankerHead, turns: Sequence[str], replies: Sequence[str]) -> Sequence[float] | None:
        return [0.5] * len(replies)


class Moody(Store):
    """A store whose next writes of some function fail as they do while a database is away."""

    failing: dict[Callable[..., Any], int]

    async def write(self, statement: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        if self.failing.get(statement, 0) > 0:
            self.failing[statement] -= 1
            raise StoreUnavailable("the database is away")
        return await super().write(statement, *args, **kwargs)


@pytest.fixture
async def worker_store(store: Store, clock: Clock) -> AsyncIterator[Moody]:
    """The same database as another process sees it."""
    opened = Moody.open(f"sqlite:///{store.sqlite_file}", clock=clock)
    opened.failing = {}
    yield opened
    await opened.close()


@pytest.fixture
def model() -> Model:
    return Model()


@asynccontextmanager
async def working(store: Store, folder: Path, model: Model) -> AsyncIterator[Worker]:
    path = folder / "config.yaml"
    path.write_text(json.dumps({"triggers": {"quiet_time": "0s"}}))
    worker = Worker(store, LiveConfig(path, env={}), model, "worker")  # type: ignore[arg-type]
    running = asyncio.create_task(worker.run())
    yield worker
    worker.stop()
    await running


@pytest.fixture
def say(make_intake: Callable[..., Intake], people: People) -> Callable[..., Any]:
    intake = make_intake(triggers={"quiet_time": "0s"}, limits={"user": "100/min"})

    async def say(text: str, user: str = "ann") -> None:
        await intake.message(people.message(text, user=user))

    return say


def rows(store: Store, query: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(str(store.sqlite_file)) as connection:
        return connection.execute(query).fetchall()


def states(store: Store) -> list[str]:
    return [state for (state,) in rows(store, "select state from turns order by id")]


async def until(condition: Callable[[], bool], worker: Worker, clock: Clock | None = None) -> None:
    """Wait for a condition; the store's clock runs ahead meanwhile, so that back-offs end."""
    async with asyncio.timeout(20):
        while not condition():
            if clock is not None:
                clock.advance(seconds=0.25)
            worker.wake()
            await asyncio.sleep(0.01)


async def test_a_batch_with_a_poisoned_turn_answers_the_rest(
    store: Store, worker_store: Moody, say: Any, model: Model, tmp_path: Path
) -> None:
    for user in ("ann", "bob", "cat"):
        await say("poison please" if user == "bob" else "good morning", user)
    async with working(worker_store, tmp_path, model) as worker:
        await until(lambda: states(store).count("replied") == 2, worker)
        await until(lambda: states(store) == ["replied", "pending", "replied"], worker)
    assert rows(store, "select attempts, reason from turns where state = 'pending'") == [
        (1, "RuntimeError: the model cannot bear this")
    ]


async def test_a_poisoned_turn_is_tried_again_alone_and_then_given_up(
    store: Store, worker_store: Moody, say: Any, model: Model, clock: Clock, tmp_path: Path
) -> None:
    async with working(worker_store, tmp_path, model) as worker:
        for number in range(3):  # it learns that the model is quick, and takes several turns at once
            await say("hello", f"early{number}")
            await until(lambda number=number: states(store) == ["replied"] * (number + 1), worker)
        await say("poison please", "bob")
        await until(lambda: rows(store, "select attempts from turns where author_id = 'bob'") == [(1,)], worker)
        for number in range(6):
            await say(f"slow down, number {number}", f"user{number}")
        await until(lambda: len(model.working) > 1, worker)
        clock.advance(seconds=2)
        model.go_on.set()
        await until(lambda: states(store) == ["replied"] * 3 + ["dead"] + ["replied"] * 6, worker, clock)
    tries = [together for together in model.together if "poison please" in together]
    assert tries == [{"poison please"}] * 3
    assert rows(store, "select count(*) from replies where kind = 'notice'") == [(1,)]


async def test_stopping_finishes_what_is_in_work(
    store: Store, worker_store: Moody, say: Any, model: Model, tmp_path: Path
) -> None:
    await say("slow down")
    async with working(worker_store, tmp_path, model) as worker:
        await model.entered.wait()
        worker.stop()
        model.go_on.set()
    assert states(store) == ["replied"]


async def test_stopping_hands_back_what_cannot_be_finished(
    store: Store, worker_store: Moody, say: Any, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "GRACE", timedelta(milliseconds=50))
    await say("slow down")
    async with working(worker_store, tmp_path, model):
        await model.entered.wait()
    assert rows(store, "select state, attempts, lease_token from turns") == [("pending", 0, None)]


async def test_the_result_of_a_lost_lease_is_dropped(
    store: Store, worker_store: Moody, say: Any, model: Model, clock: Clock, tmp_path: Path
) -> None:
    await say("slow down")
    async with working(worker_store, tmp_path, model) as worker:
        await model.entered.wait()
        assert await store.write(turns.return_leases_of, "worker", "sorry") == 1
        clock.advance(seconds=5)
        worker.stop()
        (other,) = (await store.write(turns.lease_turns, "other", 1, LEASE, idle=True, apology="sorry")).turns
        model.go_on.set()
    assert rows(store, "select state, lease_holder from turns") == [("leased", "other")]
    assert rows(store, "select count(*) from replies") == [(0,)]
    assert other.attempt == 2


async def test_a_store_that_is_away_while_a_reply_is_committed_costs_no_second_generation(
    store: Store, worker_store: Moody, say: Any, model: Model, tmp_path: Path
) -> None:
    worker_store.failing[turns.finish_turn] = 3
    await say("good morning")
    async with working(worker_store, tmp_path, model) as worker:
        await until(lambda: states(store) == ["replied"], worker)
    assert worker_store.failing[turns.finish_turn] == 0
    assert len(model.encoded) == 1


async def test_a_store_that_is_away_while_turns_are_leased_is_asked_again(
    store: Store, worker_store: Moody, say: Any, model: Model, tmp_path: Path
) -> None:
    worker_store.failing[turns.lease_turns] = 2
    await say("good morning")
    async with working(worker_store, tmp_path, model) as worker:
        await until(lambda: states(store) == ["replied"], worker)


def test_the_pace_grows_while_the_model_is_fast_and_shrinks_when_it_is_slow() -> None:
    pace, limit = Pace(), timedelta(seconds=30)
    first = pace.room(limit)
    assert pace.room(limit) == first  # no news
    for _ in range(10):
        pace.note(0.1)
        fast = pace.room(limit)
    assert fast == Pace.LIMIT
    pace.note(3.0)
    assert pace.room(limit) == fast  # just right
    pace.note(20.0)
    assert pace.room(limit) == fast // 2
    for _ in range(10):
        pace.note(20.0)
        slow = pace.room(limit)
    assert slow == 1
