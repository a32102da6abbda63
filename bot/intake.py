"""What comes in: is it meant for us, may it be answered, is it safe - then it becomes a row.

The one implementation of `adapters.base.Sink`. Everything about one message happens in one transaction,
after which the adapter may confirm it to its platform.
"""

import asyncio
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from adapters.base import Channel, ChannelKind, IncomingCommand, IncomingMessage
from bot import commands, texts
from bot.config import ChannelSettings, Config
from bot.limits import Limiter, NoticeBoard
from bot.metrics import RECEIVED
from bot.reload import LiveConfig
from bot.safety import Moderators
from bot.triggers import Trigger, addressed, chance_now, drawn
from moderation.verdict import Action
from storage import files, inbox, places
from storage.records import NewMessage, QueueLimits, Receival, Received, ReplyKind
from storage.store import Store, utc_now
from storage.transaction import Transaction

log = logging.getLogger(__name__)

MAX_CHARACTERS = 4096  # no platform of ours sends more in one message
NOTICE_WINDOW = timedelta(minutes=1)
_RECENT_AUTHORS = 10_000
_INVISIBLE = re.compile(
    "[\u0000\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u2800\u3164\ufeff\uffa0\ufff9-\uffff\ud800-\udfff]"
)


class Intake:
    """Hands over what adapters hear. `clock` tells when a message reached us."""

    def __init__(
        self,
        store: Store,
        live: LiveConfig,
        moderators: Moderators,
        *,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._store = store
        self._live = live
        self._moderators = moderators
        self._clock = clock
        self._limiter = Limiter()  # used by the store's writer thread
        self._command_limiter = Limiter()
        self._notices = NoticeBoard()
        self._last_turn: dict[tuple[str, str, str], datetime] = {}
        self._unsaved_seen: dict[tuple[str, str], tuple[Channel, str]] = {}

    async def message(self, message: IncomingMessage) -> None:
        config = self._live.current()
        settings = config.for_channel(message.channel)
        if message.author.is_bot and not self._allowed_bot(message, settings):
            return
        text = readable(message.text)
        trigger = addressed(message, text, settings.triggers)
        if trigger is None and await self._speaks_unasked(message, settings):
            trigger = Trigger.UNSOLICITED
        if trigger is None and not self._may_matter(message, settings):
            self._unsaved_seen[message.channel.platform, message.channel.address] = message.channel, message.message_id
            return
        received = await self._store.write(
            self._receive,
            self._new_message(message, text, trigger, config, settings),
            settings,
            _Spent(),
            shortened=len(message.text) > MAX_CHARACTERS,
        )
        if received.outcome in (Receival.TURN, Receival.JOINED):
            self._remember_turn(message)
        RECEIVED.labels(message.channel.platform, received.outcome.value).inc()
        log.info(
            "message_received",
            extra={
                "platform": message.channel.platform,
                "channel": message.channel.address,
                "message_id": message.message_id,
                "outcome": received.outcome.value,
                "trigger": trigger.value if trigger else None,
                "reason": received.reason,
                **({"text": text} if config.privacy.log_text else {}),
            },
        )

    async def edited(self, channel: Channel, message_id: str, text: str) -> None:
        verdict = self._moderators.of(self._live.current().for_channel(channel)).check_incoming(readable(text))
        if verdict.action is Action.BLOCK or not verdict.text:
            await self._store.write(inbox.delete_messages, channel, [message_id])
        else:
            await self._store.write(inbox.edit_message, channel, message_id, verdict.text)

    async def deleted(self, channel: Channel, message_ids: Sequence[str]) -> None:
        await self._store.write(inbox.delete_messages, channel, message_ids)

    async def command(self, command: IncomingCommand) -> str | None:
        config = self._live.current()
        key = f"{command.channel.platform}/{command.author.id}"
        rate = config.for_channel(command.channel).limits.user
        if not self._command_limiter.admit(key, rate, command.sent_at, self._clock()):
            return texts.USER_LIMIT if command.message_id is None else None
        call = commands.Call(
            channel=command.channel, author=command.author, arguments=readable(command.arguments), config=config
        )
        answer = await self._store.write(_carry_out, command, call)
        known = commands.COMMANDS.get(command.name)
        if known is not None and known.erases and self._store.sqlite_file is not None:
            await asyncio.to_thread(files.scrub, self._store.sqlite_file)
        log.info(
            "command_handled",
            extra={
                "platform": command.channel.platform,
                "channel": command.channel.address,
                "command": command.name if known else "unknown",
            },
        )
        return answer if command.message_id is None else None

    async def channel_moved(self, platform: str, old_address: str, new_address: str) -> None:
        await self._store.write(places.move_channel, platform, old_address, new_address)
        log.info("channel_moved", extra={"platform": platform, "channel": new_address})

    async def channel_gone(self, channel: Channel, reason: str) -> None:
        await self._store.write(places.mark_gone, channel, reason)
        log.info("channel_gone", extra={"platform": channel.platform, "channel": channel.address, "reason": reason})

    async def channel_back(self, channel: Channel) -> None:
        await self._store.write(places.mark_back, channel)

    async def unparsable(self, platform: str, event_id: str, raw: str, error: str) -> None:
        if await self._store.write(inbox.add_dead_letter, platform, event_id, readable(raw, limit=100_000), error):
            log.error("event_unparsable", extra={"platform": platform, "event_id": event_id, "error": error})

    async def last_seen(self, platform: str) -> Mapping[str, str]:
        await self.save_seen()
        return await self._store.read(places.last_seen, platform)

    async def save_seen(self) -> None:
        """Remember how far channels were read whose latest lines were none of our business."""
        unsaved, self._unsaved_seen = self._unsaved_seen, {}
        if unsaved:
            await self._store.write(_note_seen, list(unsaved.values()))

    def _allowed_bot(self, message: IncomingMessage, settings: ChannelSettings) -> bool:
        allowed = {str(entry) for entry in settings.triggers.bots.allow}
        return bool({message.author.id, f"{message.channel.platform}:{message.author.id}"} & allowed)

    async def _speaks_unasked(self, message: IncomingMessage, settings: ChannelSettings) -> bool:
        rule = settings.triggers.unsolicited
        if rule.chance <= 0 or message.channel.kind is ChannelKind.PRIVATE or message.author.is_bot:
            return False
        if drawn(message) >= rule.chance:
            return False  # the chance only falls from here
        now = self._clock()
        last = await self._store.read(places.last_bot_activity, message.channel)
        if drawn(message) >= chance_now(rule, None if last is None else now - last):
            return False
        recent = await self._store.read(
            inbox.count_turns_since,
            message.channel,
            now - timedelta(hours=1),
            trigger=Trigger.UNSOLICITED,
            bots=False,
        )
        return recent < rule.max_per_hour

    def _may_matter(self, message: IncomingMessage, settings: ChannelSettings) -> bool:
        """Whether an unaddressed line is kept: as context, or as the second half of what was just said to us."""
        if settings.history.group_lines == "all":
            return True
        last = self._last_turn.get(_who(message))
        return last is not None and self._clock() - last <= settings.triggers.quiet_time

    def _remember_turn(self, message: IncomingMessage) -> None:
        self._last_turn.pop(_who(message), None)
        self._last_turn[_who(message)] = self._clock()
        while len(self._last_turn) > _RECENT_AUTHORS:
            self._last_turn.pop(next(iter(self._last_turn)))

    def _new_message(
        self,
        message: IncomingMessage,
        text: str,
        trigger: Trigger | None,
        config: Config,
        settings: ChannelSettings,
    ) -> NewMessage:
        moderator = self._moderators.of(settings)
        verdict = moderator.check_incoming(text)
        refusal = answer = None
        if message.backfilled and self._clock() - message.sent_at > config.intake.backfill.age:
            refusal = "missed"
        elif not text:
            refusal = "empty"
        elif verdict.action is Action.CRISIS:
            answer = moderator.crisis_reply()
        elif verdict.action is Action.BLOCK:
            refusal = f"moderation: {verdict.category.value if verdict.category else 'blocked'}"
        return NewMessage(
            channel=message.channel,
            message_id=message.message_id,
            author_id=message.author.id,
            author_is_bot=message.author.is_bot,
            text=verdict.text if verdict.action is not Action.BLOCK else "",
            sent_at=message.sent_at,
            received_at=self._clock(),
            reply_to=message.reply_to,
            trigger=trigger.value if trigger else None,
            quiet_time=timedelta() if message.complete else settings.triggers.quiet_time,
            forget_after=settings.history.forget_after,
            queue=QueueLimits(channel=config.limits.queue_per_channel, total=config.limits.queue_total),
            config_revision=config.revision,
            refusal=refusal,
            answer=answer,
            keep=settings.history.group_lines == "all",
        )

    def _receive(
        self, tx: Transaction, new: NewMessage, settings: ChannelSettings, spent: "_Spent", *, shortened: bool
    ) -> Received:
        received = inbox.add_message(tx, new, lambda: self._over_limit(tx, new, settings, spent))
        if received.outcome is Receival.REFUSED:
            self._explain(tx, new, texts.REFUSALS.get(received.reason or ""), spent)
        elif received.outcome is Receival.TURN and shortened:
            self._explain(tx, new, texts.SHORTENED, spent)
        return received

    def _over_limit(self, tx: Transaction, new: NewMessage, settings: ChannelSettings, spent: "_Spent") -> str | None:
        if new.channel.platform == "terminal":
            return None  # whoever sits at the keyboard may type as fast as they like
        if new.author_is_bot:
            rule = settings.triggers.bots
            since = tx.now - rule.window
            if inbox.count_turns_since(tx, new.channel, since, trigger=None, bots=True) >= rule.max_turns:
                return "bot_limit"
        if spent.admitted is None:
            spent.admitted = self._admitted(new, settings) or ""
        return spent.admitted or None

    def _admitted(self, new: NewMessage, settings: ChannelSettings) -> str | None:
        clocks = new.sent_at, new.received_at
        user = f"user/{new.channel.platform}/{new.author_id}"
        if not self._limiter.admit(user, settings.limits.user, *clocks):
            return "user_limit"
        channel = f"channel/{new.channel.platform}/{new.channel.address}"
        if not self._limiter.admit(channel, settings.limits.channel, *clocks):
            return "channel_limit"
        return None

    def _explain(self, tx: Transaction, new: NewMessage, notice: str | None, spent: "_Spent") -> None:
        """One polite notice a window and channel; silence towards other bots, who would answer it."""
        if notice is None or new.author_is_bot:
            return
        if spent.notice_due is None:
            key = f"{new.channel.platform}/{new.channel.address}/{notice}"
            spent.notice_due = self._notices.due(key, NOTICE_WINDOW, new.received_at)
        if spent.notice_due:
            inbox.add_notice(tx, new.channel, notice, reply_to=new.message_id)


@dataclass(slots=True)
class _Spent:
    """What one message took from limits and notices: a transaction that is run again must not take it twice."""

    admitted: str | None = None  # "" once admitted, else the limit that refused
    notice_due: bool | None = None


def readable(text: str, limit: int = MAX_CHARACTERS) -> str:
    """Text that every database and model takes: no NUL, no lone surrogates, nothing invisible at its ends, not
    longer than `limit` characters. Empty where nothing can be seen."""
    cut = text[:limit]
    clean = cut.replace("\x00", "").encode("utf-8", "replace").decode("utf-8")
    return clean.strip() if _INVISIBLE.sub("", clean).strip() else ""


def _who(message: IncomingMessage) -> tuple[str, str, str]:
    return message.channel.platform, message.channel.address, message.author.id


def _note_seen(tx: Transaction, seen: Sequence[tuple[Channel, str]]) -> None:
    for channel, message_id in seen:
        places.note_seen(tx, places.ensure_channel_row(tx, channel), message_id)


def _carry_out(tx: Transaction, command: IncomingCommand, call: commands.Call) -> str | None:
    if command.message_id is None:
        return commands.carry_out(tx, command.name, call)
    if not inbox.claim_command(tx, command.channel, command.message_id, command.author.id, command.sent_at):
        return None
    answer = commands.carry_out(tx, command.name, call)
    if answer is not None:
        inbox.add_notice(tx, command.channel, answer, reply_to=command.message_id, kind=ReplyKind.COMMAND)
    return answer
