"""From the gateway's events to the sink: in order within a channel, after what the channel missed."""

import asyncio
import hashlib
import json
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar

import discord

from adapters.base import Channel, ChannelKind, CommandSpec, IncomingMessage, Sink
from adapters.discord.backfill import CatchUp
from adapters.discord.commands import APPLICATION_COMMAND, acknowledge, answer_command, register_commands
from adapters.discord.events import is_for_people, read_message, read_text, reply_target
from adapters.discord.gateway import Timing
from adapters.discord.http import NETWORK_ERRORS, DiscordHttp, Payload, describe
from adapters.discord.lanes import Job, Lanes, until_done
from adapters.discord.places import PLATFORM, TEXT_TYPES, Place, Places, read_place

log = logging.getLogger(__name__)

T = TypeVar("T")
Prepare = Callable[[Payload], Awaitable[Job | None]]

REMEMBERED_POSTS = 2000  # own message ids, to recognise replies whose target the event does not quote
UNPLACED = ""  # the lane of events that name no channel


@dataclass(slots=True)
class Session:
    """One gateway session of one shard."""

    catch_up: CatchUp
    members: set[str]  # servers that we are in: another GUILD_CREATE is an invitation just accepted
    awaited: set[str]  # servers announced by READY that have not come yet
    arrival: asyncio.Event  # of a server that was awaited


class Listener:
    """Takes every event of every shard for one bot and one sink; outlives the gateway's clients."""

    def __init__(
        self,
        http: DiscordHttp,
        sink: Sink,
        our_id: str,
        *,
        commands: Sequence[CommandSpec],
        backfill_age: timedelta,
        backfill_per_channel: int,
        timing: Timing,
    ) -> None:
        self.reduced = False  # without the intent: the content of most messages in servers is hidden
        self.last_event_at: datetime | None = None
        self._refused: dict[str, tuple[Channel, float]] = {}  # and when, until something changes there
        self._http = http
        self._sink = sink
        self._our_id = our_id
        self._commands = commands
        self._backfill_age = backfill_age
        self._backfill_per_channel = backfill_per_channel
        self._servers_seconds = timing.servers
        self._refused_seconds = timing.refused
        self._places = Places(our_id)
        self._lanes = Lanes()
        self._posted: deque[str] = deque(maxlen=REMEMBERED_POSTS)
        self._sessions: dict[int, Session] = {}
        self._shards = 1
        self._commands_stand = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self._handlers: dict[str, Prepare] = {
            "MESSAGE_CREATE": self._prepare_message,
            "MESSAGE_UPDATE": self._prepare_edit,
            "MESSAGE_DELETE": self._prepare_deletion,
            "MESSAGE_DELETE_BULK": self._prepare_deletion,
        }

    def posted(self, message_id: str) -> None:
        """Remember a message of our own."""
        self._posted.append(message_id)

    def post_refused(self, channel: Channel) -> None:
        """Remember that a channel took no post."""
        self._refused[channel.address] = channel, asyncio.get_running_loop().time()

    async def close(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._lanes.close()

    async def receive(self, event: str, data: Payload) -> None:
        """Take one dispatched event. Waits while its channel's lane is full, and never raises."""
        self.last_event_at = datetime.now(UTC)
        try:
            leaving = self._leaving(event, data)
            self._places.apply(event, data)
            if event in self._handlers:
                await self._enqueue(event, data, self._handlers[event])
            elif event == "INTERACTION_CREATE":
                await self._interaction(data)
            elif event == "READY":
                self._begin_session(data)
            elif event in ("GUILD_CREATE", "GUILD_DELETE"):
                await self._server(event, data)
            elif event in ("CHANNEL_UPDATE", "THREAD_UPDATE", "GUILD_ROLE_UPDATE"):
                await self._permissions_changed(data)
            for channel in leaving:
                await self._lanes.put(channel.address, partial(self._sink.channel_gone, channel, event.lower()))
        except Exception as error:
            await self._dead_letter_later(event, data, error)

    async def receive_garbage(self, text: str, error: Exception) -> None:
        """Take a frame that is no gateway payload at all."""
        await self._dead_letter_later("FRAME", {"frame": text}, error)

    # Events of a channel

    async def _enqueue(self, event: str, data: Payload, prepare: Prepare) -> None:
        session = self._session(data.get("guild_id"))
        channel_id = str(data["channel_id"])

        async def job() -> None:
            if session is not None:
                await session.catch_up.channel(channel_id)
            await self._deliver(event, data, prepare)

        await self._lanes.put(channel_id, job)

    async def _deliver(self, event: str, data: Payload, prepare: Prepare) -> None:
        """Understand an event and hand it over; what cannot be understood becomes a dead letter. Only the handing
        over raises."""
        try:
            hand_over = await prepare(data)
        except Exception as error:
            hand_over = partial(self._dead_letter, event, data, error)
        if hand_over is not None:
            await hand_over()

    async def _prepare_message(self, data: Payload, *, backfilled: bool = False) -> Job | None:
        if str(data["author"]["id"]) == self._our_id:
            self.posted(str(data["id"]))
        if not is_for_people(data, self._our_id):
            return None
        channel = await self._find_channel(data, ask=backfilled)
        message = read_message(
            data,
            channel,
            self._places,
            self._our_id,
            backfilled=backfilled,
            replies_to_bot=await self._replies_to_us(data),
        )
        hidden = self.reduced and channel.server is not None and not message.text and not message.mentions_bot
        return None if hidden else partial(self._hand_over_message, message)

    async def _hand_over_message(self, message: IncomingMessage) -> None:
        channel = message.channel
        if self._may_try_again(channel):
            await self._sink.channel_back(channel)
            self._refused.pop(channel.address, None)
        await self._sink.message(message)

    def _may_try_again(self, channel: Channel) -> bool:
        """Whether a channel that speaks refused us before: somebody who writes to us in private has unblocked us; of a
        server only some changes of rights are told, so it is tried from time to time."""
        if channel.address not in self._refused:
            return False
        _, since = self._refused[channel.address]
        return channel.kind is ChannelKind.PRIVATE or asyncio.get_running_loop().time() - since >= self._refused_seconds

    async def _prepare_edit(self, data: Payload) -> Job | None:
        """An edit by a person. Updates without content or edit time only add a link's preview."""
        author = data.get("author")
        if data.get("content") is None or data.get("edited_timestamp", "") is None:
            return None
        if author is not None and not is_for_people(data, self._our_id):
            return None
        channel = await self._find_channel(data)
        if self.reduced and channel.server is not None and not data["content"]:
            return None
        text, _ = read_text(data, channel, self._places, self._our_id)
        return partial(self._sink.edited, channel, str(data["id"]), text)

    async def _prepare_deletion(self, data: Payload) -> Job | None:
        ids = [str(id) for id in data.get("ids") or [data["id"]]]
        return partial(self._sink.deleted, await self._find_channel(data), ids)

    async def _interaction(self, data: Payload) -> None:
        if data.get("type") != APPLICATION_COMMAND:
            return
        data.setdefault("application_id", self._our_id)
        data.setdefault("channel_id", (data.get("channel") or {}).get("id"))
        # First of all, and beside whatever the channel is busy with: Discord waits 3 s.
        acknowledged = self._background(acknowledge(self._http, data))

        async def prepare(data: Payload) -> Job | None:
            if not await acknowledged:
                return None
            await answer_command(self._http, data, await self._find_channel(data), self._commands, self._sink)
            return None

        await self._enqueue("INTERACTION_CREATE", data, prepare)

    # Where and whom

    async def _find_channel(self, data: Payload, *, ask: bool = False) -> Channel:
        """The channel of an event. The live event of a direct message names no server; a message from the history
        never does (`ask`)."""
        channel_id = str(data["channel_id"])
        server_id = str(data["guild_id"]) if data.get("guild_id") is not None else None
        place = self._places.get(channel_id)
        if place is None and data.get("channel"):  # an interaction brings it, even where the bot cannot look
            place = read_place(data["channel"], server_id)
        # A message with a member was written in a server, though a small one may not say in which.
        if place is None and server_id is None and not ask and not data.get("member"):
            place = self._places.add({"id": channel_id, "type": 1})
        return self._places.channel(place or await self._ask_for_place(channel_id, server_id))

    async def _ask_for_place(self, channel_id: str, server_id: str | None) -> Place:
        try:
            answer = await self._http.call("GET", "/channels/{channel_id}", channel_id=channel_id)
            return self._places.add(answer, server_id)
        except (discord.DiscordException, *NETWORK_ERRORS) as error:
            log.info("channel_unknown", extra={"platform": PLATFORM, "channel": channel_id, "error": describe(error)})
            unknown: Payload = {"id": channel_id, "type": 0}
            if isinstance(error, discord.Forbidden | discord.NotFound):  # it will not become known by asking again
                return self._places.add(unknown, server_id)
            return read_place(unknown, server_id)

    async def _replies_to_us(self, data: Payload) -> bool:
        target = reply_target(data)
        if target is None:
            return False
        quoted = data.get("referenced_message")
        if quoted:
            return str(quoted["author"]["id"]) == self._our_id
        if target in self._posted:
            return True
        if "referenced_message" in data:  # None: the target was deleted
            return False
        try:
            quoted = await self._http.call(
                "GET",
                "/channels/{channel_id}/messages/{message_id}",
                channel_id=str(data["channel_id"]),
                message_id=target,
            )
            return str(quoted["author"]["id"]) == self._our_id
        except (discord.DiscordException, *NETWORK_ERRORS):
            return False

    # Sessions and servers

    def _begin_session(self, data: Payload) -> None:
        shard, self._shards = data.get("shard") or (0, 1)
        guilds = data.get("guilds") or ()
        awaited = {str(guild["id"]) for guild in guilds if "channels" not in guild}
        catch_up = CatchUp(
            self._http,
            self._sink,
            self._places,
            age=self._backfill_age,
            per_channel=self._backfill_per_channel,
            hand_over=self._hand_over_history,
            is_ours=partial(_belongs_to, shard, self._shards),
        )
        session = Session(catch_up, {str(guild["id"]) for guild in guilds}, awaited, asyncio.Event())
        self._sessions[shard] = session
        self._background(self._catch_up(session))
        if not self._commands_stand and self._commands:
            application = data.get("application") or {}
            self._background(self._register_commands(str(application.get("id") or self._our_id)))

    def _session(self, server_id: object) -> Session | None:
        return self._sessions.get(_shard_of(str(server_id) if server_id is not None else None, self._shards))

    async def _catch_up(self, session: Session) -> None:
        try:
            while session.awaited:
                async with asyncio.timeout(self._servers_seconds):
                    await session.arrival.wait()
                session.arrival.clear()
        except TimeoutError:  # a server in an outage comes when it is over
            log.info("servers_missing", extra={"platform": PLATFORM, "servers": len(session.awaited)})
        for channel_id in await session.catch_up.plan():
            await self._lanes.put(channel_id, partial(session.catch_up.channel, channel_id))

    async def _hand_over_history(self, channel_id: str, messages: Sequence[Payload]) -> None:
        prepare = partial(self._prepare_message, backfilled=True)
        for message in messages:
            data = {"channel_id": channel_id, **message}
            await until_done(partial(self._deliver, "MESSAGE_CREATE", data, prepare))

    async def _register_commands(self, application_id: str) -> None:
        self._commands_stand = await register_commands(self._http, application_id, self._commands)

    async def _server(self, event: str, data: Payload) -> None:
        server_id = str(data["id"])
        session = self._session(server_id)
        if session is None:
            return
        session.awaited.discard(server_id)
        session.arrival.set()
        if event == "GUILD_DELETE":
            if not data.get("unavailable"):
                session.members.discard(server_id)
        elif server_id not in session.members and not data.get("unavailable"):
            session.members.add(server_id)
            for place in self._places.in_server(server_id):
                if place.type in TEXT_TYPES:
                    await self._channel_back(self._places.channel(place))

    def _leaving(self, event: str, data: Payload) -> list[Channel]:
        """The channels that an event takes away, asked before they are forgotten."""
        if event in ("CHANNEL_DELETE", "THREAD_DELETE"):
            place = self._places.get(str(data["id"]))
            return [self._places.channel(place)] if place and place.type in TEXT_TYPES else []
        if event == "GUILD_DELETE" and not data.get("unavailable"):
            places = self._places.in_server(str(data["id"]))
            return [self._places.channel(place) for place in places if place.type in TEXT_TYPES]
        return []

    async def _permissions_changed(self, data: Payload) -> None:
        """A channel that refused us may take posts again."""
        places = {str(data.get("id")), str(data.get("guild_id"))}
        for channel in [channel for channel, _ in self._refused.values() if places & {channel.address, channel.server}]:
            await self._channel_back(channel)

    async def _channel_back(self, channel: Channel) -> None:
        self._refused.pop(channel.address, None)
        await self._lanes.put(channel.address, partial(self._sink.channel_back, channel))

    # Dead letters and tasks

    async def _dead_letter_later(self, event: str, data: Payload, error: Exception) -> None:
        await self._lanes.put(str(data.get("channel_id", UNPLACED)), partial(self._dead_letter, event, data, error))

    async def _dead_letter(self, event: str, data: Payload, error: Exception) -> None:
        raw = json.dumps(data, ensure_ascii=False)
        event_id = f"{event}:{data.get('id') or hashlib.sha256(raw.encode()).hexdigest()[:16]}"
        log.warning(
            "event_unparsable", extra={"platform": PLATFORM, "event_id": event_id, "error": type(error).__name__}
        )
        await self._sink.unparsable(PLATFORM, event_id, raw, f"{type(error).__name__}: {error}")

    def _background(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _shard_of(server_id: str | None, shards: int) -> int:
    """https://discord.com/developers/docs/events/gateway#sharding; direct messages go to shard 0."""
    return (int(server_id) >> 22) % shards if server_id is not None else 0


def _belongs_to(shard: int, shards: int, server_id: str | None) -> bool:
    return _shard_of(server_id, shards) == shard
