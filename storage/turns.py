"""The work queue: turns are leased, answered, retried or given up.

One conversation has at most one turn in work, and the next one waits until the reply before it has left, so
that replies keep the order of their turns and a context never holds words that nobody has seen.
Every write about a leased turn names its token and attempt: whoever lost the lease changes nothing.
"""

import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Integer, Row, Select, Subquery, bindparam, exists, func, insert, select, update

from storage.errors import LeaseLost
from storage.inbox import add_reply
from storage.places import as_channel
from storage.records import (
    Composition,
    DeadTurn,
    FinishedTurn,
    Lease,
    LeasedTurn,
    Line,
    ReplyKind,
    TurnState,
)
from storage.schema import (
    IS_DEAD,
    Instant,
    candidates,
    channels,
    compositions,
    conversations,
    is_open_reply,
    is_open_turn,
    messages,
    replies,
    turns,
)
from storage.transaction import Transaction

MAX_ATTEMPTS = 3
_BACKOFF = (timedelta(seconds=1), timedelta(seconds=5), timedelta(seconds=20))


def lease_turns(tx: Transaction, holder: str, limit: int, lease: timedelta, *, idle: bool, apology: str) -> Lease:
    """Take up to `limit` turns that are due, at most one a conversation.

    Servers take turns: everybody's first waiting turn goes before anybody's second, whoever has more channels.
    A turn that failed before is leased alone and only by an `idle` holder, so that it can ruin
    nobody else's answer.
    """
    return_expired_leases(tx, apology)
    retry_waiting = tx.execute(_RETRY_IS_DUE, {"now": tx.now}).first() is not None
    if retry_waiting and idle:
        head = _lock(tx, _LOCK_DUE, 1)
        if head and head[0].attempts:
            return Lease(_take(tx, head, holder, lease), retry_waiting=False)
    fresh = _lock(tx, _LOCK_FRESH, limit)
    if not fresh and retry_waiting and idle:
        retry = _lock(tx, _LOCK_RETRY, 1)
        return Lease(_take(tx, retry, holder, lease), retry_waiting=False)
    return Lease(_take(tx, fresh, holder, lease), retry_waiting=retry_waiting)


_other = turns.alias("other")
_goes_before = exists().where(
    _other.c.conversation_id == turns.c.conversation_id,
    is_open_turn(_other),
    (_other.c.state == TurnState.LEASED) | (_other.c.id < turns.c.id),
)
_unposted = exists().where(replies.c.channel_id == turns.c.channel_id, is_open_reply(), replies.c.turn_id.is_not(None))
# Together with the channel's row: a turn that waits for nothing but its time.
_IS_NEXT = is_open_turn(turns, TurnState.PENDING) & channels.c.gone_reason.is_(None) & ~_goes_before & ~_unposted


def _due(*conditions: ColumnElement[bool]) -> Subquery:
    """Pending turns that may be leased `:now`, with their place in the queue of their server."""
    queue = func.coalesce(channels.c.server, channels.c.address)
    place = func.row_number().over(partition_by=(channels.c.platform, queue), order_by=(turns.c.ready_at, turns.c.id))
    return (
        select(
            turns.c.id,
            turns.c.conversation_id,
            turns.c.channel_id,
            turns.c.attempts,
            turns.c.ready_at,
            place.label("place"),
        )
        .join(channels, channels.c.id == turns.c.channel_id)
        .where(_IS_NEXT, turns.c.ready_at <= bindparam("now", type_=Instant), *conditions)
        .subquery("due")
    )


def _locking(due: Subquery) -> Select[Any]:
    """The next `:limit` due turns with their channels. On PostgreSQL their conversations stay locked until the
    commit, and those that another worker is leasing just now are passed over."""
    return (
        select(due.c.id.label("turn_id"), due.c.attempts, channels)
        .join(conversations, conversations.c.id == due.c.conversation_id)
        .join(channels, channels.c.id == due.c.channel_id)
        .order_by(due.c.place, due.c.ready_at, due.c.id)
        .limit(bindparam("limit", type_=Integer))
        .with_for_update(of=conversations, skip_locked=True, key_share=True)
    )


_LOCK_DUE = _locking(_due())
_LOCK_FRESH = _locking(_due(turns.c.attempts == 0))
_LOCK_RETRY = _locking(_due(turns.c.attempts > 0))
_RETRY_IS_DUE = select(_due(turns.c.attempts > 0).c.id).limit(1)


def _lock(tx: Transaction, statement: Select[Any], limit: int) -> Sequence[Row[Any]]:
    return tx.execute(statement, {"now": tx.now, "limit": limit}).all()


_working = turns.alias("working")
_TAKE = (
    update(turns)
    .where(
        turns.c.id.in_(bindparam("turn_ids", expanding=True)),
        is_open_turn(turns, TurnState.PENDING),
        ~exists().where(
            _working.c.conversation_id == turns.c.conversation_id, is_open_turn(_working, TurnState.LEASED)
        ),
    )
    .values(attempts=turns.c.attempts + 1)
    .returning(
        turns.c.id,
        turns.c.conversation_id,
        turns.c.author_id,
        turns.c.attempts,
        turns.c.reply_to,
        turns.c.created_at,
    )
)


def _take(tx: Transaction, rows: Sequence[Row[Any]], holder: str, lease: timedelta) -> list[LeasedTurn]:
    """Lease what is still free: between our look and our lock another worker may have been here."""
    if not rows:
        return []
    token = secrets.token_hex(8)
    taken = tx.execute(
        _TAKE,
        {
            "turn_ids": [row.turn_id for row in rows],
            "state": TurnState.LEASED,
            "lease_holder": holder,
            "lease_token": token,
            "lease_until": tx.now + lease,
        },
    )
    by_id = {turn.id: turn for turn in taken}
    return [
        LeasedTurn(
            id=turn.id,
            conversation_id=turn.conversation_id,
            channel=as_channel(row),
            channel_persona=row.persona,
            author_id=turn.author_id,
            token=token,
            attempt=turn.attempts,
            reply_to=turn.reply_to,
            created_at=turn.created_at,
        )
        for row in rows
        if (turn := by_id.get(row.turn_id)) is not None
    ]


_NEXT_DUE = select(func.min(turns.c.ready_at)).join(channels, channels.c.id == turns.c.channel_id).where(_IS_NEXT)


def next_due(tx: Transaction) -> datetime | None:
    """When the earliest turn becomes due that waits for nothing but time; None if none does."""
    return tx.execute(_NEXT_DUE).scalar_one_or_none()


def extend_leases(tx: Transaction, held: Sequence[LeasedTurn], lease: timedelta) -> set[int]:
    """The holder is alive: its leases last on. Returns the turns that it still holds."""
    still_held = tx.execute(
        update(turns)
        .where(
            turns.c.id.in_([turn.id for turn in held]),
            turns.c.lease_token.in_({turn.token for turn in held}),
            is_open_turn(turns, TurnState.LEASED),
        )
        .values(lease_until=tx.now + lease)
        .returning(turns.c.id)
    )
    return set(still_held.scalars())


_last = messages.alias("last")
_TRANSCRIPT = (
    select(messages.c.author_id, messages.c.text, messages.c.turn_id)
    .where(
        messages.c.conversation_id == bindparam("conversation"),
        messages.c.position
        <= select(func.max(_last.c.position)).where(_last.c.turn_id == bindparam("turn")).scalar_subquery(),
        messages.c.position > 0,
        messages.c.deleted_at.is_(None),
        messages.c.text != "",
    )
    .order_by(messages.c.position.desc())
    .limit(bindparam("limit", type_=Integer))
)


def transcript(tx: Transaction, turn: LeasedTurn, limit: int) -> list[Line]:
    """The last `limit` messages up to the end of the turn, oldest first, as they read now."""
    rows = tx.execute(_TRANSCRIPT, {"conversation": turn.conversation_id, "turn": turn.id, "limit": limit}).all()
    return [Line(row.author_id, row.text, row.turn_id == turn.id) for row in reversed(rows)]


def finish_turn(tx: Transaction, turn: LeasedTurn, finished: FinishedTurn) -> None:
    """Commit what became of a turn, its candidates and its reply. Raises LeaseLost."""
    answered = finished.text is not None
    row = _end(tx, turn, TurnState.REPLIED if answered else TurnState.REFUSED, finished.reason)
    if finished.composition is not None:
        _insert_composition(tx, turn, finished.composition)
    if finished.text is not None:
        add_reply(tx, row.channel_id, finished.text, ReplyKind.REPLY, reply_to=row.reply_to, turn_id=turn.id)
    else:
        tx.wake("turns")  # no reply that the conversation's next turn would have to wait for


def fail_turn(tx: Transaction, turn: LeasedTurn, reason: str, apology: str) -> bool:
    """An attempt failed: try again later, or give the turn up with a notice. True if it is dead now.
    Raises LeaseLost."""
    if turn.attempt < MAX_ATTEMPTS:
        changed = tx.change(update(turns).where(_held(turn)).values(**_returned(tx, turn.attempt), reason=reason))
        if not changed:
            raise LeaseLost(f"turn {turn.id} is not ours any more")
        tx.wake("turns")
        return False
    row = _end(tx, turn, TurnState.DEAD, reason)
    add_reply(tx, row.channel_id, apology, ReplyKind.NOTICE, reply_to=row.reply_to)
    tx.wake("turns")
    return True


def hand_back(tx: Transaction, turn: LeasedTurn) -> None:
    """Give a turn back untouched, as when the worker shuts down: the attempt does not count."""
    tx.execute(
        update(turns)
        .where(_held(turn))
        .values(state=TurnState.PENDING, attempts=turns.c.attempts - 1, lease_token=None, lease_until=None)
    )
    tx.wake("turns")


_LEASED = (
    select(turns.c.id, turns.c.attempts, turns.c.channel_id, turns.c.reply_to)
    .where(is_open_turn(turns, TurnState.LEASED))
    .with_for_update(skip_locked=True, key_share=True)
)
_EXPIRED = _LEASED.where(turns.c.lease_until < bindparam("now", type_=Instant))
_HELD_BY = _LEASED.where(turns.c.lease_holder == bindparam("holder"))


def return_expired_leases(tx: Transaction, apology: str) -> int:
    """Turns whose holder has not been heard of go back to the queue, or die after their last attempt, with
    `apology` as a notice."""
    return _return(tx, _EXPIRED, {"now": tx.now}, apology)


def return_leases_of(tx: Transaction, holder: str, apology: str) -> int:
    """The same for a holder that is known to be dead."""
    return _return(tx, _HELD_BY, {"holder": holder}, apology)


def _return(tx: Transaction, leased: Select[Any], parameters: dict[str, Any], apology: str) -> int:
    rows = tx.execute(leased, parameters).all()
    for row in rows:
        if row.attempts < MAX_ATTEMPTS:
            tx.execute(update(turns).where(turns.c.id == row.id).values(**_returned(tx, row.attempts)))
        else:
            tx.execute(
                update(turns)
                .where(turns.c.id == row.id)
                .values(
                    state=TurnState.DEAD,
                    reason=f"the worker died or hung {row.attempts} times while it wrote this reply",
                    finished_at=tx.now,
                    lease_token=None,
                    lease_until=None,
                )
            )
            add_reply(tx, row.channel_id, apology, ReplyKind.NOTICE, reply_to=row.reply_to)
    if rows:
        tx.wake("turns")
    return len(rows)


def _returned(tx: Transaction, attempt: int) -> dict[str, Any]:
    return {
        "state": TurnState.PENDING,
        "ready_at": tx.now + _BACKOFF[min(attempt, len(_BACKOFF)) - 1],
        "lease_token": None,
        "lease_until": None,
    }


def _held(turn: LeasedTurn) -> ColumnElement[bool]:
    return (
        (turns.c.id == turn.id)
        & is_open_turn(turns, TurnState.LEASED)
        & (turns.c.lease_token == turn.token)
        & (turns.c.attempts == turn.attempt)
    )


_END = (
    update(turns)
    .where(
        turns.c.id == bindparam("turn"),
        is_open_turn(turns, TurnState.LEASED),
        turns.c.lease_token == bindparam("token"),
        turns.c.attempts == bindparam("attempt"),
    )
    .returning(turns.c.channel_id, turns.c.reply_to)
)


def _end(tx: Transaction, turn: LeasedTurn, state: TurnState, reason: str | None) -> Row[Any]:
    """End a leased turn; its channel, and the message to answer as it is now."""
    ended = tx.execute(
        _END,
        {
            "turn": turn.id,
            "token": turn.token,
            "attempt": turn.attempt,
            "state": state,
            "reason": reason,
            "finished_at": tx.now,
            "lease_token": None,
            "lease_until": None,
        },
    ).one_or_none()
    if ended is None:
        raise LeaseLost(f"turn {turn.id} is not ours any more")
    return ended


_INSERT_COMPOSITION = insert(compositions).returning(compositions.c.id)
_INSERT_CANDIDATES = insert(candidates)


def _insert_composition(tx: Transaction, turn: LeasedTurn, made: Composition) -> None:
    composition = {
        "turn_id": turn.id,
        "attempt": turn.attempt,
        "seed": made.seed,
        "context_ids": list(made.context_ids),
        "decoding": dict(made.decoding),
        "persona": made.persona,
        "config_revision": made.config_revision,
        "model_revision": made.model_revision,
        "ranker_revisions": dict(made.ranker_revisions),
        "moderation_revision": made.moderation_revision,
        "rounds": made.rounds,
        "milliseconds": dict(made.milliseconds),
        "created_at": tx.now,
    }
    composition_id = tx.execute(_INSERT_COMPOSITION, composition).scalar_one()
    rows = [
        {
            "composition_id": composition_id,
            "text": candidate.text,
            "token_ids": list(candidate.token_ids),
            "log_prob": candidate.log_prob,
            "finished": candidate.finished,
            "chosen": candidate.chosen,
            "dropped": candidate.dropped,
            "scores": dict(candidate.scores),
            "final": candidate.final,
            "verdict": dict(candidate.verdict) if candidate.verdict is not None else None,
        }
        for candidate in made.candidates
    ]
    if rows:
        tx.execute(_INSERT_CANDIDATES, rows)


def list_dead(tx: Transaction, limit: int = 100) -> list[DeadTurn]:
    """Turns that were given up, the newest first."""
    rows = tx.execute(
        select(turns, channels.c.platform, channels.c.address)
        .join(channels, channels.c.id == turns.c.channel_id)
        .where(IS_DEAD)
        .order_by(turns.c.finished_at.desc(), turns.c.id.desc())
        .limit(limit)
    )
    return [
        DeadTurn(
            id=row.id,
            platform=row.platform,
            address=row.address,
            attempts=row.attempts,
            reason=row.reason or "",
            finished_at=row.finished_at,
        )
        for row in rows
    ]


def retry_dead(tx: Transaction, turn_id: int) -> bool:
    """Queue a dead turn once more, with all its attempts; False if there is no such dead turn, or if the bot
    may not post in its channel any more."""
    reachable = exists().where(channels.c.id == turns.c.channel_id, channels.c.gone_reason.is_(None))
    tx.wake("turns")
    return bool(
        tx.change(
            update(turns)
            .where(turns.c.id == turn_id, IS_DEAD, reachable)
            .values(state=TurnState.PENDING, attempts=0, ready_at=tx.now, finished_at=None, reason=None)
        )
    )


def drop_dead(tx: Transaction, turn_id: int) -> bool:
    """Stop listing a dead turn; it stays unanswered."""
    return bool(tx.change(update(turns).where(turns.c.id == turn_id, IS_DEAD).values(state=TurnState.REFUSED)))
