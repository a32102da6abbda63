"""The gateway half of the local Discord server: sessions, heartbeats, replay, compression, close codes."""

import asyncio
import json
import secrets
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import WSCloseCode, WSMsgType, web

from tests.servers.discord_world import Json

if TYPE_CHECKING:
    from tests.servers.discord import DiscordServer

DISPATCH, HEARTBEAT, IDENTIFY, RESUME, RECONNECT, INVALID_SESSION, HELLO, HEARTBEAT_ACK = 0, 1, 2, 6, 7, 9, 10, 11
KNOWN_FROM_CLIENT = {HEARTBEAT, IDENTIFY, 3, 4, RESUME, 8}

GUILDS, MEMBERS, PRESENCES, GUILD_MESSAGES, DIRECT_MESSAGES, MESSAGE_CONTENT = (
    1 << 0,
    1 << 1,
    1 << 8,
    1 << 9,
    1 << 12,
    1 << 15,
)
PRIVILEGED = MEMBERS | PRESENCES | MESSAGE_CONTENT

SPLIT_BYTES = 512  # a longer compressed payload goes in two frames, as Discord's sometimes do


class Refusal(Exception):
    """The connection is to be closed with this code."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


@dataclass(slots=True)
class Session:
    id: str
    intents: int
    shard: int
    shards: int
    sequence: int = 0
    sent: list[Json] = field(default_factory=list)  # numbered events, for RESUME
    connection: "Connection | None" = None


class Connection:
    """One WebSocket of a client."""

    def __init__(self, server: "DiscordServer", socket: web.WebSocketResponse, compress: bool) -> None:
        self.server = server
        self.socket = socket
        self.session: Session | None = None
        self._compressor = zlib.compressobj() if compress else None
        self._sending = asyncio.Lock()

    async def send(self, payload: Json) -> None:
        await self.send_text(json.dumps(payload))

    async def send_text(self, text: str) -> None:
        async with self._sending:
            try:
                if self.server.plain_binary:
                    await self.socket.send_bytes(text.encode())
                    return
                if self._compressor is None:
                    await self.socket.send_str(text)
                    return
                data = self._compressor.compress(text.encode()) + self._compressor.flush(zlib.Z_SYNC_FLUSH)
                cut = len(data) // 2 if len(data) > SPLIT_BYTES else len(data)
                for piece in filter(None, (data[:cut], data[cut:])):
                    await self.socket.send_bytes(piece)
            except ConnectionError:
                pass  # the client is gone; its session keeps the event for RESUME

    async def serve(self) -> None:
        interval = self.server.heartbeat_seconds
        if not self.server.greeting:
            await self.socket.receive()
            return
        await self.send({"op": HELLO, "t": None, "s": None, "d": {"heartbeat_interval": int(interval * 1000)}})
        try:
            while True:
                message = await self.socket.receive(timeout=interval * 1.5)
                if message.type in (WSMsgType.CLOSE, WSMsgType.CLOSED, WSMsgType.CLOSING, WSMsgType.ERROR):
                    break
                await self._handle(_decode(message.data))
        except TimeoutError:
            await self.socket.close(code=4000, message=b"no heartbeat")
        except Refusal as refusal:
            self.server.closes.append(refusal.code)
            await self.socket.close(code=refusal.code, message=refusal.reason.encode())
        finally:
            if self.session is not None:
                self.session.connection = None
                if self.socket.close_code in (WSCloseCode.OK, WSCloseCode.GOING_AWAY) and not self.server.cutting:
                    self.server.sessions.pop(self.session.id, None)  # the client said that it will not resume

    async def _handle(self, payload: Json) -> None:
        op, data = payload.get("op"), payload.get("d")
        if op not in KNOWN_FROM_CLIENT:
            raise Refusal(4001, "unknown opcode")
        if op == HEARTBEAT:
            self.server.heartbeats += 1
            self.server.changed()
            if self.server.answering_heartbeats:
                await self.send({"op": HEARTBEAT_ACK})
        elif op == IDENTIFY:
            await self._identify(data)
        elif op == RESUME:
            await self._resume(data)
        elif self.session is None:
            raise Refusal(4003, "not authenticated")

    async def _identify(self, data: Any) -> None:
        if self.session is not None:
            raise Refusal(4005, "already authenticated")
        self.server.identified.append(data)
        if data.get("token") != self.server.token:
            raise Refusal(4004, "authentication failed")
        for key in ("properties", "intents"):
            if key not in data:
                self.server.violations.append(f"IDENTIFY without {key}")
        intents = data.get("intents", 0)
        if intents & PRIVILEGED & ~self.server.privileged_intents:
            raise Refusal(4014, "disallowed intents")
        shard, shards = data.get("shard", [0, 1])
        self.session = Session(secrets.token_hex(8), intents, shard, shards, connection=self)
        self.server.sessions[self.session.id] = self.session
        await self.server.start_session(self.session)

    async def _resume(self, data: Any) -> None:
        self.server.resumed.append(data)
        session = self.server.sessions.get(data.get("session_id"))
        if data.get("token") != self.server.token:
            raise Refusal(4004, "authentication failed")
        if session is None:
            await self.send({"op": INVALID_SESSION, "d": False})
            return
        if data["seq"] > session.sequence:
            raise Refusal(4007, "invalid seq")
        self.session = session
        session.connection = self
        for event in session.sent:
            if event["s"] > data["seq"] - self.server.replay_overlap:
                await self.send(event)
        await dispatch(session, "RESUMED", {})
        self.server.changed()


async def dispatch(session: Session, event: str, data: Json) -> None:
    """Number an event, keep it for RESUME, and send it if the client is there."""
    session.sequence += 1
    payload = {"op": DISPATCH, "t": event, "s": session.sequence, "d": data}
    if event != "RESUMED":
        session.sent.append(payload)
    if session.connection is not None:
        await session.connection.send(payload)


def _decode(data: Any) -> Json:
    try:
        payload = json.loads(data)
    except ValueError:
        raise Refusal(4002, "decode error") from None
    if not isinstance(payload, dict):
        raise Refusal(4002, "decode error")
    return payload


def hide_content(message: Json, session: Session, bot_id: str) -> Json:
    """What a session without the content intent sees of a message in a server."""
    visible = (
        session.intents & MESSAGE_CONTENT
        or "guild_id" not in message
        or message.get("author", {}).get("id") == bot_id
        or any(user["id"] == bot_id for user in message.get("mentions", ()))
    )
    if visible:
        return message
    return {**message, "content": "", "attachments": [], "embeds": [], "components": []}
