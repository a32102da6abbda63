"""The configuration of a bot that runs: config.yaml is read again when it changes, and swapped as a whole.

A broken edit changes nothing but `last_error`. What only a restart can change keeps its old value. Both are
reported once per edit.
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from bot.config import Config, ConfigError, load_config
from bot.config.file import read_text

log = logging.getLogger(__name__)

RESTART_SECTIONS = ("channels", "intake", "jobs", "logs", "model", "storage", "web")
SETTLED_AFTER = timedelta(milliseconds=100)

_FileState = tuple[int, int, int, int] | None  # mtime in ns, size, inode, mode; None: there is no such file
OnChange = Callable[[Config, Config, Sequence[str]], None]
OnError = Callable[[ConfigError], None]


@dataclass(frozen=True, slots=True)
class Handover:
    """The texts of two good configurations: the one the program started with, which holds for what needs a
    restart, and the last good one, which holds for the rest. Variables in them are not expanded."""

    first: str
    last: str


class LiveConfig:
    """The last good configuration of a file.

    The first load raises ConfigError; afterwards nothing does. `on_change(old, new, restart_keys)` is called
    after a swap and also when nothing but keys that need a restart changed; `on_error(error)` once for each
    edit that cannot be used. With `handover` the file is not needed to start. `clock` is wall time in seconds, as
    file systems tell it.
    """

    def __init__(
        self,
        path: Path,
        env: Mapping[str, str] | None = None,
        *,
        handover: "Handover | None" = None,
        on_change: OnChange | None = None,
        on_error: OnError | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.last_error: ConfigError | None = None
        self._path = path
        self._watched = (path, path.parent / ".env")
        self._env = env
        self._on_change = on_change
        self._on_error = on_error
        self._clock = clock
        self._restart_keys: tuple[str, ...] = ()
        self._seen = self._states()
        self._seen_at = clock()
        if handover is None:
            self._loaded = self._seen
            text = read_text(path)
            handover = Handover(first=text, last=text)
        else:
            self._loaded = None, None  # the file is looked at after the start, and may be broken by then
        self._handover = handover
        first = load_config(path, env, text=handover.first)
        self._config = _kept(load_config(path, env, text=handover.last), first)

    def current(self) -> Config:
        """The configuration to use now. Costs a look at two files' times; reads them only after an edit that
        has settled, so a file that is being written is left alone."""
        states = self._states()
        if states != self._loaded and self._settled(states):
            self._loaded = states
            self._reload(states)
        return self._config

    @property
    def handover(self) -> "Handover":
        """What another process needs to start with the configuration that is used here."""
        return self._handover

    async def watch(self, interval: timedelta = timedelta(seconds=1)) -> None:
        """Look at the file again and again, so that an edit is taken up, and its errors told, without traffic."""
        while True:
            self.current()
            await asyncio.sleep(interval.total_seconds())

    def _states(self) -> tuple[_FileState, _FileState]:
        settings, dotenv = self._watched
        return _state(settings), _state(dotenv)

    def _settled(self, states: tuple[_FileState, _FileState]) -> bool:
        """Whether nothing was written for a while, by the files' own times or by what was seen: a time in the
        future must not keep an edit out for ever."""
        now = self._clock()
        if states != self._seen:
            self._seen, self._seen_at = states, now
        written = max(
            self._seen_at if state is None else state[0] / 1e9
            for state, loaded in zip(states, self._loaded, strict=True)
            if state != loaded
        )
        return now - min(written, self._seen_at) >= SETTLED_AFTER.total_seconds()

    def _reload(self, states: tuple[_FileState, _FileState]) -> None:
        """Load what is there. What is written meanwhile is not the whole of anything; the next look finds it."""
        try:
            text = read_text(self._path)
            fresh = load_config(self._path, self._env, text=text)
        except ConfigError as error:
            if self._states() == states:
                self._refuse(error)
            return
        if self._states() == states:
            self.last_error = None
            self._handover = Handover(first=self._handover.first, last=text)
            self._swap(fresh)

    def _refuse(self, error: ConfigError) -> None:
        self.last_error = error
        log.error(
            "config_refused",
            extra={"file": str(self._path), "revision": self._config.revision, "problems": str(error).splitlines()},
        )
        if self._on_error is not None:
            _told(self._on_error, error)

    def _swap(self, fresh: Config) -> None:
        old = self._config
        restart_keys = tuple(
            key
            for section in RESTART_SECTIONS
            for key in _changed(getattr(old, section), getattr(fresh, section), section)
        )
        new = _kept(fresh, old)
        if new == old and restart_keys == self._restart_keys:
            return
        self._config, self._restart_keys = new, restart_keys
        log.info("config_changed", extra={"revision": new.revision, "needs_restart": list(restart_keys)})
        if self._on_change is not None:
            _told(self._on_change, old, new, restart_keys)


def _kept(fresh: Config, old: Config) -> Config:
    """`fresh` with the sections of `old` that only a restart can change."""
    return fresh.replaced({section: getattr(old, section) for section in RESTART_SECTIONS})


def _state(path: Path) -> _FileState:
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_mode


def _changed(old: Any, new: Any, key: str) -> list[str]:
    """Dotted keys of what differs between two sections."""
    if old == new:
        return []
    if not isinstance(old, BaseModel):
        return [key]
    return [
        changed
        for name in type(old).model_fields
        for changed in _changed(getattr(old, name), getattr(new, name), f"{key}.{name}")
    ]


def _told(listener: Callable[..., None], *news: Any) -> None:
    """Call a listener. Its failure is its own: whoever asks for the settings must get them."""
    try:
        listener(*news)
    except Exception:
        log.exception("config_listener_failed")
