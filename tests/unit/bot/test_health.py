"""What an operator can ask a running program: is it alive, is it ready, how deep are the queues."""

import os
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from adapters.base import AdapterStatus
from bot.health import Health, health_file, read_health
from bot.reload import LiveConfig
from bot.web.server import WebServer
from storage.store import Store


@dataclass
class Heard:
    """As much of an adapter as readiness looks at."""

    platform: str = "telegram"
    ready: bool = True
    detail: str = "connected"
    typing_interval = timedelta(seconds=4)

    @property
    def status(self) -> AdapterStatus:
        return AdapterStatus(ready=self.ready, detail=self.detail)


@pytest.fixture
def adapter() -> Heard:
    return Heard()


@pytest.fixture
def health(tmp_path: Path, store: Store, adapter: Heard) -> Health:
    config = tmp_path / "config.yaml"
    config.write_text("{}")
    parts: Any = [adapter]
    return Health(
        store=store, live=LiveConfig(config, env={}), adapters=parts, supervisor=None, file=health_file(config)
    )


@pytest.fixture
async def url(health: Health, request: pytest.FixtureRequest) -> AsyncIterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = WebServer(health, "127.0.0.1", port, getattr(request, "param", None))
    await server.start()
    yield f"http://127.0.0.1:{port}"
    await server.close()


async def get(url: str, **headers: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as answer:
        return answer.status, await answer.text()


async def test_ready_while_every_part_is(url: str) -> None:
    status, body = await get(f"{url}/readyz")
    assert status == 200
    assert '"telegram"' in body


async def test_not_ready_says_which_part_and_why(url: str, adapter: Heard) -> None:
    adapter.ready, adapter.detail = False, "no successful poll for 70 s"
    status, body = await get(f"{url}/readyz")
    assert status == 503
    assert "no successful poll for 70 s" in body


async def test_alive_even_when_not_ready(url: str, adapter: Heard) -> None:
    adapter.ready = False
    assert await get(f"{url}/healthz") == (200, "ok\n")


async def test_metrics_are_prometheus_text_without_people(url: str) -> None:
    status, body = await get(f"{url}/metrics")
    assert status == 200
    assert 'banter_adapter_ready{platform="telegram"} 1.0' in body


async def test_a_page_that_resolved_its_name_to_this_machine_is_refused(url: str) -> None:
    status, _ = await get(f"{url}/readyz", Host="evil.example:80")
    assert status == 403


@pytest.mark.parametrize("url", ["the-token"], indirect=True)
async def test_with_a_token_nothing_is_shown_without_it(url: str) -> None:
    assert (await get(f"{url}/metrics"))[0] == 401
    assert (await get(f"{url}/metrics", Authorization="Bearer wrong"))[0] == 401
    assert (await get(f"{url}/metrics", Authorization="Bearer the-token"))[0] == 200


async def test_the_health_command_reads_what_the_program_left(health: Health, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    assert read_health(config) is None
    await health.write()
    snapshot = read_health(config)
    assert snapshot is not None
    assert snapshot["ready"] is True
    health.remove()
    assert read_health(config) is None


async def test_a_broken_edit_is_visible(health: Health, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("bot: [\n")

    os.utime(tmp_path / "config.yaml", (1, 1))  # written long ago, so it has settled
    health.live.current()
    assert (await health.snapshot())["config_error"] is not None
