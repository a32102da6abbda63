"""One lane a channel: events of a channel are handed over in order, channels beside each other."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

log = logging.getLogger(__name__)

Job = Callable[[], Awaitable[None]]

LANE_LENGTH = 1000  # jobs that may wait; then the gateway is read no further, and Discord keeps the rest for RESUME
FIRST_RETRY_SECONDS = 0.2
LONGEST_RETRY_SECONDS = 30.0


@dataclass(slots=True)
class _Lane:
    queue: asyncio.Queue[Job]
    unfinished: int = 0  # jobs that wait, run, or whose `put` waits for room


class Lanes:
    """Queues by channel, each with a task as long as there is work.

    A job that raises is repeated with back-off before the next one starts: Discord sends nothing twice, so this
    is where an event waits while the store is out of order.
    """

    def __init__(self, length: int = LANE_LENGTH) -> None:
        self._length = length
        self._lanes: dict[str, _Lane] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def put(self, key: str, job: Job) -> None:
        """Append a job; waits while the lane is full."""
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = _Lane(asyncio.Queue(self._length))
            task = asyncio.create_task(self._run(key, lane), name=f"discord-lane-{key}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        lane.unfinished += 1
        await lane.queue.put(job)

    async def close(self) -> None:
        """Stop at once. What was not handed over is fetched from the history at the next start."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._lanes.clear()

    async def _run(self, key: str, lane: _Lane) -> None:
        while lane.unfinished:
            await until_done(await lane.queue.get())
            lane.unfinished -= 1
        del self._lanes[key]


async def until_done(job: Job) -> None:
    """Run a job until it does not raise."""
    delay = FIRST_RETRY_SECONDS
    while True:
        try:
            return await job()
        except Exception as error:
            # Only the error's type: a database error may quote the message that it could not store.
            log.warning(
                "handing_over_failed",
                extra={"platform": "discord", "error": type(error).__name__, "retry_seconds": delay},
            )
            await asyncio.sleep(delay)
            delay = min(delay * 2, LONGEST_RETRY_SECONDS)
