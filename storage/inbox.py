"""What came in: messages become turns, edits and deletions are recorded, dead letters kept."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, bindparam, func, insert, select, update

from adapters.base import Channel, ChannelKind
from storage.places import (
    ensure_channel,
    ensure_channel_row,
    find_channel,
    mark_back,
    note_seen,
    open_conversation,
    refuse_open_turns,
)
from storage.records import NewMessage, Receival, Received, ReplyKind, ReplyState, TurnState
from storage.schema import dead_letters, is_open_turn, messages, replies, turns
from storage.transaction import Transaction

# A message older than this when it reaches us was delivered late (an outage, a restart), not chatted just now.
LATE = timedelta(seconds=30)
_NEVER = timedelta(days=36_500)

Admission = Callable[[], str | None]  # a reason to refuse, asked once the message is known to be new


def add_message(tx: Transaction, new: NewMessage, admit: Admission = lambda: None) -> Received:
    """Store a message and, where it has a trigger, the turn that is owed. A known message changes nothing.

    Consecutive messages of one author within `quiet_time` are one turn as long as nobody works on it.
    """
    channel = ensure_channel_row(tx, new.channel)
    if _known(tx, channel.id, new.message_id):
        return Received(Receival.DUPLICATE)
    if channel.gone_reason is not None and new.channel.kind is ChannelKind.PRIVATE:
        mark_back(tx, new.channel)  # who writes to us has unblocked us
        channel = ensure_channel_row(tx, new.channel)
    note_seen(tx, channel, new.message_id)
    conversation_id = open_conversation(tx, channel.id, new.forget_after)
    queue = tx.execute(_QUEUE, {"channel": channel.id, "conversation": conversation_id}).one()
    if new.refusal is None and new.answer is None and _is_joinable(queue, new):
        _insert_message(tx, new, channel.id, conversation_id, queue.id)
        _extend(tx, queue.id, new)
        return Received(Receival.JOINED)
    if new.trigger is None:
        if not new.keep:
            return Received(Receival.IGNORED)
        _insert_message(tx, new, channel.id, conversation_id, None)
        return Received(Receival.CONTEXT)
    reason = new.refusal or _refusal(channel, queue, new) or (None if new.answer else admit())
    turn_id = _insert_turn(tx, new, channel.id, conversation_id, reason)
    _insert_message(tx, new, channel.id, conversation_id, turn_id)
    if reason is not None:
        return Received(Receival.REFUSED, reason)
    if new.answer is not None:
        add_reply(tx, channel.id, new.answer, ReplyKind.REPLY, reply_to=new.message_id, turn_id=turn_id)
        return Received(Receival.ANSWERED)
    tx.wake("turns")
    return Received(Receival.TURN)


_KNOWN = select(messages.c.id).where(
    messages.c.channel_id == bindparam("channel"), messages.c.external_id == bindparam("message")
)


def _known(tx: Transaction, channel_id: int, message_id: str) -> bool:
    return tx.execute(_KNOWN, {"channel": channel_id, "message": message_id}).first() is not None


# Counts of what waits, altogether and in the channel, beside the conversation's newest turn if it has one.
_waiting = (
    select(
        func.count().label("total"),
        func.count().filter(turns.c.channel_id == bindparam("channel")).label("here"),
    )
    .select_from(turns)
    .where(is_open_turn())
    .subquery("waiting")
)
_newest = turns.alias("newest")
_newest_id = select(func.max(turns.c.id)).where(turns.c.conversation_id == bindparam("conversation")).scalar_subquery()
_QUEUE = select(
    _waiting,
    _newest.c.id,
    _newest.c.state,
    _newest.c.attempts,
    _newest.c.author_id,
    _newest.c.last_sent_at,
    _newest.c.last_received_at,
).select_from(_waiting.outerjoin(_newest, _newest.c.id == _newest_id))


def _is_joinable(turn: Row[Any], new: NewMessage) -> bool:
    """Whether the conversation's newest turn waits, is the author's, and the pause since was short."""
    if turn.state != TurnState.PENDING or turn.attempts or turn.author_id != new.author_id:
        return False
    # Platforms round the time of sending to seconds; among live messages our own clock is the finer one.
    late = new.received_at - new.sent_at > LATE
    pause = new.sent_at - turn.last_sent_at if late else new.received_at - turn.last_received_at
    return bool(pause < new.quiet_time)


def _extend(tx: Transaction, turn_id: int, new: NewMessage) -> None:
    tx.execute(
        update(turns)
        .where(turns.c.id == turn_id)
        .values(
            ready_at=tx.now + new.quiet_time,
            last_sent_at=new.sent_at,
            last_received_at=new.received_at,
            reply_to=new.message_id,
        )
    )
    tx.wake("turns")


def _refusal(channel: Row[Any], queue: Row[Any], new: NewMessage) -> str | None:
    if channel.gone_reason is not None:
        return "channel gone"
    if new.answer is not None:
        return None
    if queue.total >= new.queue.total:
        return "queue_total"
    if new.received_at - new.sent_at > LATE:
        return None  # written while we were away: waiting was not the person's choice
    return "queue_channel" if queue.here >= new.queue.channel else None


_INSERT_TURN = insert(turns).returning(turns.c.id)


def _insert_turn(tx: Transaction, new: NewMessage, channel_id: int, conversation_id: int, reason: str | None) -> int:
    state = TurnState.PENDING
    if reason is not None:
        state = TurnState.REFUSED
    elif new.answer is not None:
        state = TurnState.REPLIED
    row = {
        "conversation_id": conversation_id,
        "channel_id": channel_id,
        "author_id": new.author_id,
        "author_is_bot": new.author_is_bot,
        "trigger": new.trigger,
        "state": state,
        "reason": reason,
        "attempts": 0,
        "reply_to": new.message_id,
        "created_at": tx.now,
        "ready_at": tx.now + new.quiet_time,
        "last_sent_at": new.sent_at,
        "last_received_at": new.received_at,
        "finished_at": None if state is TurnState.PENDING else tx.now,
        "config_revision": new.config_revision,
    }
    return int(tx.execute(_INSERT_TURN, row).scalar_one())


_said = messages.alias("said")
_LAST_POSITION = select(func.coalesce(func.max(_said.c.position), 0.0)).where(
    _said.c.conversation_id == bindparam("conversation")
)
_INSERT_MESSAGE = insert(messages).values(position=_LAST_POSITION.scalar_subquery() + 1.0)


def _insert_message(
    tx: Transaction, new: NewMessage, channel_id: int, conversation_id: int, turn_id: int | None
) -> None:
    row = {
        "channel_id": channel_id,
        "conversation_id": conversation_id,
        "conversation": conversation_id,
        "turn_id": turn_id,
        "external_id": new.message_id,
        "author_id": new.author_id,
        "text": new.text,
        "reply_to": new.reply_to,
        "sent_at": new.sent_at,
        "received_at": tx.now,
    }
    tx.execute(_INSERT_MESSAGE, row)


_INSERT_REPLY = insert(replies)


def add_reply(
    tx: Transaction,
    channel_id: int,
    text: str,
    kind: ReplyKind,
    *,
    reply_to: str | None,
    turn_id: int | None = None,
) -> None:
    """Put a text into the outbox."""
    row = {
        "kind": kind,
        "channel_id": channel_id,
        "turn_id": turn_id,
        "text": text,
        "reply_to": reply_to,
        "state": ReplyState.READY,
        "attempts": 0,
        "receipts": [],
        "in_doubt": False,
        "created_at": tx.now,
        "next_try_at": tx.now,
    }
    tx.execute(_INSERT_REPLY, row)
    tx.wake("outbox")


def add_notice(
    tx: Transaction, channel: Channel, text: str, *, reply_to: str | None, kind: ReplyKind = ReplyKind.NOTICE
) -> None:
    """Post a fixed text in a channel: a notice, or the answer to a command."""
    add_reply(tx, ensure_channel(tx, channel), text, kind, reply_to=reply_to)


def claim_command(tx: Transaction, channel: Channel, message_id: str, author_id: str, sent_at: datetime) -> bool:
    """Mark a command's message as handled, in the transaction that answers it; False if it was before.

    Its text is not kept: a command is no part of the conversation.
    """
    row = ensure_channel_row(tx, channel)
    if _known(tx, row.id, message_id):
        return False
    note_seen(tx, row, message_id)
    tx.execute(
        insert(messages).values(
            channel_id=row.id,
            conversation_id=open_conversation(tx, row.id, _NEVER),
            external_id=message_id,
            author_id=author_id,
            text="",
            position=0.0,
            sent_at=sent_at,
            received_at=tx.now,
        )
    )
    return True


def edit_message(tx: Transaction, channel: Channel, message_id: str, text: str) -> bool:
    """Record an edit; a turn that still waits is answered as edited. False if the message is unknown."""
    row = find_channel(tx, channel.platform, channel.address)
    if row is None:
        return False
    changed = tx.change(
        update(messages)
        .where(
            messages.c.channel_id == row.id,
            messages.c.external_id == message_id,
            messages.c.author_id.is_not(None),
            messages.c.deleted_at.is_(None),
            messages.c.position > 0,
            messages.c.text != text,
        )
        .values(text=text, edited_at=tx.now)
    )
    return bool(changed)


def delete_messages(tx: Transaction, channel: Channel, message_ids: Sequence[str]) -> int:
    """Record deletions and erase the words; a turn that has none left is refused."""
    row = find_channel(tx, channel.platform, channel.address)
    if row is None:
        return 0
    hit = messages.c.channel_id == row.id, messages.c.external_id.in_(message_ids), messages.c.deleted_at.is_(None)
    touched = {turn_id for turn_id in tx.execute(select(messages.c.turn_id).where(*hit)).scalars() if turn_id}
    count = tx.change(update(messages).where(*hit).values(text="", deleted_at=tx.now))
    for turn_id in touched:
        left = tx.execute(
            select(messages.c.id)
            .where(messages.c.turn_id == turn_id, messages.c.author_id.is_not(None), messages.c.deleted_at.is_(None))
            .limit(1)
        ).first()
        if left is None:
            refuse_open_turns(tx, turns.c.id == turn_id, "deleted")
    return count


def add_dead_letter(tx: Transaction, platform: str, event_id: str, raw: str, error: str) -> bool:
    """Keep an event that could not be understood; False if it is kept already."""
    return tx.insert_new(dead_letters, platform=platform, event_id=event_id, raw=raw, error=error, created_at=tx.now)


def count_turns_since(tx: Transaction, channel: Channel, since: datetime, *, trigger: str | None, bots: bool) -> int:
    """Turns of a channel since a moment: those with this trigger, or those that other bots caused."""
    row = find_channel(tx, channel.platform, channel.address)
    if row is None:
        return 0
    wanted = [turns.c.channel_id == row.id, turns.c.created_at > since, turns.c.state != TurnState.REFUSED]
    if trigger is not None:
        wanted.append(turns.c.trigger == trigger)
    if bots:
        wanted.append(turns.c.author_is_bot.is_(True))
    return int(tx.execute(select(func.count()).select_from(turns).where(*wanted)).scalar_one())
