"""The gateway connection: discord.py keeps the session, this module keeps discord.py alive.

discord.py does heartbeats, IDENTIFY, RESUME, shards and compression. Here is what it does not survive by itself:

- events are taken as plain JSON before its models can stumble over them;
- a resume address that does not answer, or closes at once, is given up for the gateway's own address;
- dialling has our back-off and a time limit; the gateway's address is learned from the configured host alone;
- nothing in the process is patched: two adapters with different hosts live side by side.
"""

import asyncio
import json
import logging
import random
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, cast

import aiohttp
import discord
from discord.gateway import DiscordWebSocket
from discord.utils import _ActiveDecompressionContext
from yarl import URL

from adapters.discord.http import NETWORK_ERRORS, DiscordHttp, Payload, describe

log = logging.getLogger(__name__)

Receive = Callable[[str, Payload], Awaitable[None]]
Garbage = Callable[[str, Exception], Awaitable[None]]

discord.VoiceClient.warn_nacl = discord.VoiceClient.warn_dave = False  # no advice about voice: there is none

FULL_INTENTS = discord.Intents(guilds=True, guild_messages=True, dm_messages=True, message_content=True)
REDUCED_INTENTS = discord.Intents(guilds=True, guild_messages=True, dm_messages=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Waits in seconds. The defaults are for production; tests shorten them."""

    dial: float = 15.0  # until a WebSocket must be open
    silence: float = 60.0  # nothing received, not even a heartbeat's answer: the connection is dead
    closing: float = 3.0  # for the closing handshake
    settled: float = 10.0  # a connection that lived so long is followed by the next without a pause
    identify_pause: float = 5.0  # Discord takes one IDENTIFY in 5 s
    first_backoff: float = 1.0
    longest_backoff: float = 60.0  # where an IDENTIFY was spent: they are counted by the day
    longest_redial: float = 8.0  # where none was
    offline: float = 120.0  # not connected for so long: a new client
    servers: float = 2.0  # for the next of the servers that READY announces
    refused: float = 60.0  # a server's channel that took no post is not tried again before
    post: float = 40.0  # for one post with all of its repeats
    typing: float = 5.0  # later than this it would outlast the reply


class SessionsExhausted(Exception):
    """No IDENTIFY is left today; one more than allowed makes Discord reset the token."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"no session start is left for {seconds:.0f} s")
        self.seconds = seconds


def backoff(failures: int, timing: Timing, *, identified: bool) -> float:
    """Seconds to wait after so many failures in a row: doubling, with jitter of a half. `identified` tells whether the
    last one cost an IDENTIFY."""
    if failures == 0:
        return 0.0
    longest = timing.longest_backoff if identified else min(timing.longest_redial, timing.longest_backoff)
    return min(timing.first_backoff * 2.0 ** min(failures - 1, 16), longest) * random.uniform(0.5, 1.0)


def _place(url: URL) -> str:
    return str(url.with_query(None)).rstrip("/")


class GatewaySocket:
    """What discord.py uses as its WebSocket: the members it touches, and nothing else.

    Dispatched events go to `receive_event`, in order; discord.py sees their sequence numbers only.
    """

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, address: URL, link: "GatewayHttp") -> None:
        self._socket = socket
        self._link = link
        self._decompressor = _ActiveDecompressionContext()
        self._plain: bool | None = None  # whether binary frames hold plain JSON; told by the first
        self.address = address
        self.identified = False  # whether a session was asked for, not resumed
        self.ready_at: float | None = None  # when READY or RESUMED came, on the loop's clock

    @property
    def closed(self) -> bool:
        return self._socket.closed

    @property
    def close_code(self) -> int | None:
        return self._socket.close_code

    async def send_str(self, data: str) -> None:
        self.identified = self.identified or json.loads(data)["op"] == DiscordWebSocket.IDENTIFY
        await self._socket.send_str(data)

    async def close(self, *, code: int = 4000) -> None:
        self._link.socket_closed(self)
        try:
            async with asyncio.timeout(self._link.timing.closing):
                await self._socket.close(code=code)
        except TimeoutError:
            log.info("gateway_close_unanswered", extra={"platform": "discord"})

    async def receive(self, timeout: float | None = None) -> aiohttp.WSMessage:  # noqa: ASYNC109 (aiohttp's name)
        """The next frame that concerns discord.py."""
        while True:
            frame = await self._socket.receive(timeout=timeout)
            if frame.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                self._link.socket_closed(self)
                return frame
            try:
                text = frame.data if isinstance(frame.data, str) else self._inflate(frame.data)
            except (zlib.error, UnicodeDecodeError):  # the stream is lost: RESUME on a new one
                return aiohttp.WSMessage(aiohttp.WSMsgType.ERROR, None, None)
            if text is not None and (passed_on := await self._sort(text)) is not None:
                return aiohttp.WSMessage(aiohttp.WSMsgType.TEXT, passed_on, None)

    def _inflate(self, data: bytes) -> str | None:
        """The text of a compressed frame, None while the rest of it is to come. A small server may send plain JSON so;
        no compressed stream begins with a brace."""
        if self._plain is None:
            self._plain = data.startswith(b"{")
        return data.decode() if self._plain else self._decompressor.decompress(data)

    async def _sort(self, text: str) -> str | None:
        """Take events out; what discord.py must know is returned."""
        try:
            payload = json.loads(text)
            op, event = payload["op"], payload.get("t")
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            await self._link.receive_garbage(text, error)
            return None
        if op != DiscordWebSocket.DISPATCH:
            return text
        data = payload.get("d")
        if not isinstance(data, dict):
            data = {}
        if event in ("READY", "RESUMED"):
            self.ready_at = asyncio.get_running_loop().time()
            self._link.socket_ready()
        await self._link.receive_event(str(event), data)
        known: Payload = {}
        if event == "READY":  # the two fields that discord.py cannot do without
            known = {
                "session_id": data.get("session_id"),
                "resume_gateway_url": data.get("resume_gateway_url") or str(self._link.gateway),
            }
        return json.dumps({"op": op, "t": event, "s": payload.get("s"), "d": known})


class GatewayHttp(DiscordHttp):
    """The HTTP session of one gateway client: learns the gateway's address and dials it."""

    def __init__(
        self,
        api_url: str,
        timing: Timing,
        receive_event: Receive,
        receive_garbage: Garbage,
        changed: Callable[[], None],
    ) -> None:
        super().__init__(api_url)
        self.timing = timing
        self.receive_event = receive_event
        self.receive_garbage = receive_garbage
        self.gateway = DiscordWebSocket.DEFAULT_GATEWAY
        self.shards = 1
        self.problem = "connecting"  # why there is no connection, for the status
        self._changed = changed
        self._sockets: list[GatewaySocket] = []
        self.identified = False  # whether the last connection, if there was any, cost an IDENTIFY
        self._failures = 0  # in a row: dials in vain, and connections that did not live long
        self._dead_addresses: set[str] = set()

    @property
    def connected(self) -> bool:
        """Whether every shard has a session."""
        return sum(socket.ready_at is not None for socket in self._sockets) >= self.shards

    def socket_ready(self) -> None:
        self._dead_addresses.clear()
        self._changed()

    def socket_closed(self, socket: GatewaySocket) -> None:
        if socket in self._sockets:
            self._sockets.remove(socket)
            self.identified = socket.identified
            if socket.ready_at is None:
                self._count_failure(socket.address)
            elif asyncio.get_running_loop().time() - socket.ready_at < self.timing.settled:
                self._failures += 1  # sessions are counted by the day: no haste with one that ends at once
            else:
                self._failures = 0
            code = socket.close_code
            self.problem = "connection lost" if code is None else f"connection closed (code {code})"
            self._changed()

    async def get_bot_gateway(self) -> tuple[int, str, Any]:
        """Shards and address. Small servers have only `/gateway`, or leave out the limits."""
        try:
            answer = await self.call("GET", "/gateway/bot")
        except discord.NotFound:
            answer = await self.call("GET", "/gateway")
        limit = answer.get("session_start_limit") or {}
        self.shards = int(answer.get("shards") or 1)
        remaining = limit.get("remaining")
        if remaining is not None and int(remaining) < self.shards:
            raise SessionsExhausted(float(limit.get("reset_after", 0)) / 1000)
        self.gateway = URL(answer["url"])
        return self.shards, str(self.gateway), limit

    async def ws_connect(self, url: str, *, compress: int = 0) -> aiohttp.ClientWebSocketResponse:
        """Dial until somebody answers; discord.py bounds it with a time limit of its own."""
        while True:
            await asyncio.sleep(backoff(self._failures, self.timing, identified=self.identified))
            address = self._choose_address(URL(url))
            try:
                async with asyncio.timeout(self.timing.dial):
                    dialled = await super().ws_connect(str(address), compress=compress)
            except NETWORK_ERRORS as error:
                self.identified = False
                self._count_failure(address)
                self.problem = f"the gateway does not answer: {describe(error)}"
                log.warning(
                    "gateway_unreachable",
                    extra={"platform": "discord", "host": address.host, "error": type(error).__name__},
                )
                continue
            socket = GatewaySocket(dialled, address, self)
            self._sockets.append(socket)
            return cast(aiohttp.ClientWebSocketResponse, socket)

    def _choose_address(self, wanted: URL) -> URL:
        """discord.py falls back to Discord's own gateway; ours is the one that the API named."""
        elsewhere = {_place(DiscordWebSocket.DEFAULT_GATEWAY), *self._dead_addresses}
        return self.gateway.with_query(wanted.query) if _place(wanted) in elsewhere else wanted

    def _count_failure(self, address: URL) -> None:
        """A resume address is tried once in vain; after that the gateway itself is dialled."""
        self._failures += 1
        if _place(address) != _place(self.gateway):
            self._dead_addresses.add(_place(address))


class GatewayClient(discord.AutoShardedClient):
    """discord.py's sharded client without its models, caches and event handlers."""

    http: GatewayHttp

    def __init__(self, http: GatewayHttp, *, message_content: bool) -> None:
        super().__init__(
            intents=FULL_INTENTS if message_content else REDUCED_INTENTS,
            max_messages=None,
            heartbeat_timeout=http.timing.silence,
            chunk_guilds_at_startup=False,
        )
        self.http = http
        self._connection.parsers.clear()  # its models see no event: GatewaySocket hands them to us

    async def before_identify_hook(self, shard_id: int | None, *, initial: bool = False) -> None:
        if not initial:
            await asyncio.sleep(self.http.timing.identify_pause)

    async def run_session(self, token: str) -> None:
        """Sign in, connect, and stay connected until discord.py gives up.

        Raises TokenRefused or PlatformUnreachable at the door, later what discord.py raises.
        """
        await self.http.sign_in(token)
        await self.connect()

    async def stop(self, session: asyncio.Task[None]) -> None:
        """End `run_session`. discord.py swallows a cancellation while it reconnects: closing ends its loop."""
        await self.close()
        while not session.done():
            session.cancel()
            await asyncio.wait({session}, timeout=self.http.timing.closing)
