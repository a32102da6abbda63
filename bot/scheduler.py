"""Work that time asks for: retention, forgetting silent conversations, dead leases, backups. One process leads.

APScheduler keeps the times; each job is one function of the store. Jobs are quick, idempotent, and skipped by
processes that do not lead.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.cron import CronTrigger

from bot import texts
from bot.reload import LiveConfig
from storage import files, outbox, places, turns, upkeep
from storage.errors import StoreError
from storage.store import Store, utc_now

log = logging.getLogger(__name__)

LEADERSHIP = "scheduler"
LEADER_LEASE = timedelta(seconds=30)


class Scheduler:
    """Starts with `run`; leads when no other process does."""

    def __init__(self, store: Store, live: LiveConfig, holder: str, save_seen: Callable[[], Awaitable[None]]) -> None:
        self._store = store
        self._live = live
        self._holder = holder
        self._save_seen = save_seen
        self.leads = False

    async def run(self) -> None:
        """Until cancelled."""
        jobs = self._live.current().jobs
        scheduler = AsyncIOScheduler(
            timezone="UTC", job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
        )
        scheduler.add_job(self._lead, "interval", seconds=10, next_run_time=utc_now())
        scheduler.add_job(self._own(self._save_seen), "interval", seconds=5)
        scheduler.add_job(self._led(self._return_leases), "interval", seconds=5)
        scheduler.add_job(self._led(self._close_silent), "interval", minutes=10)
        if jobs.retention != "off":
            scheduler.add_job(self._led(self._retention), CronTrigger.from_crontab(jobs.retention, timezone="UTC"))
        if jobs.backup != "off" and self._store.sqlite_file is not None:
            scheduler.add_job(self._led(self._back_up), CronTrigger.from_crontab(jobs.backup, timezone="UTC"))
        scheduler.start()
        try:
            await asyncio.Event().wait()
        finally:
            scheduler.shutdown(wait=False)

    async def resign(self) -> None:
        """Let another process lead at once."""
        if self.leads:
            await self._store.write(upkeep.resign_leadership, LEADERSHIP, self._holder)

    def _own(self, job: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
        async def guarded() -> None:
            try:
                await job()
            except StoreError as error:
                log.warning("job_failed", extra={"job": getattr(job, "__name__", "job"), "error": str(error)})

        return guarded

    def _led(self, job: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
        async def when_leading() -> None:
            if self.leads:
                await job()

        when_leading.__name__ = job.__name__
        return self._own(when_leading)

    async def _lead(self) -> None:
        try:
            self.leads = await self._store.write(upkeep.acquire_leadership, LEADERSHIP, self._holder, LEADER_LEASE)
        except StoreError:
            self.leads = False

    async def _return_leases(self) -> None:
        await self._store.write(turns.return_expired_leases, texts.FAILED)
        await self._store.write(outbox.return_expired_leases)

    async def _close_silent(self) -> None:
        await self._store.write(places.close_silent_conversations, self._live.current().history.forget_after)

    async def _retention(self) -> None:
        age = self._live.current().privacy.retention
        erased = await self._store.write(upkeep.delete_older_than, age)
        if self._store.sqlite_file is not None:
            await asyncio.to_thread(files.scrub, self._store.sqlite_file)
        log.info("retention_done", extra={"messages": erased, "older_than_days": age.days})

    async def _back_up(self) -> None:
        file = self._store.sqlite_file
        if file is not None:
            copy: Path = await asyncio.to_thread(
                files.back_up, file, file.parent / "backups", utc_now(), self._live.current().jobs.keep_backups
            )
            log.info("backup_made", extra={"file": str(copy)})
