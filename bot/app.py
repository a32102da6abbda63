"""The composition root: configuration in, parts wired, one task group that owns every task, closed in reverse.

Only this module knows everybody. A second signal ends the process at once; the first one stops listening, lets the
worker finish or hand back, posts what is ready, and leaves within ten seconds.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from adapters.base import Adapter, AdapterError, Channel
from adapters.transcript import Transcript
from bot import commands, texts
from bot.config import Config, ConfigError, Problem
from bot.exits import Exit
from bot.health import Health, health_file
from bot.intake import Intake
from bot.logs import set_up_logging
from bot.post import Poster
from bot.presence import Presence
from bot.reload import LiveConfig
from bot.safety import Moderators
from bot.scheduler import Scheduler
from bot.supervisor import WorkerRefused, WorkerSupervisor
from storage import activity, listen, migrate, outbox, places, turns
from storage.errors import StoreError
from storage.files import FileLock
from storage.store import Store

log = logging.getLogger(__name__)

# With the worker's grace these stay below the ten seconds that a supervisor usually waits.
POST_GRACE = timedelta(seconds=1)
CLOSE_GRACE = timedelta(seconds=1.5)
HEALTH_INTERVAL = 5.0


def make_adapters(config: Config, only: Sequence[str] = ()) -> list[Adapter]:
    """Adapters of the platforms that are switched on and have a token (and are among `only`, if given)."""
    specs = [command.spec() for command in commands.COMMANDS.values()]
    made: list[Adapter] = []
    telegram, discord = config.channels.telegram, config.channels.discord
    wanted = [name for name in config.channels.enabled_platforms() if not only or name in only]
    if "telegram" in wanted and telegram.token is not None:
        from adapters.telegram import TelegramAdapter, WebhookSettings

        webhook = telegram.webhook
        made.append(
            TelegramAdapter(
                token=telegram.token.get_secret_value(),
                api_url=telegram.api_url,
                mode=telegram.mode,
                webhook=None
                if telegram.mode == "polling"
                else WebhookSettings(
                    url=str(webhook.url),
                    listen=webhook.listen,
                    port=webhook.port,
                    secret=webhook.secret.get_secret_value() if webhook.secret else "",
                ),
                commands=specs,
            )
        )
    if "discord" in wanted and discord.token is not None:
        from adapters.discord import DiscordAdapter

        made.append(
            DiscordAdapter(
                token=discord.token.get_secret_value(),
                api_url=discord.api_url,
                message_content=discord.message_content,
                commands=specs,
                backfill_age=config.intake.backfill.age,
                backfill_per_channel=config.intake.backfill.per_channel,
            )
        )
    return made


def prepare_store(config: Config, config_path: Path) -> Store:
    """Open the database and bring it to this program's schema. Blocks; raises StoreError."""
    store = Store.open(config.storage.url, base=config_path.resolve().parent)
    migrate.migrate(store.engines, store.where)
    return store


@dataclass(slots=True)
class App:
    """One running `banter run` or `banter chat`."""

    config_path: Path
    only: Sequence[str] = ()
    terminal: bool = False  # only the terminal, whatever tokens are set
    transcript: Transcript | None = None  # of what is said in the terminal
    live: LiveConfig = field(init=False)
    store: Store = field(init=False)
    _stop: asyncio.Event = field(init=False, default_factory=asyncio.Event)
    _exit: Exit = field(init=False, default=Exit.OK)
    _log_level: str = field(init=False, default="info")
    _listeners: list[Callable[[str], None]] = field(init=False, default_factory=list)

    async def run(self) -> Exit:
        """Until a signal, the end of the terminal's input, or a refusal that only a person can mend.
        Raises ConfigError and StoreError at start."""
        set_up_logging("warning", "console", ())  # until the configuration says how
        self.live = LiveConfig(self.config_path)
        config = self.live.current()
        adapters = [] if self.terminal else make_adapters(config, self.only)
        talks_here = self.terminal or ("terminal" in config.channels.enabled_platforms() and not self.only)
        self._log_level = (
            "warning" if talks_here and not adapters and config.logs.level == "info" else config.logs.level
        )
        set_up_logging(self._log_level, config.logs.format, config.secrets())
        self._watch_signals()
        self.store = await asyncio.to_thread(prepare_store, config, self.config_path)
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(self.store.close)
            self._lock(stack, [adapter.platform for adapter in adapters])
            await self._take_over([adapter.platform for adapter in adapters])
            if talks_here:
                if not adapters and not self.terminal:
                    print(  # noqa: T201
                        "No TELEGRAM_BOT_TOKEN or DISCORD_BOT_TOKEN is set, "
                        "so let's talk right here. (Ctrl-D ends it.)",
                        file=sys.stderr,
                    )
                adapters.append(self._terminal(config))
            await self._run_parts(config, adapters, stack)
        return self._exit

    async def _run_parts(self, config: Config, adapters: list[Adapter], stack: contextlib.AsyncExitStack) -> None:
        intake = Intake(self.store, self.live, Moderators())
        holder = f"{_host()}-{os.getpid()}"
        supervisor = None
        if not self.only or "worker" in self.only:
            supervisor = WorkerSupervisor(
                self.config_path, self.live, self.store, f"{holder}-worker", self._woken, self._log_level
            )
            self._listeners.append(lambda topic: supervisor.wake() if topic == "turns" else None)
        posters = [self._poster(adapter, holder) for adapter in adapters]
        presences = [Presence(self.store, adapter) for adapter in adapters]
        self._listeners += [_waker(poster, "outbox") for poster in posters]
        self._listeners += [_waker(presence, "turns") for presence in presences]
        loop = asyncio.get_running_loop()
        self.store.on_commit(lambda topic: loop.call_soon_threadsafe(self._woken, topic))
        health = Health(
            store=self.store,
            live=self.live,
            adapters=adapters,
            supervisor=supervisor,
            file=health_file(self.config_path),
        )
        scheduler = Scheduler(self.store, self.live, holder, intake.save_seen)
        await self._serve_web(config, health, stack)
        async with asyncio.TaskGroup() as group:
            background = [
                group.create_task(self.live.watch(), name="config"),
                group.create_task(listen.listen(self.store, self._woken), name="notifications"),
                group.create_task(scheduler.run(), name="scheduler"),
                group.create_task(_write_health(health), name="health"),
            ]
            working = group.create_task(self._supervise(supervisor), name="worker") if supervisor else None
            background += [group.create_task(poster.run(), name="poster") for poster in posters]
            background += [group.create_task(presence.run(), name="presence") for presence in presences]
            listening = [
                group.create_task(self._listen(adapter, intake), name=adapter.platform) for adapter in adapters
            ]
            group.create_task(self._end_with(listening), name="end")
            await self._stop.wait()
            log.info("stopping")
            await _cancel(listening)
            if supervisor is not None:
                await supervisor.stop()
            await self._post_what_is_ready(posters, adapters)
            with contextlib.suppress(StoreError):
                await intake.save_seen()
                await scheduler.resign()
            await _close(adapters)
            await _cancel([*background, *([working] if working else [])])
            health.remove()

    async def _listen(self, adapter: Adapter, intake: Intake) -> None:
        try:
            await adapter.listen(intake)
        except AdapterError as error:
            log.critical("adapter_stopped", extra={"platform": adapter.platform, "reason": str(error)})
            print(f"{adapter.platform}: {error}", file=sys.stderr)  # noqa: T201
            self._exit = Exit.PLATFORM

    async def _end_with(self, listening: Sequence["asyncio.Task[None]"]) -> None:
        """Nobody is left to listen to: the terminal's input ended, or every platform refused us."""
        if listening:
            await asyncio.wait(listening)
            self._stop.set()

    async def _supervise(self, supervisor: WorkerSupervisor) -> None:
        try:
            await supervisor.run()
        except WorkerRefused as error:
            self._exit = Exit(error.exit_code)
            self._stop.set()

    async def _post_what_is_ready(self, posters: Sequence[Poster], adapters: Sequence[Adapter]) -> None:
        """The worker's last replies have just been committed: give them a moment to leave."""
        with contextlib.suppress(TimeoutError, StoreError):
            async with asyncio.timeout(POST_GRACE.total_seconds()):
                for adapter in adapters:
                    while await self.store.read(outbox.next_due, adapter.platform) == 0.0:
                        await asyncio.sleep(0.05)
        for poster in posters:
            await poster.drain(POST_GRACE)

    def _poster(self, adapter: Adapter, holder: str) -> Poster:
        from adapters.terminal import TerminalAdapter

        own = [adapter.channel.address] if isinstance(adapter, TerminalAdapter) else None
        return Poster(
            self.store,
            adapter,
            f"{holder}-poster",
            at_most_once=lambda: self.live.current().delivery == "at_most_once",
            addresses=own,
        )

    def _terminal(self, config: Config) -> Adapter:
        from adapters.terminal import TerminalAdapter

        file = self.store.sqlite_file
        return TerminalAdapter(
            bot_name=config.bot.name,
            history_file=file.parent / "terminal_history" if file is not None else None,
            settled=self._settled,
            transcript=self.transcript,
        )

    async def _settled(self, channel: Channel) -> None:
        while not await self.store.read(activity.is_settled, channel.platform, channel.address):
            await asyncio.sleep(0.02)

    def _lock(self, stack: contextlib.AsyncExitStack, platforms: Sequence[str]) -> None:
        """On SQLite one process serves a platform: two would answer everything twice."""
        if self.store.sqlite_file is None:
            return
        for platform in platforms:
            lock = FileLock(self.store.sqlite_file, platform)
            lock.acquire()
            stack.callback(lock.release)

    async def _take_over(self, platforms: Sequence[str]) -> None:
        """On SQLite we hold these platforms' locks: whoever was posting there before us is dead, and a worker dies
        with the process that started it. What they held need not wait until its lease runs out. (A terminal has
        no lock, and another one may be posting.)"""
        if self.store.sqlite_file is None:
            return
        for platform in platforms:
            await self.store.write(outbox.return_leases_of, platform, "")
            await self.store.write(places.mark_all_back, platform)
        for holder in await self.store.read(activity.turn_holders):
            if holder == f"{_host()}-{os.getpid()}-worker" or _is_dead(holder):
                await self.store.write(turns.return_leases_of, holder, texts.FAILED)

    async def _serve_web(self, config: Config, health: Health, stack: contextlib.AsyncExitStack) -> None:
        if not config.web.enabled:
            return
        from bot.web.server import WebServer

        token = config.web.token.get_secret_value() if config.web.token else None
        host, _, port = config.web.listen.rpartition(":")
        server = WebServer(health, host.strip("[]"), int(port), token)
        try:
            await server.start()
        except OSError as error:
            problem = f"{config.web.listen} cannot be listened on: {error.strerror}; choose another address"
            raise ConfigError(
                [Problem(file=str(self.config_path), line=None, key="web.listen", message=problem)]
            ) from None
        stack.push_async_callback(server.close)
        log.info("web_listening", extra={"listen": config.web.listen})

    def _woken(self, topic: str) -> None:
        for listener in self._listeners:
            listener(topic)

    def _watch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, self._signalled)

    def _signalled(self) -> None:
        if self._stop.is_set():
            os._exit(Exit.INTERRUPTED)  # asked twice: leave now; leases and the outbox make it whole again
        self._stop.set()


def _waker(part: Poster | Presence, topic: str) -> Callable[[str], None]:
    return lambda woken: part.wake() if woken == topic else None


def _host() -> str:
    return socket.gethostname()[:24]


def _is_dead(holder: str) -> bool:
    """Whether the process that `holder` names ran on this machine and is gone."""
    host, _, rest = holder.rpartition("-worker")[0].rpartition("-")
    if host != _host() or not rest.isdigit():
        return False
    try:
        os.kill(int(rest), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


async def _write_health(health: Health) -> None:
    while True:
        await health.write()
        await asyncio.sleep(HEALTH_INTERVAL)


async def _close(adapters: Sequence[Adapter]) -> None:
    """Say good-bye to the platforms; one that hangs is left."""
    closing = [asyncio.create_task(adapter.close(), name=f"close-{adapter.platform}") for adapter in adapters]
    if closing:
        await asyncio.wait(closing, timeout=CLOSE_GRACE.total_seconds())
        await _cancel(closing)


async def _cancel(tasks: Sequence["asyncio.Task[None]"]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
