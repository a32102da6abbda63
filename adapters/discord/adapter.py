"""Discord: posting, identity, and a connection that comes back.

discord.py does the wire (REST with rate limits, gateway sessions, shards). This file supervises it; the parts lie
beside it: `gateway` (connection), `listen` (events to the sink), `backfill` (what was
missed), `posts` (outcomes), `commands` (slash commands), `events` and `places`
(JSON to the port's words).
"""

import asyncio
import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import Literal

import discord

from adapters.base import (
    AdapterStatus,
    Channel,
    ChannelRefused,
    CommandSpec,
    Identity,
    InDoubt,
    MissingPermission,
    OutgoingPart,
    PlatformUnreachable,
    Receipt,
    Sink,
    TokenRefused,
    TryLater,
)
from adapters.discord.gateway import GatewayClient, GatewayHttp, SessionsExhausted, Timing, backoff
from adapters.discord.http import NETWORK_ERRORS, DiscordHttp, Payload, describe
from adapters.discord.listen import Listener
from adapters.discord.places import PLATFORM, READ_MESSAGE_HISTORY, VIEW_CHANNEL
from adapters.discord.posts import TEXT_LIMIT, create_message, find_message
from adapters.text import split_text

log = logging.getLogger(__name__)

SEND_MESSAGES = 1 << 11
SEND_MESSAGES_IN_THREADS = 1 << 38
PERMISSIONS = VIEW_CHANNEL | SEND_MESSAGES | READ_MESSAGE_HISTORY | SEND_MESSAGES_IN_THREADS

# Application flags: GATEWAY_MESSAGE_CONTENT and GATEWAY_MESSAGE_CONTENT_LIMITED
MESSAGE_CONTENT_FLAGS = 1 << 18 | 1 << 19

AUTHENTICATION_FAILED = 4004  # gateway close code

PORTAL_SETTING = (
    'switch on "Message Content Intent" in Discord\'s developer portal '
    "(https://discord.com/developers/applications, your application, Bot)"
)
REDUCED = "it reads direct messages, messages that mention it, and slash commands only"


class DiscordAdapter:
    """One bot account on Discord (see `adapters.base.Adapter`).

    `message_content`: "on" demands the privileged intent, "off" does without, "auto" asks for it and falls back.
    `backfill_age` and `backfill_per_channel` (messages) bound what is fetched after a gap.
    """

    platform = PLATFORM
    typing_interval = timedelta(seconds=8)  # Discord shows it for 10 s

    def __init__(
        self,
        *,
        token: str,
        api_url: str = "https://discord.com/api/v10",
        message_content: Literal["auto", "on", "off"] = "auto",
        commands: Sequence[CommandSpec] = (),
        backfill_age: timedelta = timedelta(minutes=15),
        backfill_per_channel: int = 50,
        timing: Timing | None = None,
    ) -> None:
        self._token = token
        self._api_url = api_url
        self._message_content = message_content
        self._commands = tuple(commands)
        self._backfill_age = backfill_age
        self._backfill_per_channel = backfill_per_channel
        self._timing = timing or Timing()
        self._reduced = message_content == "off"
        self._problem = "not connected yet"
        self._http: DiscordHttp | None = None
        self._me: Payload = {}
        self._signing_in = asyncio.Lock()
        self._gateway: GatewayHttp | None = None
        self._gateway_changed = asyncio.Event()
        self._identified = False  # whether the last client cost an IDENTIFY
        self._listener: Listener | None = None
        self._listening: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def status(self) -> AdapterStatus:
        last_event_at = self._listener.last_event_at if self._listener else None
        ready = self._gateway is not None and self._gateway.connected
        if self._http is not None and self._http.token_refused:
            ready, detail = False, "Discord does not accept the bot token any more (HTTP 401)"
        elif ready:
            detail = f"connected; without message content: {REDUCED}" if self._reduced else "connected"
        else:
            detail = self._gateway.problem if self._gateway is not None else self._problem
        return AdapterStatus(ready=ready, detail=detail, last_event_at=last_event_at)

    async def identify(self) -> Identity:
        http = await self._session()
        application = await _find_application(http)
        client_id = str(application.get("id") or self._me["id"])
        missing = "flags" in application and not int(application["flags"]) & MESSAGE_CONTENT_FLAGS
        if missing and self._message_content == "on":
            raise MissingPermission(_demand_message_content())
        limitations = []
        if self._message_content == "off":
            limitations.append(f"message_content is off: in servers {REDUCED}")
        elif missing:
            limitations.append(
                f"Message Content Intent is not granted: in servers {REDUCED}; to change this, {PORTAL_SETTING}"
            )
        return Identity(
            id=str(self._me["id"]),
            name=str(self._me.get("username") or self._me["id"]),
            invite_url=(
                f"https://discord.com/oauth2/authorize?client_id={client_id}"
                f"&scope=bot+applications.commands&permissions={PERMISSIONS}"
            ),
            limitations=tuple(limitations),
        )

    def split(self, text: str) -> list[str]:
        return split_text(text, TEXT_LIMIT)

    async def post(self, part: OutgoingPart) -> Receipt:
        try:
            http = await self._session()
        except (TokenRefused, PlatformUnreachable) as error:
            raise TryLater(str(error)) from error
        try:
            async with asyncio.timeout(self._timing.post):
                receipt = await create_message(http, part)
        except TimeoutError as error:
            raise InDoubt(f"no answer within {self._timing.post:.0f} s") from error
        except ChannelRefused:
            if self._listener is not None:
                self._listener.post_refused(part.channel)
            raise
        if self._listener is not None:
            self._listener.posted(receipt.message_id)
        return receipt

    async def find_posted(self, part: OutgoingPart) -> Receipt | None:
        try:
            async with asyncio.timeout(self._timing.post):
                return await find_message(await self._session(), part, str(self._me["id"]))
        except (TokenRefused, PlatformUnreachable, TimeoutError) as error:
            raise TryLater(f"the channel's history cannot be read: {describe(error)}") from error

    async def show_typing(self, channel: Channel) -> None:
        try:
            async with asyncio.timeout(self._timing.typing):
                http = await self._session()
                await http.call("POST", "/channels/{channel_id}/typing", channel_id=channel.address)
        except (TokenRefused, PlatformUnreachable, discord.DiscordException, *NETWORK_ERRORS) as error:
            log.debug("typing_not_shown", extra={"platform": PLATFORM, "error": describe(error)})

    async def listen(self, sink: Sink) -> None:
        listening = self._listening = asyncio.create_task(self._listen_again_and_again(sink), name="discord-listen")
        try:
            await asyncio.wait({listening})
        finally:
            listening.cancel()
            await asyncio.wait({listening})
            if self._listener is not None:
                await self._listener.close()
                self._listener = None
        if not listening.cancelled():  # `close` cancels it
            listening.result()

    async def close(self) -> None:
        self._closed = True
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.wait({self._listening})
        if self._http is not None:
            await self._http.close()
            self._http = None

    async def _listen_again_and_again(self, sink: Sink) -> None:
        failures = 0
        clock = asyncio.get_running_loop().time
        while True:
            started = clock()
            pause = await self._listen_until_broken(sink)
            # Only a client that lived for a while proves that all is well again: IDENTIFYs are counted by the day.
            failures = 1 if clock() - started > self._timing.longest_backoff else failures + 1
            if pause is not None:
                await asyncio.sleep(max(pause, backoff(failures, self._timing, identified=self._identified)))

    async def _listen_until_broken(self, sink: Sink) -> float | None:
        """One client from sign-in to its end. Returns the least pause in seconds, None for none at all.

        Raises TokenRefused and MissingPermission; all else is kept as the status' problem.
        """
        self._identified = False
        try:
            await self._run_client(await self._listener_for(sink))
            self._problem = "the connection ended"
        except (TokenRefused, MissingPermission) as error:
            self._problem = str(error)
            raise
        except discord.PrivilegedIntentsRequired:
            self._give_up_message_content()
            return None
        except SessionsExhausted as error:
            self._problem = str(error)
            log.warning("session_starts_exhausted", extra={"platform": PLATFORM, "seconds": error.seconds})
            return error.seconds
        except discord.ConnectionClosed as error:
            self._problem = f"connection closed (code {error.code})"
            if error.code == AUTHENTICATION_FAILED:
                raise TokenRefused(
                    "Discord's gateway does not accept the bot token; copy a new one from the "
                    "developer portal (Bot, Reset Token)."
                ) from error
        except Exception as error:  # whatever it was, time or a new client may heal it
            self._problem = describe(error)
        log.warning("connection_lost", extra={"platform": PLATFORM, "problem": self._problem})
        return 0.0

    async def _listener_for(self, sink: Sink) -> Listener:
        http = await self._session()
        if self._listener is None:
            self._listener = Listener(
                http,
                sink,
                str(self._me["id"]),
                commands=self._commands,
                backfill_age=self._backfill_age,
                backfill_per_channel=self._backfill_per_channel,
                timing=self._timing,
            )
        self._listener.reduced = self._reduced
        return self._listener

    async def _run_client(self, listener: Listener) -> None:
        gateway = GatewayHttp(
            self._api_url, self._timing, listener.receive, listener.receive_garbage, self._gateway_changed.set
        )
        client = GatewayClient(gateway, message_content=not self._reduced)
        self._gateway = gateway
        async with client:
            session = asyncio.create_task(client.run_session(self._token), name="discord-session")
            watch = asyncio.create_task(self._watch(gateway), name="discord-watch")
            try:
                await asyncio.wait({session, watch}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                self._gateway = None
                watch.cancel()
                await client.stop(session)
                self._identified = gateway.identified
        for task in (session, watch):  # the error of either is the outcome
            if task.done() and not task.cancelled():
                task.result()

    async def _watch(self, gateway: GatewayHttp) -> None:
        """Raise when there was no connection for too long, whatever discord.py is busy with."""
        while True:
            self._gateway_changed.clear()
            if gateway.connected:
                await self._gateway_changed.wait()
                continue
            try:
                async with asyncio.timeout(self._timing.offline):
                    while not gateway.connected:
                        await self._gateway_changed.wait()
                        self._gateway_changed.clear()
            except TimeoutError:
                raise PlatformUnreachable(
                    f"not connected for {self._timing.offline:.0f} s ({gateway.problem})"
                ) from None

    def _give_up_message_content(self) -> None:
        if self._message_content == "on":
            raise MissingPermission(_demand_message_content())
        self._reduced = True
        log.warning(
            "message_content_not_granted",
            extra={"platform": PLATFORM, "consequence": REDUCED, "remedy": PORTAL_SETTING},
        )

    async def _session(self) -> DiscordHttp:
        """The REST session, opened at the first use. Raises TokenRefused or PlatformUnreachable."""
        try:
            async with asyncio.timeout(self._timing.post), self._signing_in:
                if self._closed:
                    raise PlatformUnreachable("the adapter is closed")
                if self._http is None:
                    http = DiscordHttp(self._api_url)
                    self._me = await http.sign_in(self._token)
                    self._http = http
                return self._http
        except TimeoutError:
            raise PlatformUnreachable(f"Discord did not answer within {self._timing.post:.0f} s") from None


def _demand_message_content() -> str:
    return f"message_content is on, but Discord does not grant it: {PORTAL_SETTING}, or set message_content to auto"


async def _find_application(http: DiscordHttp) -> Payload:
    """Our application; empty where the server does not tell."""
    for path in ("/applications/@me", "/oauth2/applications/@me"):
        try:
            answer = await http.call("GET", path)
            if isinstance(answer, dict):
                return answer
        except (discord.DiscordException, *NETWORK_ERRORS) as error:
            log.info("application_unknown", extra={"platform": PLATFORM, "error": describe(error)})
    return {}
