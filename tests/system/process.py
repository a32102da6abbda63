"""The whole program as a process, for tests that start it, break it, and start it again."""

import asyncio
import json
import os
import signal
import sqlite3
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

REPOSITORY = Path(__file__).parents[2]
FAULTS = Path(__file__).parent / "faults"


class BanterProcess:
    """`async with BanterProcess(folder, settings) as bot:` runs `banter run` with that configuration.

    `settings` is the mapping of config.yaml; it is written as JSON, which is YAML too. What the process prints is kept
    in `log` beside it. Leaving the block kills what still runs.
    """

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, Any],
        *,
        environment: Mapping[str, str] | None = None,
        arguments: tuple[str, ...] = ("run",),
    ) -> None:
        self.folder = folder
        self.config = folder / "config.yaml"
        self.log = folder / "banter.log"
        self.settings = dict(settings)
        self._environment = dict(environment or {})
        self._arguments = arguments
        self._process: asyncio.subprocess.Process | None = None
        self.configure(settings)

    def configure(self, settings: Mapping[str, Any]) -> None:
        """Replace config.yaml in one step, as an editor does."""
        self.settings = dict(settings)
        partial = self.config.with_suffix(".partial")
        partial.write_text(json.dumps(self.settings, indent=1))
        partial.replace(self.config)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def printed(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    @property
    def database(self) -> Path:
        return self.folder / "data" / "banter.db"

    def events(self, name: str) -> list[dict[str, Any]]:
        """The log's lines of one event."""
        found = []
        for line in self.printed.splitlines():
            if line.startswith("{"):
                entry = json.loads(line)
                if entry.get("event") == name:
                    found.append(entry)
        return found

    async def start(self, **environment: str) -> None:
        inherited = {key: value for key, value in os.environ.items() if not key.endswith("_BOT_TOKEN")}
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "bot",
                "--config",
                str(self.config),
                *self._arguments,
                cwd=REPOSITORY,
                env={**inherited, "PYTHONUNBUFFERED": "1", **self._environment, **environment},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    async def wait(self, within: float = 30.0) -> int:
        """The exit code."""
        assert self._process is not None
        async with asyncio.timeout(within):
            return await self._process.wait()

    async def kill(self) -> None:
        if self.running:
            self.signal(signal.SIGKILL)
            await self.wait()

    async def stop(self, within: float = 15.0) -> int:
        self.signal(signal.SIGTERM)
        return await self.wait(within)

    async def restart(self, **environment: str) -> None:
        await self.kill()
        await self.start(**environment)

    async def wait_for_event(self, name: str, count: int = 1, within: float = 40.0) -> dict[str, Any]:
        """The log line of the `count`-th such event."""
        async with asyncio.timeout(within):
            while len(self.events(name)) < count:
                assert self.running, f"it ended with {self._process and self._process.returncode}:\n{self.printed}"
                await asyncio.sleep(0.05)
        return self.events(name)[count - 1]

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Look into the SQLite database."""
        with sqlite3.connect(f"file:{self.database}?mode=ro", uri=True) as connection:
            return connection.execute(query).fetchall()

    async def wait_for_rows(self, query: str, expected: list[tuple[Any, ...]], within: float = 20.0) -> None:
        """A post is seen a moment before it is noted. Fails with what the database says at the end."""
        try:
            async with asyncio.timeout(within):
                while self.rows(query) != expected:
                    await asyncio.sleep(0.05)
        except TimeoutError:
            assert self.rows(query) == expected

    def workers(self) -> list[int]:
        """Process ids of the worker children that are alive."""
        return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]


def telegram_settings(url: str, token: str, **more: Any) -> dict[str, Any]:
    """A configuration for quick tests on Telegram: no quiet time, logs as JSON."""
    return settings(channels={"telegram": {"token": token, "api_url": url}}, **more)


def discord_settings(url: str, token: str, **more: Any) -> dict[str, Any]:
    return settings(channels={"discord": {"token": token, "api_url": url}}, **more)


def settings(**more: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "version": 1,
        "triggers": {"quiet_time": "0s"},
        "limits": {"user": "1000/min", "channel": "1000/min", "queue_per_channel": 50},
        "decoding": {"default": {"candidates": 4, "max_new_tokens": 16}},
        "storage": {"url": "sqlite:///data/banter.db"},
        "logs": {"format": "json"},
    }
    return _merged(base, more)


def _merged(base: dict[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in more.items():
        current = result.get(key)
        result[key] = _merged(current, value) if isinstance(current, dict) and isinstance(value, Mapping) else value
    return result
