"""Keeps one worker process alive beside the adapters, which import no torch and never wait for it."""

import asyncio
import contextlib
import json
import logging
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

from bot import texts
from bot.exits import Exit
from bot.metrics import WORKER_RESTARTS
from bot.reload import LiveConfig
from bot.wake import WakePipe
from storage import turns
from storage.errors import StoreError
from storage.store import Store

log = logging.getLogger(__name__)

GRACE = timedelta(seconds=6)  # a second more than the worker gives what it has in work
MAX_BACKOFF = 30.0
_LASTED = 60.0  # a worker that ran this long was well: the next restart is immediate


class WorkerRefused(Exception):
    """The worker could not start at all and has said why; `exit_code` is what it ended with."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(f"the worker ended with code {exit_code}")
        self.exit_code = exit_code


class WorkerSupervisor:
    """Starts the worker, starts it again when it dies, returns its leases at once."""

    def __init__(
        self,
        config_path: Path,
        live: LiveConfig,
        store: Store,
        holder: str,
        on_topic: Callable[[str], None],
        log_level: str,
    ) -> None:
        self._config_path = config_path
        self._live = live
        self._log_level = log_level
        self._store = store
        self._holder = holder
        self._on_topic = on_topic
        self._pipe: WakePipe | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = False
        self.ready = asyncio.Event()

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def wake(self) -> None:
        """Turns may wait. Safe from any thread."""
        if self._pipe is not None:
            self._pipe.send("turns")

    async def run(self) -> None:
        """Until `stop`. Raises WorkerRefused when the very first start fails for a reason only a person can mend."""
        backoff = 0.5
        ever_ready = False
        while not self._stopping:
            began = asyncio.get_running_loop().time()
            code = await self._run_once()
            ever_ready = ever_ready or self.ready.is_set()
            self.ready.clear()
            if self._stopping:
                return
            if not ever_ready and code in (Exit.CONFIG, Exit.STORE):
                raise WorkerRefused(code)
            await self._return_leases()
            if asyncio.get_running_loop().time() - began > _LASTED:
                backoff = 0.5
            WORKER_RESTARTS.inc()
            log.error("worker_ended", extra={"code": code, "restart_in_seconds": backoff})
            await asyncio.sleep(backoff)
            backoff = min(2 * backoff, MAX_BACKOFF)

    async def stop(self) -> None:
        """Ask the worker to finish or hand back, then make sure that it is gone."""
        self._stopping = True
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(GRACE.total_seconds()):
                await process.wait()
        except TimeoutError:
            log.error("worker_killed", extra={"pid": process.pid})
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _run_once(self) -> int:
        pipe, theirs = WakePipe.pair()
        lifeline_read, lifeline_write = os.pipe()
        try:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "bot.worker",
                "--config",
                str(self._config_path),
                "--holder",
                self._holder,
                "--log-level",
                self._log_level,
                "--wake",
                str(theirs.fileno()),
                "--lifeline",
                str(lifeline_read),
                stdin=asyncio.subprocess.PIPE,
                pass_fds=(theirs.fileno(), lifeline_read),
                start_new_session=True,  # Ctrl-C is ours to pass on, once what can be finished is finished
            )
            theirs.close()
            self._pipe = pipe
            await self._hand_over(self._process)
            listener = asyncio.create_task(pipe.listen(self._heard), name="worker-pipe")
            try:
                return await self._process.wait()
            finally:
                listener.cancel()
        finally:
            self._pipe = None
            theirs.close()
            pipe.close()
            os.close(lifeline_read)
            os.close(lifeline_write)

    async def _hand_over(self, process: asyncio.subprocess.Process) -> None:
        """Give the worker the configuration that is used here: the file may be broken just now."""
        assert process.stdin is not None
        with contextlib.suppress(ConnectionError):  # it ended already, and `wait` tells with which code
            process.stdin.write(json.dumps(asdict(self._live.handover)).encode())
            await process.stdin.drain()
        process.stdin.close()

    def _heard(self, topic: str) -> None:
        if topic == "ready":
            self.ready.set()
        else:
            self._on_topic(topic)

    async def _return_leases(self) -> None:
        with contextlib.suppress(StoreError):  # else they run out
            returned = await self._store.write(turns.return_leases_of, self._holder, texts.FAILED)
            if returned:
                log.warning("leases_returned", extra={"count": returned})
