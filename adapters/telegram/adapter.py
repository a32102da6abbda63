"""The Telegram adapter: long polling or webhook in, messages out, one Bot API server, one token.

`client` talks to the server, `parse` reads updates, `delivery` hands them to the sink,
`poll` and `webhook` fetch them. Nothing here knows what a reply is made of.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal

from telegram import BotCommand, LinkPreviewOptions, ReplyParameters
from telegram.constants import BotCommandScopeType, ChatMemberStatus
from telegram.error import BadRequest, TelegramError

from adapters.base import (
    AdapterStatus,
    Channel,
    ChannelMoved,
    ChannelRefused,
    CommandSpec,
    Identity,
    IncomingCommand,
    OutgoingPart,
    PlatformUnreachable,
    Receipt,
    Sink,
    TokenRefused,
    TryLater,
)
from adapters.telegram.client import Client, NotFound, Timing, as_post_error, flood_wait, token_refused
from adapters.telegram.delivery import Delivery
from adapters.telegram.parse import PLATFORM, Me, address_of, parse_address
from adapters.telegram.poll import Backoff, Health, Poller
from adapters.telegram.webhook import Webhook, WebhookSettings
from adapters.text import clean_text, split_text, utf16_length

__all__ = ["TelegramAdapter", "Timing", "WebhookSettings"]

log = logging.getLogger(__name__)

MOST_UNITS = 4096  # UTF-16 code units in a message (Bot API, sendMessage)

_PRIVACY_MODE = (
    "Privacy mode is on: in groups Telegram shows the bot only commands, mentions of it and replies to it, so it "
    "cannot answer to its plain name, to every message of a group or now and then unasked. To change this, send "
    "/setprivacy to @BotFather and choose Disable, then remove the bot from each group and add it again."
)
_NO_GROUPS = "The bot cannot be added to groups. To change this, send /setjoingroups to @BotFather and choose Enable."

# A command waits for this look-up, and every other chat's updates of the batch with it.
_MOST_LOOKUP_SECONDS = 5.0

# A channel that refused a post is not tried again before.
_REFUSED_SECONDS = 60.0

_ADMINS = (ChatMemberStatus.ADMINISTRATOR, ChatMemberStatus.OWNER)


class TelegramAdapter:
    """Implements `adapters.base.Adapter`."""

    platform = PLATFORM
    typing_interval = timedelta(seconds=4)  # Telegram shows it for 5 s

    def __init__(
        self,
        *,
        token: str,
        api_url: str = "https://api.telegram.org",
        mode: Literal["polling", "webhook"] = "polling",
        webhook: WebhookSettings | None = None,
        commands: Sequence[CommandSpec] = (),
        timing: Timing | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` gives seconds that never go back; flood waits and silence are measured by it."""
        if mode == "webhook" and webhook is None:
            raise ValueError("the webhook mode needs the webhook's settings")
        self._webhook = webhook if mode == "webhook" else None
        self._commands = commands
        self._timing = timing or Timing()
        self._client = Client(token, api_url, self._timing)
        self._flood_waits = FloodWaits(clock)
        self._typing_waits = FloodWaits(clock)
        self._clock = clock
        self._refused_at: dict[str, float] = {}  # by address of a channel that took no post
        self._health = (
            Health("webhook check", 3 * self._timing.webhook_check, clock)
            if self._webhook
            else Health("poll", self._timing.stalled, clock)
        )
        self._listening: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def status(self) -> AdapterStatus:
        return self._health.status

    async def identify(self) -> Identity:
        try:
            account = await self._client.call("getMe")
        except TelegramError as error:
            refusal = self._token_refusal(error)
            if refusal:
                raise TokenRefused(refusal) from None
            raise PlatformUnreachable(f"Telegram does not answer: {self._client.describe(error)}") from None
        me = _read_account(account)
        limitations = []
        if account.get("can_read_all_group_messages") is False:
            limitations.append(_PRIVACY_MODE)
        if account.get("can_join_groups") is False:
            limitations.append(_NO_GROUPS)
        url = f"https://t.me/{me.username}" if me.username else None
        return Identity(id=str(me.id), name=me.username, invite_url=url, limitations=tuple(limitations))

    async def listen(self, sink: Sink) -> None:
        self._listening = asyncio.create_task(self._listen(sink), name="telegram listen")
        try:
            await self._listening
        except asyncio.CancelledError:
            if not self._closed:
                raise
        finally:
            self._listening.cancel()
            await asyncio.wait([self._listening])

    async def _listen(self, sink: Sink) -> None:
        me = await self._wait_for_account()
        delivery = Delivery(sink, me, self._is_group_admin, self._may_try_again)
        registering = asyncio.create_task(self._register_commands(), name="telegram commands")
        try:
            if self._webhook:
                webhook = Webhook(self._webhook, self._client, delivery, health=self._health, timing=self._timing)
                await webhook.run()
            else:
                await Poller(self._client, delivery, self._health, self._timing).run()
        finally:
            registering.cancel()
            await asyncio.wait([registering])

    async def _wait_for_account(self) -> Me:
        """Ask who we are until the server answers: an outage at the start only delays it."""
        backoff = Backoff(self._timing.first_retry, self._timing.last_retry)
        while True:
            try:
                return _read_account(await self._client.call("getMe"))
            except (TelegramError, PlatformUnreachable) as error:
                reason = self._client.describe(error)
                refusal = self._token_refusal(error)
                if refusal:
                    self._health.failed(refusal)
                    raise TokenRefused(refusal) from None
                wait = flood_wait(error)
                pause = wait.total_seconds() if wait else backoff.grow()
            self._health.failed(f"Telegram does not answer: {reason}")
            log.warning("start_waits", extra={"platform": PLATFORM, "reason": reason, "retry_in_seconds": pause})
            await asyncio.sleep(pause)

    def _token_refusal(self, error: Exception) -> str | None:
        """What to tell the operator about a getMe that failed, where waiting does not help."""
        if token_refused(error):
            return f"Telegram refuses the token: {self._client.describe(error)}"
        if isinstance(error, NotFound):
            return "Telegram answers 404 Not Found: the token has the wrong form, or api_url is no Bot API server"
        return None

    async def _register_commands(self) -> None:
        """Show the commands in Telegram's menus; only what changed is set. The bot works without."""
        everyone = [command for command in self._commands if not command.admin_only_in_groups]
        for scope, commands in (
            (BotCommandScopeType.DEFAULT, everyone),
            (BotCommandScopeType.ALL_GROUP_CHATS, everyone),
            (BotCommandScopeType.ALL_PRIVATE_CHATS, self._commands),
            (BotCommandScopeType.ALL_CHAT_ADMINISTRATORS, self._commands),
        ):
            menu = [BotCommand(command.name, command.description).to_dict() for command in commands]
            try:
                if await self._client.call("getMyCommands", {"scope": {"type": scope}}) != menu:
                    await self._client.call("setMyCommands", {"scope": {"type": scope}, "commands": menu})
            except TelegramError as error:
                reason = self._client.describe(error)
                log.warning("commands_not_registered", extra={"platform": PLATFORM, "reason": reason})
                return

    async def _is_group_admin(self, command: IncomingCommand) -> bool:
        """Asked at each command that needs it; who cannot be looked up is no admin."""
        if not any(spec.admin_only_in_groups for spec in self._commands if spec.name == command.name):
            return False
        who = {"chat_id": parse_address(command.channel.address)[0], "user_id": int(command.author.id)}
        try:
            async with asyncio.timeout(_MOST_LOOKUP_SECONDS):
                member = await self._client.call("getChatMember", who)
        except (TelegramError, TimeoutError) as error:
            reason = self._client.describe(error)
            log.warning("admin_unknown", extra={"platform": PLATFORM, "reason": reason})
            return False
        return isinstance(member, dict) and member.get("status") in _ADMINS

    def split(self, text: str) -> list[str]:
        return split_text(text, MOST_UNITS, length=utf16_length)

    async def post(self, part: OutgoingPart) -> Receipt:
        try:
            chat_id, thread_id = parse_address(part.channel.address)
        except ValueError:
            raise ChannelRefused(f"{part.channel.address!r} is no Telegram address") from None
        wait = self._flood_waits.left(chat_id)
        if wait:
            raise TryLater(f"chat {chat_id} is under flood control", wait)
        text = clean_text(part.text)
        message: dict[str, Any] = {"chat_id": chat_id, "message_thread_id": thread_id, "text": text}
        message["link_preview_options"] = LinkPreviewOptions(is_disabled=True)
        if part.reply_to and part.reply_to.isdecimal():
            message["reply_parameters"] = ReplyParameters(int(part.reply_to), allow_sending_without_reply=True)
        try:
            receipt = await self._send(message, chat_id, thread_id)
        except ChannelRefused:
            self._refused_at[part.channel.address] = self._clock()
            raise
        self._refused_at.pop(part.channel.address, None)
        return receipt

    def _may_try_again(self, channel: Channel) -> bool:
        """Whether a channel refused us a while ago: that it speaks shows that we are there, and nobody tells a bot
        when all members may write again or a closed topic is opened."""
        since = self._refused_at.get(channel.address)
        if since is None or self._clock() - since < _REFUSED_SECONDS:
            return False
        self._refused_at[channel.address] = self._clock()
        return True

    async def _send(self, message: Mapping[str, Any], chat_id: int, thread_id: int | None) -> Receipt:
        try:
            sent = await self._client.call("sendMessage", message)
        except BadRequest as error:
            if "reply_parameters" in message and _is_missing_target(error):
                # A server that does not know allow_sending_without_reply, and the message is gone.
                bare = {key: value for key, value in message.items() if key != "reply_parameters"}
                return await self._send(bare, chat_id, thread_id)
            raise as_post_error(error, self._client.describe(error)) from None
        except TelegramError as error:
            self._after_failed_send(error, chat_id)
            refusal = as_post_error(error, self._client.describe(error))
            if isinstance(refusal, ChannelMoved):
                raise ChannelMoved(address_of(int(refusal.new_address), thread_id)) from None
            raise refusal from None
        # A server that says "ok" has posted, whatever it tells of the message: once more would be twice.
        message_id = sent.get("message_id") if isinstance(sent, dict) else None
        return Receipt(str(message_id) if message_id is not None else "unknown")

    def _after_failed_send(self, error: TelegramError, chat_id: int) -> None:
        wait = flood_wait(error)
        if wait:
            self._flood_waits.start(chat_id, wait)
            log.warning("flood_wait", extra={"platform": PLATFORM, "chat": chat_id, "seconds": wait.total_seconds()})
        if token_refused(error):
            self._health.failed(f"Telegram refuses the token: {self._client.describe(error)}")

    async def find_posted(self, part: OutgoingPart) -> Receipt | None:
        """The Bot API has no way to look at a chat's history."""
        return None

    async def show_typing(self, channel: Channel) -> None:
        try:
            chat_id, thread_id = parse_address(channel.address)
            if self._typing_waits.left(chat_id) or self._flood_waits.left(chat_id):
                return
            where = {"chat_id": chat_id, "message_thread_id": thread_id}
            async with asyncio.timeout(self.typing_interval.total_seconds()):
                await self._client.call("sendChatAction", {**where, "action": "typing"})
        except TelegramError as error:
            self._typing_waits.start(chat_id, flood_wait(error) or timedelta())
            log.debug("typing_not_shown", extra={"platform": PLATFORM, "reason": self._client.describe(error)})
        except (TimeoutError, ValueError) as error:
            log.debug("typing_not_shown", extra={"platform": PLATFORM, "reason": type(error).__name__})

    async def close(self) -> None:
        self._closed = True
        if self._listening:
            self._listening.cancel()
            await asyncio.wait([self._listening])
        await self._client.close()


class FloodWaits:
    """How long each chat must still be left alone, as Telegram told."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._until: dict[int, float] = {}

    def start(self, chat_id: int, wait: timedelta) -> None:
        now = self._clock()
        self._until = {chat: until for chat, until in self._until.items() if until > now}
        self._until[chat_id] = now + wait.total_seconds()

    def left(self, chat_id: int) -> timedelta | None:
        seconds = self._until.get(chat_id, 0.0) - self._clock()
        return timedelta(seconds=seconds) if seconds > 0 else None


def _is_missing_target(error: BadRequest) -> bool:
    reason = error.message.lower()
    return "repl" in reason and ("not found" in reason or "invalid" in reason)


def _read_account(account: Any) -> Me:
    try:
        return Me(id=int(account["id"]), username=str(account.get("username") or ""))
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise PlatformUnreachable(f"the answer to getMe makes no sense: {type(error).__name__}") from None
