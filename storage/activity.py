"""Where something is owed or on its way right now."""

from sqlalchemy import exists, or_, select

from adapters.base import Channel
from storage.places import as_channel
from storage.records import TurnState
from storage.schema import channels, is_open_reply, is_open_turn, replies, turns
from storage.transaction import Transaction


def busy_channels(tx: Transaction, platform: str, limit: int) -> list[Channel]:
    """Channels of a platform in which people wait for an answer."""
    waiting = select(turns.c.channel_id).where(is_open_turn())
    unposted = select(replies.c.channel_id).where(is_open_reply())
    rows = tx.execute(
        select(channels)
        .where(
            channels.c.platform == platform,
            channels.c.gone_reason.is_(None),
            channels.c.id.in_(waiting.union(unposted)),
        )
        .limit(limit)
    )
    return [as_channel(row) for row in rows]


def is_settled(tx: Transaction, platform: str, address: str) -> bool:
    """Whether nothing is owed and nothing waits to be posted in a channel."""
    waiting = exists().where(turns.c.channel_id == channels.c.id, is_open_turn())
    unposted = exists().where(replies.c.channel_id == channels.c.id, is_open_reply())
    row = tx.execute(
        select(channels.c.id)
        .where(channels.c.platform == platform, channels.c.address == address, or_(waiting, unposted))
        .limit(1)
    ).first()
    return row is None


def turn_holders(tx: Transaction) -> list[str]:
    """Who holds leases of turns right now."""
    return list(
        tx.execute(
            select(turns.c.lease_holder)
            .where(is_open_turn(turns, TurnState.LEASED), turns.c.lease_holder.is_not(None))
            .distinct()
        ).scalars()
    )
