"""A local Discord: REST and gateway on 127.0.0.1, strict enough that what passes here passes there.

    async with DiscordServer(token="T") as server:
        adapter = DiscordAdapter(token="T", api_url=server.api_url, ...)
        ...
        server.say(server.general, "hello")
        await server.wait_for_posted(1)
        assert server.violations == []

Every request is held against Discord's OpenAPI document; what the real server would refuse is refused, and what
would be a mistake without being refused (a missing `allowed_mentions`, an unknown field) is a violation.
"""

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from aiohttp import web

from tests.servers.discord_gateway import (
    INVALID_SESSION,
    MESSAGE_CONTENT,
    RECONNECT,
    Connection,
    Session,
    dispatch,
    hide_content,
)
from tests.servers.discord_rest import Rest
from tests.servers.discord_world import (
    DM,
    FORUM,
    PUBLIC_THREAD,
    TEXT,
    Channel,
    Fault,
    Guild,
    Interaction,
    Json,
    Role,
    User,
    new_id,
)

WAIT_SECONDS = 20.0
EVERYBODY = 1 << 10 | 1 << 11 | 1 << 16  # view channels, send messages, read the history


class DiscordServer:
    """One bot, a server "Testers" with a text channel and a forum, the people Alice (its owner) and Bob."""

    def __init__(self, *, token: str = "discord-token") -> None:
        self.token = token
        self.violations: list[str] = []
        self.posted: list[Json] = []
        self.typing: list[str] = []  # channel ids
        self.commands: list[Json] = []
        self.interactions: dict[str, Interaction] = {}
        # Settings that tests change
        self.in_outage: list[Guild] = []  # announced by READY, but not sent
        self.privileged_intents = MESSAGE_CONTENT  # enabled in the portal
        self.shards = 1
        self.session_starts = 1000
        self.session_reset_seconds = 60.0
        self.rate_limit = (1000, 1.0)  # posts and seconds for each channel
        self.heartbeat_seconds = 41.25
        self.answering_heartbeats = True
        self.plain_binary = False  # binary frames that hold plain JSON
        self.minimal = False  # as small servers are: READY with little in it, no limits, no compression
        self.accepting_gateway = True
        self.greeting = True  # False: the gateway accepts and says nothing
        self.resume_url: str | None = None  # None: the gateway's own
        self.replay_overlap = 0  # events that RESUME repeats although the client had them
        # What the gateway saw
        self.sessions: dict[str, Session] = {}
        self.identified: list[Json] = []
        self.resumed: list[Json] = []
        self.refused_dials = 0
        self.heartbeats = 0
        self.closes: list[int] = []
        self.cutting = False
        # The world
        self.bot = User("Banter", bot=True)
        self.alice = User("Alice")
        self.bob = User("Bob")
        self.channels: dict[str, Channel] = {}
        self.guilds: list[Guild] = []
        self.guild = self.add_guild("Testers")
        self.general = self.add_channel(self.guild, "general")
        self.forum = self.add_channel(self.guild, "questions", FORUM)
        self.dm = self.open_dm(self.alice)

        self._rest = Rest(self)
        self._changes = asyncio.Condition()
        self._connections: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._runner: web.AppRunner | None = None
        self._port = 0

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self._port}/api/v10"

    @property
    def gateway_url(self) -> str:
        return f"ws://127.0.0.1:{self._port}/gateway"

    async def __aenter__(self) -> Self:
        app = web.Application()
        self._rest.add_routes(app)
        app.router.add_get("/gateway", self._accept)
        app.router.add_get("/gateway/", self._accept)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port)
        await site.start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.drop_gateway()
        if self._runner is not None:
            await self._runner.cleanup()

    # The world

    def add_guild(self, name: str) -> Guild:
        guild = Guild(name, owner=self.alice)
        everybody = Role("@everyone", EVERYBODY, id=guild.id)
        managed = Role(self.bot.name, 0, bot_id=self.bot.id)
        guild.roles = [everybody, managed]
        guild.bot_roles = [managed.id]
        self.guilds.append(guild)
        return guild

    def add_channel(self, guild: Guild, name: str, type: int = TEXT) -> Channel:
        return self._keep(Channel(name, type, guild=guild))

    def add_thread(self, parent: Channel, name: str, owner: User) -> Channel:
        """A thread, or a forum's post; announced to the bot."""
        thread = self._keep(Channel(name, PUBLIC_THREAD, guild=parent.guild, parent=parent, owner=owner))
        self.emit("THREAD_CREATE", {**thread.to_json(), "newly_created": True})
        return thread

    def open_dm(self, user: User) -> Channel:
        return self._keep(Channel(user.name, DM, recipient=user))

    def _keep(self, channel: Channel) -> Channel:
        self.channels[channel.id] = channel
        return channel

    def application(self) -> Json:
        flags = 1 << 18 if self.privileged_intents & MESSAGE_CONTENT else 0
        return {
            "id": self.bot.id,
            "name": self.bot.name,
            "icon": None,
            "description": "",
            "bot_public": True,
            "bot_require_code_grant": False,
            "verify_key": "0" * 64,
            "flags": flags,
            "owner": self.alice.to_json(),
            "interactions_endpoint_url": None,
        }

    # What people do

    def say(
        self,
        channel: Channel,
        text: str,
        author: User | None = None,
        *,
        reply_to: Json | None = None,
        attachments: Sequence[Json] = (),
        webhook_id: str | None = None,
        type: int | None = None,
        sent_at: datetime | None = None,
    ) -> Json:
        """Somebody (Alice if nobody is named) writes; the bot hears it if it is there."""
        message = self.new_message(channel, text, author or self.alice, reply_to=reply_to, sent_at=sent_at)
        message["attachments"] = list(attachments)
        if webhook_id is not None:
            message["webhook_id"] = webhook_id
        if type is not None:
            message["type"] = type
        self._spawn(self.publish("MESSAGE_CREATE", message))
        return message

    def edit(self, message: Json, text: str) -> None:
        message["content"] = text
        message["edited_timestamp"] = datetime.now(UTC).isoformat()
        self._spawn(self.publish("MESSAGE_UPDATE", message))

    def delete(self, *messages: Json) -> None:
        """Delete one message, or several of one channel at once."""
        channel = self.channels[messages[0]["channel_id"]]
        for message in messages:
            channel.messages.remove(message)
        place: Json = {"channel_id": channel.id, **({"guild_id": channel.guild.id} if channel.guild else {})}
        if len(messages) == 1:
            self.emit("MESSAGE_DELETE", {"id": messages[0]["id"], **place})
        else:
            self.emit("MESSAGE_DELETE_BULK", {"ids": [message["id"] for message in messages], **place})

    def interact(
        self,
        name: str,
        argument: str | None = None,
        *,
        channel: Channel | None = None,
        user: User | None = None,
        permissions: int = EVERYBODY,
    ) -> Interaction:
        """Somebody uses a slash command."""
        channel, user = channel or self.general, user or self.alice
        interaction = Interaction(new_id(), secrets.token_urlsafe(40), time.monotonic())
        self.interactions[interaction.token] = interaction
        options = [] if argument is None else [{"name": "argument", "type": 3, "value": argument}]
        data: Json = {
            "id": interaction.id,
            "token": interaction.token,
            "type": 2,
            "version": 1,
            "application_id": self.bot.id,
            "channel_id": channel.id,
            "channel": channel.to_json(),
            "locale": "en-US",
            "data": {"id": new_id(), "name": name, "type": 1, "options": options},
            "entitlements": [],
        }
        if channel.guild is None:
            data["user"] = user.to_json()
        else:
            data |= {
                "guild_id": channel.guild.id,
                "guild_locale": "en-US",
                "member": {"user": user.to_json(), "roles": [], "permissions": str(permissions)},
            }
        self.emit("INTERACTION_CREATE", data)
        return interaction

    def new_message(
        self,
        channel: Channel,
        text: str,
        author: User,
        *,
        reply_to: Json | None = None,
        sent_at: datetime | None = None,
    ) -> Json:
        people = {user.id: user for user in (self.bot, self.alice, self.bob)}
        mentioned = {id: user for id, user in people.items() if f"<@{id}>" in text or f"<@!{id}>" in text}
        if reply_to is not None and (answered := people.get(reply_to["author"]["id"])) and answered is not self.bot:
            mentioned[answered.id] = answered
        roles = channel.guild.roles if channel.guild else []
        message: Json = {
            "id": new_id(sent_at),
            "channel_id": channel.id,
            "author": author.to_json(),
            "content": text,
            "timestamp": (sent_at or datetime.now(UTC)).isoformat(),
            "edited_timestamp": None,
            "tts": False,
            "mention_everyone": "@everyone" in text and author is not self.bot,
            "mentions": [user.to_json() for user in mentioned.values()],
            "mention_roles": [role.id for role in roles if f"<@&{role.id}>" in text],
            "attachments": [],
            "embeds": [],
            "components": [],
            "pinned": False,
            "flags": 0,
            "type": 0 if reply_to is None else 19,
        }
        if channel.guild is not None:
            message |= {
                "guild_id": channel.guild.id,
                "member": {"roles": channel.guild.member_roles.get(author.id, []), "nick": None},
            }
        if reply_to is not None:
            message["message_reference"] = {"type": 0, "message_id": reply_to["id"], "channel_id": channel.id}
            message["referenced_message"] = {
                key: value for key, value in reply_to.items() if key not in ("guild_id", "member", "referenced_message")
            }
        channel.messages.append(message)
        return message

    # The gateway

    def emit(self, event: str, data: Json) -> None:
        """Send an event to whom it concerns, in the order of the calls."""
        self._spawn(self.publish(event, data))

    async def publish(self, event: str, data: Json) -> None:
        for session in list(self.sessions.values()):
            guild_id = data.get("guild_id")
            if (int(guild_id) >> 22) % session.shards == session.shard if guild_id else session.shard == 0:
                shown = hide_content(data, session, self.bot.id) if event.startswith("MESSAGE_") else data
                await dispatch(session, event, shown)

    async def start_session(self, session: Session) -> None:
        if self.minimal:
            await dispatch(
                session,
                "READY",
                {
                    "session_id": session.id,
                    "user": {"id": self.bot.id},
                    "guilds": [self.guild_json(guild) for guild in self.guilds],
                },
            )
            self.changed()
            return
        guilds = [guild for guild in self.guilds if (int(guild.id) >> 22) % session.shards == session.shard]
        await dispatch(
            session,
            "READY",
            {
                "v": 10,
                "user": self.bot.to_json(),
                "session_id": session.id,
                "shard": [session.shard, session.shards],
                "resume_gateway_url": self.resume_url or self.gateway_url,
                "private_channels": [],
                "guilds": [{"id": guild.id, "unavailable": True} for guild in guilds],
                "application": {"id": self.bot.id, "flags": 0},
            },
        )
        for guild in [guild for guild in guilds if guild not in self.in_outage]:
            await dispatch(session, "GUILD_CREATE", self.guild_json(guild))
        self.changed()

    def guild_json(self, guild: Guild) -> Json:
        channels = [channel for channel in self.channels.values() if channel.guild is guild]
        return {
            "id": guild.id,
            "name": guild.name,
            "owner_id": guild.owner.id,
            "unavailable": False,
            "large": False,
            "member_count": 3,
            "joined_at": datetime.now(UTC).isoformat(),
            "roles": [role.to_json() for role in guild.roles],
            "members": [{"user": self.bot.to_json(), "roles": guild.bot_roles}],
            "channels": [channel.to_json() for channel in channels if channel.type != PUBLIC_THREAD],
            "threads": [channel.to_json() for channel in channels if channel.type == PUBLIC_THREAD],
        }

    async def send_raw(self, text: str) -> None:
        """Send any text to every connected client."""
        for connection in list(self._connections):
            await connection.send_text(text)

    async def drop_gateway(self) -> None:
        """Cut all connections without a word; sessions can be resumed."""
        self.cutting = True
        for connection in list(self._connections):
            if connection.socket._req is not None and connection.socket._req.transport is not None:
                connection.socket._req.transport.close()
        await self.wait_until(lambda: not self._connections)
        self.cutting = False

    async def close_gateway(self, code: int) -> None:
        self.cutting = True
        for connection in list(self._connections):
            await connection.socket.close(code=code)
        await self.wait_until(lambda: not self._connections)
        self.cutting = False

    async def ask_to_reconnect(self) -> None:
        for connection in list(self._connections):
            await connection.send({"op": RECONNECT, "d": None})

    async def invalidate_sessions(self) -> None:
        """Forget all sessions and tell the clients."""
        self.sessions.clear()
        for connection in list(self._connections):
            await connection.send({"op": INVALID_SESSION, "d": False})

    @property
    def connected(self) -> int:
        return len(self._connections)

    async def _accept(self, request: web.Request) -> web.StreamResponse:
        if not self.accepting_gateway:
            self.refused_dials += 1
            self.changed()
            raise web.HTTPServiceUnavailable
        if request.query.get("v") != "10" or request.query.get("encoding") != "json":
            self.violations.append(f"gateway dialled with {request.query_string}")
        socket = web.WebSocketResponse(max_msg_size=4096)
        await socket.prepare(request)
        compress = request.query.get("compress") == "zlib-stream" and not (self.minimal or self.plain_binary)
        connection = Connection(self, socket, compress)
        self._connections.add(connection)
        self.changed()
        try:
            await connection.serve()
        finally:
            self._connections.discard(connection)
            self.changed()
        return socket

    # Faults and waiting

    def script(self, operation_id: str, *faults: Fault) -> None:
        """Let the next requests of an operation (the OpenAPI document's id) meet these faults, one each."""
        self._rest.faults[operation_id].extend(faults)

    def count_requests(self, operation_id: str) -> int:
        return sum(operation == operation_id for operation, _ in self._rest.requests)

    async def wait_until(self, condition: Callable[[], bool], seconds: float = WAIT_SECONDS) -> None:
        async with asyncio.timeout(seconds), self._changes:
            await self._changes.wait_for(condition)

    async def wait_for_posted(self, number: int) -> list[Json]:
        await self.wait_until(lambda: len(self.posted) >= number)
        return self.posted

    async def wait_for_sessions(self, number: int) -> None:
        """Wait until so many IDENTIFYs have come and the last one's session stands."""
        await self.wait_until(lambda: len(self.identified) >= number and bool(self.sessions))

    def changed(self) -> None:
        self._spawn(self._notify())

    async def _notify(self) -> None:
        async with self._changes:
            self._changes.notify_all()

    def _spawn(self, work: object) -> None:
        assert asyncio.iscoroutine(work)
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
