"""Whole conversations, page by page, for whoever makes a corpus of them. Says nothing of who agreed to that."""

from collections.abc import Sequence
from itertools import groupby

from sqlalchemy import Integer, bindparam, select

from storage.records import Talk, TalkLine
from storage.schema import Id, channels, conversations, messages
from storage.transaction import Transaction

_PAGE = (
    select(conversations.c.id).where(conversations.c.id > bindparam("after", type_=Id)).order_by(conversations.c.id)
).limit(bindparam("limit", type_=Integer))
_LINES = (
    select(
        messages.c.conversation_id,
        channels.c.platform,
        messages.c.author_id,
        messages.c.turn_id,
        messages.c.text,
        messages.c.deleted_at,
    )
    .join(channels, channels.c.id == messages.c.channel_id)
    .where(messages.c.conversation_id.in_(bindparam("conversations", expanding=True)), messages.c.position > 0)
    .order_by(messages.c.conversation_id, messages.c.position)
)


def read_talks(tx: Transaction, after: int, limit: int) -> Sequence[Talk]:
    """The next `limit` conversations behind the id `after`, lines in the order of the transcript. A conversation
    without messages has no lines."""
    ids = list(tx.execute(_PAGE, {"after": after, "limit": limit}).scalars())
    rows = tx.execute(_LINES, {"conversations": ids}).all() if ids else []
    found = {number: list(group) for number, group in groupby(rows, key=lambda row: row.conversation_id)}
    return [
        Talk(
            conversation_id=number,
            platform=found[number][0].platform if number in found else "",
            lines=[
                TalkLine(
                    author_id=row.author_id,
                    turn_id=row.turn_id,
                    text="" if row.deleted_at is not None else row.text,
                )
                for row in found.get(number, ())
            ],
        )
        for number in ids
    ]
