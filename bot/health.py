"""Is it well? One snapshot for the web page, for `banter health` and for a container's health check."""

import contextlib
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters.base import Adapter
from bot.metrics import ADAPTER_READY, CONFIG_VALID, QUEUE
from bot.reload import LiveConfig
from bot.supervisor import WorkerSupervisor
from storage import upkeep
from storage.errors import StoreError
from storage.store import Store

STALE_SECONDS = 30.0


@dataclass(slots=True, kw_only=True)
class Health:
    """Asks every part; `snapshot` is what readiness shows."""

    store: Store
    live: LiveConfig
    adapters: Sequence[Adapter]
    supervisor: WorkerSupervisor | None
    file: Path

    async def snapshot(self) -> dict[str, Any]:
        parts: dict[str, dict[str, Any]] = {}
        for adapter in self.adapters:
            status = adapter.status
            parts[adapter.platform] = {"ready": status.ready, "detail": status.detail}
            ADAPTER_READY.labels(adapter.platform).set(status.ready)
        if self.supervisor is not None:
            ready = self.supervisor.ready.is_set()
            parts["worker"] = {"ready": ready, "detail": "answering" if ready else "loading the model"}
        parts["store"] = await self._store_part()
        error = self.live.last_error
        CONFIG_VALID.set(error is None)
        return {
            "ready": all(part["ready"] for part in parts.values()),
            "at": time.time(),
            "pid": os.getpid(),
            "config_revision": self.live.current().revision,
            "config_error": None if error is None else str(error).splitlines()[0],
            "parts": parts,
        }

    async def _store_part(self) -> dict[str, Any]:
        try:
            counts = await self.store.read(upkeep.counts)
        except StoreError as error:
            return {"ready": False, "detail": str(error)}
        for state, count in {**counts.by_state, "ready": counts.ready, "dead_letters": counts.dead_letters}.items():
            QUEUE.labels(state).set(count)
        return {
            "ready": True,
            "detail": f"{counts.pending} turns waiting, {counts.ready} replies to post, {counts.dead} dead",
        }

    async def write(self) -> None:
        """Leave the snapshot where `banter health` finds it."""
        partial = self.file.with_suffix(".partial")
        with contextlib.suppress(OSError):
            partial.write_text(json.dumps(await self.snapshot()))
            partial.replace(self.file)

    def remove(self) -> None:
        with contextlib.suppress(OSError):
            self.file.unlink()


def health_file(config_path: Path) -> Path:
    """Where a running program leaves its health: one file for each configuration file."""
    name = hashlib.blake2b(str(config_path.resolve()).encode(), digest_size=8).hexdigest()
    return Path(tempfile.gettempdir()) / f"banter-{os.geteuid()}-{name}.json"


def read_health(config_path: Path) -> Mapping[str, Any] | None:
    """The last snapshot of the program that runs with this configuration; None if none does."""
    try:
        snapshot: Mapping[str, Any] = json.loads(health_file(config_path).read_text())
    except (OSError, ValueError):
        return None
    return snapshot if time.time() - float(snapshot.get("at", 0)) < STALE_SECONDS else None
