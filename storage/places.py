"""Channels and conversations: where people talk, and what is said there since the last reset."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, bindparam, delete, insert, literal, or_, select, update

from adapters.base import Channel, ChannelKind
from storage.records import ReplyState, TurnState
from storage.schema import Instant, channels, conversations, is_open_reply, is_open_turn, messages, replies, turns
from storage.transaction import Transaction

_MOVED = "moved to "


def as_channel(row: Row[Any]) -> Channel:
    """The channel of a row that selects `channels`' columns under their own names."""
    return Channel(
        platform=row.platform,
        address=row.address,
        kind=ChannelKind(row.kind),
        server=row.server,
        parent=row.parent,
        owned=row.owned,
    )


_FIND_CHANNEL = select(channels).where(
    channels.c.platform == bindparam("platform"), channels.c.address == bindparam("address")
)


def find_channel(tx: Transaction, platform: str, address: str) -> Row[Any] | None:
    return tx.execute(_FIND_CHANNEL, {"platform": platform, "address": address}).one_or_none()


def ensure_channel(tx: Transaction, channel: Channel) -> int:
    """The channel's row id; makes the row, or brings its description up to date."""
    return int(ensure_channel_row(tx, channel).id)


def ensure_channel_row(tx: Transaction, channel: Channel) -> Row[Any]:
    """The same, with the row as it was found or made."""
    row = find_channel(tx, channel.platform, channel.address)
    described = {
        "kind": channel.kind.value,
        "server": channel.server,
        "parent": channel.parent,
        "owned": channel.owned,
    }
    if row is None:
        return tx.execute(
            insert(channels)
            .values(platform=channel.platform, address=channel.address, **described)
            .returning(*channels.c)
        ).one()
    if any(getattr(row, name) != value for name, value in described.items()):
        tx.execute(update(channels).where(channels.c.id == row.id).values(**described))
    return row


_FIND_OPEN_CONVERSATION = (
    select(conversations.c.id)
    .where(conversations.c.channel_id == bindparam("channel"), conversations.c.closed_at.is_(None))
    .with_for_update(key_share=True)
)
_TOUCH_CONVERSATION = update(conversations).where(conversations.c.id == bindparam("conversation"))
_TOUCH_OPEN_CONVERSATION = (
    update(conversations)
    .where(
        conversations.c.channel_id == bindparam("channel"),
        conversations.c.closed_at.is_(None),
        conversations.c.last_at >= bindparam("not_before", type_=Instant),
    )
    .returning(conversations.c.id)
)
_INSERT_CONVERSATION = insert(conversations).returning(conversations.c.id)


def open_conversation(tx: Transaction, channel_id: int, forget_after: timedelta) -> int:
    """The channel's conversation; a new one where the last one has been silent for longer than `forget_after`
    and owes nothing.

    Its row stays locked until the commit, so that nobody leases a turn that a message is about to join.
    """
    found = tx.execute(
        _TOUCH_OPEN_CONVERSATION, {"channel": channel_id, "not_before": tx.now - forget_after, "last_at": tx.now}
    ).scalar_one_or_none()
    if found is not None:
        return int(found)
    row = tx.execute(_FIND_OPEN_CONVERSATION, {"channel": channel_id}).one_or_none()
    if row is not None and _owes(tx, row.id):
        tx.execute(_TOUCH_CONVERSATION, {"conversation": row.id, "last_at": tx.now})
        return int(row.id)
    if row is not None:
        _close(tx, row.id)
    opened = {"channel_id": channel_id, "opened_at": tx.now, "last_at": tx.now, "closed_at": None}
    return int(tx.execute(_INSERT_CONVERSATION, opened).scalar_one())


def _owes(tx: Transaction, conversation_id: int) -> bool:
    open_turns = select(turns.c.id).where(turns.c.conversation_id == conversation_id, is_open_turn())
    return tx.execute(open_turns.limit(1)).first() is not None


def _close(tx: Transaction, conversation_id: int) -> None:
    tx.execute(update(conversations).where(conversations.c.id == conversation_id).values(closed_at=tx.now))


def reset_conversation(tx: Transaction, channel: Channel) -> bool:
    """Close the channel's conversation and refuse what it still owes. False if nothing was open."""
    row = find_channel(tx, channel.platform, channel.address)
    if row is None:
        return False
    open_ids = list(
        tx.execute(
            select(conversations.c.id).where(conversations.c.channel_id == row.id, conversations.c.closed_at.is_(None))
        ).scalars()
    )
    for conversation_id in open_ids:
        refuse_open_turns(tx, turns.c.conversation_id == conversation_id, "reset")
        _close(tx, conversation_id)
    return bool(open_ids)


def refuse_open_turns(tx: Transaction, condition: Any, reason: str) -> None:
    """Refuse turns that are pending or leased; a worker that still writes one finds its lease gone."""
    tx.execute(
        update(turns)
        .where(condition, is_open_turn())
        .values(state=TurnState.REFUSED, reason=reason, finished_at=tx.now, lease_token=None, lease_until=None)
    )


def close_silent_conversations(tx: Transaction, forget_after: timedelta) -> int:
    """Close conversations that nobody has spoken in for `forget_after`; how many."""
    busy = select(turns.c.conversation_id).where(is_open_turn())
    return tx.change(
        update(conversations)
        .where(
            conversations.c.closed_at.is_(None),
            conversations.c.last_at < tx.now - forget_after,
            conversations.c.id.not_in(busy),
        )
        .values(closed_at=tx.now)
    )


def choose_persona(tx: Transaction, channel: Channel, persona: str | None) -> None:
    """Let this channel speak with `persona`; None goes back to the configured one."""
    channel_id = ensure_channel(tx, channel)
    tx.execute(update(channels).where(channels.c.id == channel_id).values(persona=persona))


def chosen_persona(tx: Transaction, channel: Channel) -> str | None:
    row = find_channel(tx, channel.platform, channel.address)
    return None if row is None else row.persona


def mark_gone(tx: Transaction, channel: Channel, reason: str) -> None:
    """The platform lets us say nothing there: end what is owed and waits, and owe nothing new."""
    channel_id = ensure_channel(tx, channel)
    tx.execute(update(channels).where(channels.c.id == channel_id).values(gone_reason=reason))
    refuse_open_turns(tx, turns.c.channel_id == channel_id, "channel gone")
    tx.execute(
        update(replies)
        .where(replies.c.channel_id == channel_id, is_open_reply())
        .values(state=ReplyState.FAILED, reason=f"channel gone: {reason}", lease_token=None)
    )


def mark_back(tx: Transaction, channel: Channel) -> None:
    channel_id = ensure_channel(tx, channel)
    tx.execute(update(channels).where(channels.c.id == channel_id).values(gone_reason=None))


def mark_all_back(tx: Transaction, platform: str) -> None:
    """Try again where posting was refused, as after a restart: rights may have changed meanwhile. What moved
    stays moved."""
    tx.execute(
        update(channels)
        .where(
            channels.c.platform == platform,
            channels.c.gone_reason.is_not(None),
            ~channels.c.gone_reason.startswith(_MOVED),
        )
        .values(gone_reason=None)
    )


def move_channel(tx: Transaction, platform: str, old: str, new: str) -> int:
    """Give a channel and its topics (`old/THREAD`) a new address; history and settings follow. Returns how many
    channels moved: none when the move is known already.

    The old address stays as a channel that is gone, so that an event of it that is delivered once more is
    answered nowhere.
    """
    rows = tx.execute(
        select(channels).where(
            channels.c.platform == platform,
            or_(channels.c.address == old, channels.c.address.startswith(f"{old}/", autoescape=True)),
            or_(channels.c.gone_reason.is_(None), channels.c.gone_reason != _moved_to(new)),
        )
    ).all()
    for row in rows:
        _move(tx, row, old, new)
    return len(rows)


def _moved_to(new: str) -> str:
    return f"{_MOVED}{new}"


def _move(tx: Transaction, row: Row[Any], old: str, new: str) -> None:
    address = new + row.address[len(old) :]
    # Messages are numbered anew under the new address: old numbers must not pass for new ones.
    of_old_numbering = messages.c.channel_id == row.id, messages.c.author_id.is_not(None)
    tx.execute(
        update(messages)
        .where(*of_old_numbering)
        .values(external_id=literal(f"{old}:") + messages.c.external_id, reply_to=None)
    )
    tx.execute(update(turns).where(turns.c.channel_id == row.id, is_open_turn()).values(reply_to=None))
    tx.execute(update(replies).where(replies.c.channel_id == row.id, is_open_reply()).values(reply_to=None))
    target = find_channel(tx, row.platform, address)
    if target is not None:
        _merge(tx, row.id, target.id)
    tx.execute(
        update(channels)
        .where(channels.c.id == row.id)
        .values(
            address=address,
            server=new if row.server == old else row.server,
            parent=new if row.parent == old else row.parent,
            gone_reason=None,
            last_message_id=None if target is None else target.last_message_id,
        )
    )
    tx.execute(
        insert(channels).values(
            platform=row.platform,
            address=row.address,
            kind=row.kind,
            server=row.server,
            parent=row.parent,
            owned=row.owned,
            gone_reason=_moved_to(new),
        )
    )


def _merge(tx: Transaction, kept: int, dropped: int) -> None:
    """The new address was heard of before the move was: its rows join the older channel's."""
    tx.execute(
        update(conversations)
        .where(conversations.c.channel_id == dropped, conversations.c.closed_at.is_(None))
        .values(closed_at=tx.now)
    )
    for table in (conversations, turns, messages, replies):
        tx.execute(update(table).where(table.c.channel_id == dropped).values(channel_id=kept))
    tx.execute(delete(channels).where(channels.c.id == dropped))


def last_seen(tx: Transaction, platform: str) -> dict[str, str]:
    """Newest known message id by channel address, of channels that we may post in."""
    rows = tx.execute(
        select(channels.c.address, channels.c.last_message_id).where(
            channels.c.platform == platform,
            channels.c.last_message_id.is_not(None),
            channels.c.gone_reason.is_(None),
        )
    )
    return {row.address: row.last_message_id for row in rows}


_NOTE_SEEN = update(channels).where(channels.c.id == bindparam("channel"))


def note_seen(tx: Transaction, channel: Row[Any], message_id: str) -> None:
    """Remember the newest message id of a channel; platforms number messages upwards."""
    if not message_id.isdecimal() or not _is_later(message_id, channel.last_message_id):
        return
    tx.execute(_NOTE_SEEN, {"channel": channel.id, "last_message_id": message_id})


def _is_later(message_id: str, known: str | None) -> bool:
    return known is None or not known.isdecimal() or int(message_id) > int(known)


def last_bot_activity(tx: Transaction, channel: Channel) -> datetime | None:
    """When the bot last took part in this channel; None if it never did."""
    row = find_channel(tx, channel.platform, channel.address)
    if row is None:
        return None
    return tx.execute(
        select(turns.c.created_at).where(turns.c.channel_id == row.id).order_by(turns.c.created_at.desc()).limit(1)
    ).scalar_one_or_none()
