"""From raw updates to the sink: parsed one by one, in order within a chat, chats side by side.

An update counts as delivered once the sink has committed it, or has kept it as a dead letter. Whether updates
came by polling or by webhook is not known here.
"""

import asyncio
import hashlib
import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from adapters.base import Channel, ChannelKind, IncomingCommand, IncomingMessage, Sink
from adapters.telegram.parse import PLATFORM, Back, Edited, Event, Gone, Me, Moved, chat_key, parse_update

log = logging.getLogger(__name__)

AskAdmin = Callable[[IncomingCommand], Awaitable[bool]]
MayTryAgain = Callable[[Channel], bool]

# After so many refusals of one update by a sink that keeps everything else, the update is at fault.
_MOST_REFUSALS = 8


class NotCommitted(Exception):
    """The sink did not take an update; it must be delivered again, and not be confirmed before."""


class Delivery:
    """Hands updates to the sink. `ask_admin` says whether a command's author is an admin of the group, `may_try_again`
    whether a channel that speaks had refused us and is to be tried once more."""

    def __init__(self, sink: Sink, me: Me, ask_admin: AskAdmin, may_try_again: MayTryAgain) -> None:
        self._sink = sink
        self._me = me
        self._ask_admin = ask_admin
        self._may_try_again = may_try_again
        self._refusals: dict[str, int] = {}

    async def deliver_batch(self, updates: Sequence[Any]) -> list[int]:
        """Deliver all; returns the positions in `updates` of those that must come again.

        Behind a failure the rest of that chat is left alone, since its order must hold.
        """
        numbered = sorted(enumerate(updates), key=lambda pair: _chat(pair[1]))
        chats = [list(group) for _, group in groupby(numbered, key=lambda pair: _chat(pair[1]))]
        failed = await asyncio.gather(*(self._deliver_in_order(chat) for chat in chats))
        return sorted(position for positions in failed for position in positions)

    async def _deliver_in_order(self, updates: Sequence[tuple[int, Any]]) -> list[int]:
        for done, (_, update) in enumerate(updates):
            try:
                await self.deliver(update)
            except NotCommitted:
                return [position for position, _ in updates[done:]]
        return []

    async def deliver(self, update: Any) -> None:
        """Deliver one update; raises NotCommitted."""
        try:
            event = parse_update(update, self._me)
        except Exception as error:  # whatever a model's constructor makes of foreign data
            await self._keep_unparsable(update, error)
            return
        if event is None:
            return
        try:
            await self._hand_over(event)
        except Exception as error:
            await self._after_refusal(update, event, error)
        self._refusals.pop(_event_id(update), None)

    async def _keep_unparsable(self, update: Any, error: Exception) -> None:
        reason = f"{type(error).__name__}: {error}".encode(errors="replace").decode()
        log.warning("update_unparsable", extra={"platform": PLATFORM, "update": _update_id(update)})
        try:
            await self._sink.unparsable(PLATFORM, _event_id(update), json.dumps(update), reason)
        except Exception as refusal:
            raise NotCommitted(f"{type(refusal).__name__}: {refusal}") from refusal

    async def _after_refusal(self, update: Any, event: Event, error: Exception) -> None:
        """Ask for the update again; but one that is refused each time must not stop all others for good.

        If the sink can keep it as a dead letter, the store works and the update is at fault. The last try covers
        a store that recovered in between.
        """
        refusals = self._refusals[_event_id(update)] = self._refusals.get(_event_id(update), 0) + 1
        facts = {"platform": PLATFORM, "update": _update_id(update), "error": type(error).__name__, "times": refusals}
        log.info("update_not_committed", extra=facts)
        if refusals < _MOST_REFUSALS:
            raise NotCommitted(f"{type(error).__name__}: {error}") from error
        await self._keep_unparsable(update, error)
        try:
            await self._hand_over(event)
        except Exception as last:  # its text may hold the message, so only its kind is logged
            facts["error"] = type(last).__name__
            log.error("update_given_up", extra=facts)

    async def _hand_over(self, event: Event) -> None:
        match event:
            case IncomingMessage():
                if self._may_try_again(event.channel):
                    await self._sink.channel_back(event.channel)
                await self._sink.message(event)
            case IncomingCommand():
                await self._sink.command(await self._with_rights(event))
            case Edited():
                await self._sink.edited(event.channel, event.message_id, event.text)
            case Moved():
                await self._sink.channel_moved(PLATFORM, event.old_address, event.new_address)
            case Gone():
                await self._sink.channel_gone(event.channel, event.reason)
            case Back():
                await self._sink.channel_back(event.channel)

    async def _with_rights(self, command: IncomingCommand) -> IncomingCommand:
        if command.author.is_admin or command.channel.kind is ChannelKind.PRIVATE:
            return command
        is_admin = await self._ask_admin(command)
        return replace(command, author=replace(command.author, is_admin=is_admin))


def _chat(update: Any) -> str:
    return chat_key(update) if isinstance(update, Mapping) else ""


def _update_id(update: Any) -> int | None:
    number = update.get("update_id") if isinstance(update, Mapping) else None
    return number if isinstance(number, int) else None


def _event_id(update: Any) -> str:
    """Stable for an update delivered again; update ids alone can start anew after a quiet week."""
    digest = hashlib.sha256(json.dumps(update, sort_keys=True).encode()).hexdigest()
    return f"{_update_id(update)}:{digest[:16]}"
