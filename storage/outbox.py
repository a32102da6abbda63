"""Replies on their way out: leased, posted part by part, and remembered once the platform has them.

A reply becomes part of the conversation only when it is posted. Within a channel the outbox is strictly in
order; a reply that has to wait holds up its own channel and no other.
"""

import secrets
from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, Integer, Row, bindparam, exists, func, insert, select, update

from storage.errors import LeaseLost
from storage.places import as_channel
from storage.records import LeasedReply, ReplyKind, ReplyState
from storage.schema import (
    Instant,
    channels,
    conversations,
    is_open_reply,
    is_open_turn,
    messages,
    replies,
    turns,
)
from storage.transaction import Transaction


def lease_replies(
    tx: Transaction,
    platform: str,
    holder: str,
    limit: int,
    lease: timedelta,
    *,
    addresses: Collection[str] | None = None,
    busy: Collection[str] = (),
) -> list[LeasedReply]:
    """Take the oldest due reply of each channel, up to `limit` channels.

    From here on the platform may have a reply's next part although we do not know it: its row is in doubt until
    `mark_part`, `mark_posted` or `try_later` says more. What is returned tells whether it was in doubt before.
    `addresses` restricts to these channels, `busy` leaves out those that the caller posts in already.
    """
    due = _DUE
    if busy:
        due = due.where(channels.c.address.not_in(busy))
    if addresses is not None:
        due = due.where(channels.c.address.in_(addresses))
    rows = tx.execute(due, {"platform": platform, "now": tx.now, "limit": limit}).all()
    return _take(tx, rows, holder, lease)


_older = replies.alias("older")
_IS_FIRST = ~exists().where(
    _older.c.channel_id == replies.c.channel_id, is_open_reply(_older), _older.c.id < replies.c.id
)
_DUE = (
    select(replies.c.id.label("reply_id"), replies.c.in_doubt.label("was_in_doubt"), channels)
    .join(channels, channels.c.id == replies.c.channel_id)
    .where(
        channels.c.platform == bindparam("platform"),
        is_open_reply(replies, ReplyState.READY),
        replies.c.next_try_at <= bindparam("now", type_=Instant),
        _IS_FIRST,
    )
    .order_by(replies.c.id)
    .limit(bindparam("limit", type_=Integer))
    .with_for_update(of=replies, skip_locked=True, key_share=True)
)
_TAKE = (
    update(replies)
    .where(replies.c.id.in_(bindparam("reply_ids", expanding=True)), is_open_reply(replies, ReplyState.READY))
    .values(
        attempts=replies.c.attempts + 1,
        first_tried_at=func.coalesce(replies.c.first_tried_at, bindparam("now", type_=Instant)),
    )
    .returning(replies)
)


def _take(tx: Transaction, rows: Sequence[Row[Any]], holder: str, lease: timedelta) -> list[LeasedReply]:
    if not rows:
        return []
    token = secrets.token_hex(8)
    taken = tx.execute(
        _TAKE,
        {
            "reply_ids": [row.reply_id for row in rows],
            "now": tx.now,
            "state": ReplyState.POSTING,
            "in_doubt": True,
            "lease_holder": holder,
            "lease_token": token,
            "lease_until": tx.now + lease,
        },
    )
    by_id = {reply.id: reply for reply in taken}
    return [
        LeasedReply(
            id=reply.id,
            kind=ReplyKind(reply.kind),
            channel=as_channel(row),
            text=reply.text,
            reply_to=reply.reply_to,
            token=token,
            attempt=reply.attempts,
            receipts=tuple(reply.receipts),
            in_doubt=row.was_in_doubt,
            first_tried_at=reply.first_tried_at,
            created_at=reply.created_at,
        )
        for row in rows
        if (reply := by_id.get(row.reply_id)) is not None
    ]


_IS_HELD = (
    (replies.c.id == bindparam("reply"))
    & is_open_reply(replies, ReplyState.POSTING)
    & (replies.c.lease_token == bindparam("token"))
)
_CHANGE_HELD = update(replies).where(_IS_HELD)
_waiting = turns.alias("waiting")
_behind = replies.alias("behind")
_LOCK_HELD = (
    select(
        replies,
        select(turns.c.conversation_id)
        .where(turns.c.id == replies.c.turn_id)
        .scalar_subquery()
        .label("conversation_id"),
        select(func.max(messages.c.position))
        .where(messages.c.turn_id == replies.c.turn_id)
        .scalar_subquery()
        .label("answered_position"),
        exists()
        .where(
            conversations.c.channel_id == replies.c.channel_id,
            conversations.c.closed_at.is_(None),
            _waiting.c.conversation_id == conversations.c.id,
            is_open_turn(_waiting),
        )
        .label("turn_waits"),
        exists()
        .where(_behind.c.channel_id == replies.c.channel_id, is_open_reply(_behind), _behind.c.id != replies.c.id)
        .label("reply_waits"),
    )
    .where(_IS_HELD)
    .with_for_update(of=replies, key_share=True)
)


def _change_held(tx: Transaction, reply: LeasedReply, **values: Any) -> None:
    if not tx.change(_CHANGE_HELD, {"reply": reply.id, "token": reply.token, **values}):
        raise _lost(reply)


def _lock_held(tx: Transaction, reply: LeasedReply) -> Row[Any]:
    row = tx.execute(_LOCK_HELD, {"reply": reply.id, "token": reply.token}).one_or_none()
    if row is None:
        raise _lost(reply)
    return row


def _lost(reply: LeasedReply) -> LeaseLost:
    return LeaseLost(f"reply {reply.id} is not ours any more")


def mark_part(tx: Transaction, reply: LeasedReply, message_id: str, lease: timedelta) -> None:
    """The platform has this part, and from here on it may have the next one. Raises LeaseLost."""
    receipts = [*_lock_held(tx, reply).receipts, message_id]
    _change_held(tx, reply, receipts=receipts, in_doubt=True, lease_until=tx.now + lease)


def mark_posted(tx: Transaction, reply: LeasedReply, message_id: str) -> None:
    """The platform has the last part: the reply is said, and is now part of the conversation.
    Raises LeaseLost."""
    row = _lock_held(tx, reply)
    _change_held(
        tx,
        reply,
        state=ReplyState.POSTED,
        receipts=[*row.receipts, message_id],
        in_doubt=False,
        reason=None,
        lease_token=None,
        lease_until=None,
        posted_at=tx.now,
    )
    if reply.kind is ReplyKind.REPLY:
        _remember(tx, row)
        if row.turn_waits:
            tx.wake("turns")  # the conversation's next turn may be answered now
    if row.reply_waits:
        tx.wake("outbox")


_INSERT_MESSAGE = insert(messages)


def _remember(tx: Transaction, reply: Row[Any]) -> None:
    """Write the reply into the transcript behind the turn that it answers, unless that turn was erased."""
    if reply.conversation_id is None:
        return
    said = {
        "channel_id": reply.channel_id,
        "conversation_id": reply.conversation_id,
        "turn_id": reply.turn_id,
        "external_id": f"reply:{reply.id}",  # ours, so that it meets no person's message id
        "author_id": None,
        "text": reply.text,
        "reply_to": reply.reply_to,
        "position": (reply.answered_position or 0.0) + 0.5,
        "sent_at": tx.now,
        "received_at": tx.now,
    }
    tx.execute(_INSERT_MESSAGE, said)


def try_later(tx: Transaction, reply: LeasedReply, wait: timedelta, reason: str, *, in_doubt: bool) -> None:
    """Put the reply back; nobody touches it before `wait` is over. Raises LeaseLost."""
    _change_held(
        tx,
        reply,
        state=ReplyState.READY,
        next_try_at=tx.now + wait,
        reason=reason,
        in_doubt=in_doubt,
        lease_token=None,
        lease_until=None,
    )


def mark_failed(tx: Transaction, reply: LeasedReply, reason: str) -> None:
    """This reply will never be posted. Raises LeaseLost."""
    _change_held(tx, reply, state=ReplyState.FAILED, reason=reason, lease_token=None, lease_until=None)
    tx.wake("turns")
    tx.wake("outbox")


def return_expired_leases(tx: Transaction) -> int:
    """Replies whose poster has not been heard of wait again; what it was about to post stays in doubt."""
    return _return(tx, replies.c.lease_until < tx.now)


def return_leases_of(tx: Transaction, platform: str, holder_prefix: str) -> int:
    """The same for posters of this platform that are known to be dead."""
    here = select(channels.c.id).where(channels.c.platform == platform)
    dead = replies.c.lease_holder.startswith(holder_prefix, autoescape=True)
    return _return(tx, dead & replies.c.channel_id.in_(here))


def _return(tx: Transaction, condition: ColumnElement[bool]) -> int:
    count = tx.change(
        update(replies)
        .where(is_open_reply(replies, ReplyState.POSTING), condition)
        .values(state=ReplyState.READY, lease_token=None, lease_until=None)
    )
    if count:
        tx.wake("outbox")
    return count


def next_due(tx: Transaction, platform: str) -> float | None:
    """Seconds until the earliest reply of a platform is due that waits for nothing but time; None if none does."""
    earliest = tx.execute(
        select(func.min(replies.c.next_try_at))
        .join(channels, channels.c.id == replies.c.channel_id)
        .where(channels.c.platform == platform, is_open_reply(replies, ReplyState.READY), _IS_FIRST)
    ).scalar_one_or_none()
    return None if earliest is None else max(0.0, (earliest - tx.now).total_seconds())


def is_idle(tx: Transaction, platform: str, address: str) -> bool:
    """Whether nothing waits to be posted in a channel."""
    row = tx.execute(
        select(replies.c.id)
        .join(channels, channels.c.id == replies.c.channel_id)
        .where(
            channels.c.platform == platform,
            channels.c.address == address,
            is_open_reply(),
        )
        .limit(1)
    ).first()
    return row is None
