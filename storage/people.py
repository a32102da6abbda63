"""What a person may ask of the store: to see how much is kept of them, and to be forgotten."""

from collections.abc import Iterator

from sqlalchemy import delete, func, select, update

from storage.places import refuse_open_turns
from storage.records import Forgotten, ReplyState
from storage.schema import channels, compositions, dead_letters, is_open_reply, messages, replies, turns
from storage.transaction import Transaction


def count_messages(tx: Transaction, platform: str, author_id: str) -> int:
    """Messages of a person that are kept, over all channels of a platform."""
    return int(
        tx.execute(
            select(func.count())
            .select_from(messages)
            .join(channels, channels.c.id == messages.c.channel_id)
            .where(channels.c.platform == platform, messages.c.author_id == author_id, messages.c.text != "")
        ).scalar_one()
    )


def forget_person(tx: Transaction, platform: str, author_id: str) -> Forgotten:
    """Erase a person's words everywhere, and the replies to them, which may quote them.

    Rows that keep an event from being answered twice stay, without text and author. Of every conversation
    that the person took part in, the recorded contexts and candidates go too: they hold everybody's words. On
    SQLite call `files.scrub` afterwards, so that the write-ahead log forgets as well.
    """
    here = select(channels.c.id).where(channels.c.platform == platform)
    theirs = messages.c.channel_id.in_(here) & (messages.c.author_id == author_id)
    said = tx.execute(select(messages.c.turn_id, messages.c.conversation_id).where(theirs)).all()
    for conversation_ids in _portions({row.conversation_id for row in said}):
        spoken_in = select(turns.c.id).where(turns.c.conversation_id.in_(conversation_ids))
        tx.execute(delete(compositions).where(compositions.c.turn_id.in_(spoken_in)))  # candidates go with them
    erased_replies = sum(
        _erase_turns(tx, turn_ids) for turn_ids in _portions({row.turn_id for row in said if row.turn_id})
    )
    written = tx.execute(select(func.count()).select_from(messages).where(theirs, messages.c.text != ""))
    erased = int(written.scalar_one())
    tx.execute(update(messages).where(theirs).values(text="", author_id="", deleted_at=tx.now, reply_to=None))
    # A dead letter is unparsed: whatever holds the person's id is taken to hold their words.
    tx.execute(
        delete(dead_letters).where(
            dead_letters.c.platform == platform, dead_letters.c.raw.contains(author_id, autoescape=True)
        )
    )
    return Forgotten(messages=erased, replies=erased_replies)


def _portions(ids: set[int], size: int = 500) -> Iterator[list[int]]:
    """SQLite binds at most some thousand parameters."""
    ordered = sorted(ids)
    for start in range(0, len(ordered), size):
        yield ordered[start : start + size]


def _erase_turns(tx: Transaction, turn_ids: list[int]) -> int:
    refuse_open_turns(tx, turns.c.id.in_(turn_ids), "forgotten")
    tx.execute(update(turns).where(turns.c.id.in_(turn_ids)).values(author_id=""))
    tx.execute(
        update(messages)
        .where(messages.c.turn_id.in_(turn_ids), messages.c.author_id.is_(None))
        .values(text="", deleted_at=tx.now)
    )
    tx.execute(
        update(replies)
        .where(replies.c.turn_id.in_(turn_ids), is_open_reply())
        .values(state=ReplyState.FAILED, reason="forgotten", lease_token=None, lease_until=None)
    )
    tx.wake("turns")
    return tx.change(update(replies).where(replies.c.turn_id.in_(turn_ids), replies.c.text != "").values(text=""))
