"""What keeps the store small and seen: counts, retention, and which process does such work."""

from datetime import timedelta

from sqlalchemy import ColumnElement, delete, exists, func, select, update

from storage.records import DeadLetter, StoreCounts, TurnState
from storage.schema import (
    IS_DEAD,
    conversations,
    dead_letters,
    is_open_reply,
    is_open_turn,
    leaders,
    messages,
    replies,
    turns,
)
from storage.transaction import Transaction


def counts(tx: Transaction) -> StoreCounts:
    """Depth of the queues; touches only what is open or dead, however long the history is."""
    by_state = {
        row.state: int(row.depth)
        for row in tx.execute(
            select(turns.c.state, func.count().label("depth")).where(is_open_turn()).group_by(turns.c.state)
        )
    }
    by_state[TurnState.DEAD] = tx.execute(select(func.count()).select_from(turns).where(IS_DEAD)).scalar_one()
    ready = tx.execute(select(func.count()).select_from(replies).where(is_open_reply())).scalar_one()
    letters = tx.execute(select(func.count()).select_from(dead_letters)).scalar_one()
    oldest = tx.execute(
        select(func.min(turns.c.created_at)).where(is_open_turn(turns, TurnState.PENDING))
    ).scalar_one_or_none()
    return StoreCounts(
        pending=by_state.get(TurnState.PENDING, 0),
        leased=by_state.get(TurnState.LEASED, 0),
        ready=int(ready),
        dead=by_state[TurnState.DEAD],
        dead_letters=int(letters),
        oldest_pending=oldest,
        by_state=by_state,
    )


def delete_older_than(tx: Transaction, age: timedelta) -> int:
    """Retention: erase what is older than `age` and finished. Returns how many messages went."""
    limit = tx.now - age
    waiting = exists().where(turns.c.id == messages.c.turn_id, is_open_turn())
    unposted = exists().where(replies.c.turn_id == messages.c.turn_id, is_open_reply())
    count = tx.change(delete(messages).where(messages.c.received_at < limit, ~waiting, ~unposted))
    tx.execute(delete(replies).where(replies.c.created_at < limit, ~is_open_reply()))
    tx.execute(
        delete(turns).where(
            turns.c.created_at < limit, ~is_open_turn(), ~exists().where(replies.c.turn_id == turns.c.id)
        )
    )
    tx.execute(delete(dead_letters).where(dead_letters.c.created_at < limit))
    tx.execute(
        delete(conversations).where(
            conversations.c.closed_at < limit,
            ~exists().where(messages.c.conversation_id == conversations.c.id),
            ~exists().where(turns.c.conversation_id == conversations.c.id),
        )
    )
    return count


def acquire_leadership(tx: Transaction, name: str, holder: str, lease: timedelta) -> bool:
    """Become or stay the one process that does `name`; False while somebody else leads."""
    free: ColumnElement[bool] = (leaders.c.until < tx.now) | (leaders.c.holder == holder)
    values = {"holder": holder, "until": tx.now + lease}
    if tx.change(update(leaders).where(leaders.c.name == name, free).values(**values)):
        return True
    return tx.insert_new(leaders, name=name, **values)


def resign_leadership(tx: Transaction, name: str, holder: str) -> None:
    tx.execute(delete(leaders).where(leaders.c.name == name, leaders.c.holder == holder))


def list_dead_letters(tx: Transaction, limit: int = 100) -> list[DeadLetter]:
    rows = tx.execute(select(dead_letters).order_by(dead_letters.c.id.desc()).limit(limit))
    return [
        DeadLetter(id=row.id, platform=row.platform, event_id=row.event_id, error=row.error, created_at=row.created_at)
        for row in rows
    ]
