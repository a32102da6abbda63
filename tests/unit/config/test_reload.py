"""Editing config.yaml while the bot runs: a good edit is taken up whole, a bad one changes nothing."""

import asyncio
import contextlib
import os
import random
import shutil
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from bot.config import Config, ConfigError
from bot.reload import LiveConfig


class Bench:
    """A config file under a clock of its own, and what its listeners were told."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "config.yaml"
        self.now = 1_800_000_000.0
        self.changes: list[tuple[Config, Config, Sequence[str]]] = []
        self.errors: list[ConfigError] = []
        self.write("history: {turns: 1}")
        self.now += 60
        self.live = self.new()

    def new(self) -> LiveConfig:
        return LiveConfig(
            self.path,
            {},
            on_change=lambda *change: self.changes.append(change),
            on_error=self.errors.append,
            clock=lambda: self.now,
        )

    def write(self, text: str, path: Path | None = None) -> None:
        target = path or self.path
        target.write_text(text, encoding="utf-8")
        os.utime(target, (self.now, self.now))

    def edit(self, text: str) -> Config:
        """Write, wait until it has settled, and look."""
        self.write(text)
        self.live.current()
        self.now += 1
        return self.live.current()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_an_edit_is_taken_up_as_a_whole_and_told_once(bench: Bench) -> None:
    old = bench.live.current()
    new = bench.edit("history: {turns: 2}\nlimits: {user: 1/s}")
    assert (new.history.turns, new.limits.user.count) == (2, 1)
    assert new.revision != old.revision
    assert bench.live.current() is new
    assert bench.changes == [(old, new, ())]


def test_a_file_just_written_is_left_alone_until_it_settles(bench: Bench) -> None:
    bench.write("history: {turns: 2}")
    bench.now += 0.05
    assert bench.live.current().history.turns == 1
    bench.now += 0.06
    assert bench.live.current().history.turns == 2


def test_a_time_in_the_future_keeps_no_edit_out(bench: Bench) -> None:
    bench.write("history: {turns: 2}")
    os.utime(bench.path, (bench.now + 9999, bench.now + 9999))
    assert bench.live.current().history.turns == 1
    bench.now += 0.2
    assert bench.live.current().history.turns == 2


def test_a_broken_edit_changes_nothing_but_a_visible_error(bench: Bench) -> None:
    before = bench.live.current()
    assert bench.edit("history: {turns: many}") is before
    assert bench.live.current() is before
    assert len(bench.errors) == 1
    assert bench.live.last_error is bench.errors[0]
    assert "history.turns" in str(bench.live.last_error)
    assert bench.changes == []


def test_each_broken_edit_is_told_once_and_a_good_one_ends_it(bench: Bench) -> None:
    for text in ("a: 1", "b: 1", "a: 1"):
        bench.edit(text)
        bench.live.current()
    assert len(bench.errors) == 3
    assert bench.edit("history: {turns: 5}").history.turns == 5
    assert bench.live.last_error is None


def test_touching_the_file_tells_nobody_of_a_change(bench: Bench) -> None:
    before = bench.live.current()
    assert bench.edit("history: {turns: 1}  # a remark") == before
    assert bench.changes == []
    assert bench.errors == []


def test_keys_that_need_a_restart_keep_their_value_and_are_named(bench: Bench) -> None:
    new = bench.edit(
        "history: {turns: 2}\n"
        "model: {checkpoint: other, dtype: float32}\n"
        "channels: {telegram: {api_url: 'http://127.0.0.1:1'}}\n"
        "logs: {level: debug}\n"
        "jobs: {backup: off}"
    )
    assert new.history.turns == 2
    assert new.model.checkpoint == "starter"
    assert new.logs.level == "info"
    ((_, _, keys),) = bench.changes
    assert set(keys) == {
        "model.checkpoint",
        "model.dtype",
        "channels.telegram.api_url",
        "logs.level",
        "jobs.backup",
    }
    assert bench.new().current().model.checkpoint == "other"  # the next start takes it


def test_an_edit_of_nothing_but_restart_keys_is_told_too(bench: Bench) -> None:
    before = bench.live.current()
    after = bench.edit("history: {turns: 1}\nmodel: {checkpoint: other}")
    assert after == before
    assert after.revision == before.revision
    assert [keys for _, _, keys in bench.changes] == [("model.checkpoint",)]


def test_a_deleted_file_keeps_the_last_good_settings(bench: Bench) -> None:
    before = bench.live.current()
    bench.path.unlink()
    assert bench.live.current() is before
    assert bench.errors == []  # an editor may be about to put the new one in its place
    bench.now += 1
    assert bench.live.current() is before
    assert bench.live.current() is before
    assert [str(error).rpartition(": ")[2] for error in bench.errors] == ["there is no such file"]
    assert bench.edit("history: {turns: 3}").history.turns == 3


def test_a_folder_in_its_place_is_an_error_and_its_return_an_edit(bench: Bench) -> None:
    before = bench.live.current()
    bench.path.unlink()
    bench.path.mkdir()
    os.utime(bench.path, (bench.now, bench.now))
    bench.now += 1
    assert bench.live.current() is before
    assert "is a folder" in str(bench.live.last_error)
    bench.path.rmdir()
    assert bench.edit("history: {turns: 3}").history.turns == 3


def test_a_swapped_symlink_is_an_edit(bench: Bench, tmp_path: Path) -> None:
    """Kubernetes and careful editors replace the link, not the file."""
    other = tmp_path / "other.yaml"
    bench.write("history: {turns: 9}", other)
    link = tmp_path / "link"
    link.symlink_to(other)
    link.rename(bench.path)
    bench.now += 1
    assert bench.live.current().history.turns == 9


def test_a_file_replaced_by_an_older_one_of_the_same_size_is_an_edit(bench: Bench, tmp_path: Path) -> None:
    older = tmp_path / "older"
    bench.write("history: {turns: 4}", older)
    os.utime(older, (1, 1))
    shutil.move(older, bench.path)
    assert bench.live.current().history.turns == 4


def test_an_edit_of_dotenv_is_an_edit(bench: Bench, tmp_path: Path) -> None:
    assert bench.edit("bot: {name: '${NAME:-nobody}'}").bot.name == "nobody"
    dotenv = tmp_path / ".env"
    bench.write("NAME=Rosie", dotenv)
    dotenv.chmod(0o600)
    bench.live.current()
    bench.now += 1
    assert bench.live.current().bot.name == "Rosie"


def test_a_hundred_edits_a_second_are_waited_out(bench: Bench) -> None:
    draw = random.Random(0)
    texts = ["history: {turns: 2", "history: {turns: 3}", "", "\0", "history: {turns: x}", "limits: {user: 1/s}"]
    for _ in range(100):
        bench.write(draw.choice(texts))
        bench.now += 0.01
        assert bench.live.current().history.turns == 1
    assert bench.errors == []
    assert bench.edit("history: {turns: 7}").history.turns == 7


def test_anything_at_all_in_the_file_raises_nothing(bench: Bench) -> None:
    draw = random.Random(1)
    shipped = (Path(__file__).parents[3] / "config.yaml").read_bytes()
    for _ in range(60):
        start, end = sorted((draw.randrange(len(shipped)), draw.randrange(len(shipped))))
        bench.path.write_bytes(draw.choice([shipped[:end], shipped[start:], shipped[:start] + shipped[end:]]))
        os.utime(bench.path, (bench.now, bench.now))
        bench.now += 1
        assert isinstance(bench.live.current(), Config)


def test_a_listener_that_fails_does_not_keep_the_settings_back(bench: Bench) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("listener")

    live = LiveConfig(bench.path, {}, on_change=fail, on_error=fail, clock=lambda: bench.now)
    bench.write("history: {turns: 2}")
    bench.now += 1
    assert live.current().history.turns == 2
    bench.write("history: {turns: -2}")
    bench.now += 1
    assert live.current().history.turns == 2


def test_the_first_load_raises(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such file"):
        LiveConfig(tmp_path / "config.yaml", {})


async def test_watching_finds_an_error_without_traffic(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.touch()
    told = asyncio.Event()
    live = LiveConfig(path, {}, on_error=lambda _: told.set())
    watcher = asyncio.create_task(live.watch(timedelta(milliseconds=5)))
    path.write_text("histroy: {}")
    await asyncio.wait_for(told.wait(), timeout=10)
    watcher.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watcher
    assert 'did you mean "history"?' in str(live.last_error)
