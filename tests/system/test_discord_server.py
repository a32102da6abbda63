"""The local Discord is strict: what the real one refuses fails here, what would be a mistake is recorded."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from tests.servers.discord import DiscordServer

TOKEN = "discord-token"
HEADERS = {"Authorization": f"Bot {TOKEN}", "User-Agent": "DiscordBot (tests, 1)", "Content-Type": "application/json"}
QUIET: dict[str, Any] = {"parse": []}


@pytest.fixture
async def server() -> AsyncIterator[DiscordServer]:
    async with DiscordServer(token=TOKEN) as server:
        yield server


async def request(server: DiscordServer, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    async with aiohttp.ClientSession(headers={**HEADERS, **headers}) as session:
        data = json.dumps(body) if body is not None else None
        async with session.request(method, server.api_url + path, data=data) as response:
            text = await response.text()
            return response.status, json.loads(text) if text else None


async def post(server: DiscordServer, **body: Any) -> tuple[int, Any]:
    return await request(server, "POST", f"/channels/{server.general.id}/messages", body)


async def test_a_good_post_is_taken(server: DiscordServer) -> None:
    status, message = await post(server, content="hello", allowed_mentions=QUIET)
    assert (status, message["content"], server.violations) == (200, "hello", [])


@pytest.mark.parametrize(
    "body",
    [
        {"content": "hello"},
        {"content": "hello", "allowed_mentions": {"parse": ["everyone"]}},
        {"content": "hello", "allowed_mentions": QUIET, "nonse": "typo"},
        {"content": 5, "allowed_mentions": QUIET},
        {"content": "hello", "allowed_mentions": QUIET, "nonce": "n" * 26},
        {"content": "hello", "allowed_mentions": QUIET, "message_reference": {"channel_id": "1"}},
    ],
)
async def test_a_careless_post_is_a_violation(server: DiscordServer, body: dict[str, Any]) -> None:
    await post(server, **body)
    assert len(server.violations) == 1


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"content": "x" * 2001}, 50035),
        ({"content": "  "}, 50006),
        ({"content": "hello", "message_reference": {"message_id": "1"}}, 50035),
    ],
)
async def test_what_discord_refuses_is_refused(server: DiscordServer, body: dict[str, Any], code: int) -> None:
    status, error = await post(server, **body, allowed_mentions=QUIET)
    assert (status, error["code"]) == (400, code)
    assert server.posted == []


async def test_an_enforced_nonce_makes_one_message(server: DiscordServer) -> None:
    for enforce, count in ((True, 1), (True, 1), (False, 2)):
        await post(server, content="hello", allowed_mentions=QUIET, nonce="n", enforce_nonce=enforce)
        assert len(server.posted) == count


async def test_a_wrong_token_is_refused(server: DiscordServer) -> None:
    status, _ = await request(server, "GET", "/users/@me", Authorization="Bot wrong")
    assert status == 401


async def test_an_interaction_is_acknowledged_once_and_in_time(server: DiscordServer) -> None:
    interaction = server.interact("help")
    path = f"/interactions/{interaction.id}/{interaction.token}/callback"
    follow_up = f"/webhooks/{server.bot.id}/{interaction.token}"
    answer = {"content": "help", "allowed_mentions": QUIET}
    assert (await request(server, "POST", follow_up, answer))[0] == 404
    assert (await request(server, "POST", path, {"type": 5}))[0] == 204
    assert (await request(server, "POST", path, {"type": 5}))[1]["code"] == 40060
    assert (await request(server, "POST", follow_up, answer))[0] == 200
    late = server.interact("help")
    late.born -= 3.1
    assert (await request(server, "POST", f"/interactions/{late.id}/{late.token}/callback", {"type": 5}))[1][
        "code"
    ] == 10062


@asynccontextmanager
async def dial(server: DiscordServer) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    url = f"{server.gateway_url}?v=10&encoding=json"
    async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
        yield socket


async def receive_close(socket: aiohttp.ClientWebSocketResponse) -> int | None:
    while not socket.closed:
        await socket.receive(timeout=10)
    return socket.close_code


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        ({"op": 2, "d": {"token": "wrong", "intents": 0, "properties": {}}}, 4004),
        ({"op": 2, "d": {"token": TOKEN, "intents": 1 << 1, "properties": {}}}, 4014),
        ({"op": 3, "d": {}}, 4003),
        ({"op": 99, "d": {}}, 4001),
        ("no object", 4002),
    ],
)
async def test_the_gateway_closes_on_mistakes(server: DiscordServer, payload: Any, code: int) -> None:
    async with dial(server) as socket:
        await socket.send_json(payload)
        assert await receive_close(socket) == code


async def test_the_gateway_closes_without_heartbeats(server: DiscordServer) -> None:
    server.heartbeat_seconds = 0.1
    async with dial(server) as socket:
        assert await receive_close(socket) == 4000
