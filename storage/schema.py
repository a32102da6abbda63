"""The tables. One row a thing that happened; states move as `storage.records` says."""

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    FromClause,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    literal_column,
    text,
)

from storage.records import ReplyState, TurnState

SCHEMA_REVISION = "0001"  # the migration that creates exactly these tables

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class Instant(TypeDecorator[datetime]):
    """An aware UTC datetime on every database (SQLite itself would forget the zone)."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        moment = value if value.tzinfo is UTC else value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        moment: datetime = value
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


class Words(TypeDecorator[str]):
    """Text that people or models wrote. PostgreSQL knows no NUL and UTF-8 no lone surrogates: both become
    the replacement character, so that such a message is stored like any other."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        if value is None or (value.isascii() and "\x00" not in value):
            return value
        return value.replace("\x00", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")


# SQLite numbers rows by itself only in an INTEGER primary key.
Id = BigInteger().with_variant(Integer, "sqlite")

channels = Table(
    "channels",
    metadata,
    Column("id", Id, primary_key=True),
    Column("platform", String(32), nullable=False),
    Column("address", String(128), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("server", String(64)),
    Column("parent", String(128)),
    Column("owned", Boolean, nullable=False, default=False),
    Column("persona", String(64)),  # chosen by command; None follows the configuration
    Column("gone_reason", Words),  # not None: nothing is posted here
    Column("last_message_id", String(64)),
    UniqueConstraint("platform", "address"),
)

conversations = Table(
    "conversations",
    metadata,
    Column("id", Id, primary_key=True),
    Column("channel_id", Id, ForeignKey("channels.id", ondelete="CASCADE"), nullable=False),
    Column("opened_at", Instant, nullable=False),
    Column("last_at", Instant, nullable=False),
    Column("closed_at", Instant),
    Index(
        "ix_conversations_open",
        "channel_id",
        unique=True,
        sqlite_where=text("closed_at IS NULL"),
        postgresql_where=text("closed_at IS NULL"),
    ),
)

turns = Table(
    "turns",
    metadata,
    Column("id", Id, primary_key=True),
    Column("conversation_id", Id, ForeignKey("conversations.id", ondelete="CASCADE"), nullable=False),
    Column("channel_id", Id, ForeignKey("channels.id", ondelete="CASCADE"), nullable=False),
    Column("author_id", String(64), nullable=False),
    Column("author_is_bot", Boolean, nullable=False, default=False),
    Column("trigger", String(32), nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", Words),
    Column("attempts", Integer, nullable=False, default=0),
    Column("reply_to", String(64)),
    Column("created_at", Instant, nullable=False),
    Column("ready_at", Instant, nullable=False),
    Column("last_sent_at", Instant, nullable=False),
    Column("last_received_at", Instant, nullable=False),
    Column("lease_holder", String(64)),
    Column("lease_token", String(32)),
    Column("lease_until", Instant),
    Column("finished_at", Instant),
    Column("config_revision", String(32), nullable=False),
    # The queue is small, its history is long: only what waits or works is indexed for leasing.
    Index(
        "ix_turns_open",
        "conversation_id",
        "state",
        "id",
        sqlite_where=text("state IN ('pending', 'leased')"),
        postgresql_where=text("state IN ('pending', 'leased')"),
    ),
    Index(
        "ix_turns_dead",
        "finished_at",
        sqlite_where=text("state = 'dead'"),
        postgresql_where=text("state = 'dead'"),
    ),
    Index("ix_turns_channel_created", "channel_id", "created_at"),
    Index("ix_turns_created", "created_at"),
    Index("ix_turns_conversation", "conversation_id", "id"),
)

messages = Table(
    "messages",
    metadata,
    Column("id", Id, primary_key=True),
    Column("channel_id", Id, ForeignKey("channels.id", ondelete="CASCADE"), nullable=False),
    Column("conversation_id", Id, ForeignKey("conversations.id", ondelete="CASCADE"), nullable=False),
    Column("turn_id", Id, ForeignKey("turns.id", ondelete="SET NULL")),
    Column("external_id", String(64), nullable=False),
    Column("author_id", String(64)),  # None: the bot itself
    Column("text", Words, nullable=False),
    Column("reply_to", String(64)),
    # Order of the transcript: a reply stands right behind the turn it answers, whenever it was posted.
    Column("position", Float, nullable=False),
    Column("sent_at", Instant, nullable=False),
    Column("received_at", Instant, nullable=False),
    Column("edited_at", Instant),
    Column("deleted_at", Instant),
    UniqueConstraint("channel_id", "external_id"),
    Index("ix_messages_transcript", "conversation_id", "position"),
    Index("ix_messages_turn", "turn_id"),
    Index("ix_messages_author", "author_id"),
    Index("ix_messages_received", "received_at"),
)

compositions = Table(
    "compositions",
    metadata,
    Column("id", Id, primary_key=True),
    Column("turn_id", Id, ForeignKey("turns.id", ondelete="CASCADE"), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("context_ids", JSON, nullable=False),
    Column("decoding", JSON, nullable=False),
    Column("persona", String(64), nullable=False),
    Column("config_revision", String(32), nullable=False),
    Column("model_revision", String(64), nullable=False),
    Column("ranker_revisions", JSON, nullable=False),
    Column("moderation_revision", String(64), nullable=False),
    Column("rounds", Integer, nullable=False),
    Column("milliseconds", JSON, nullable=False),
    Column("created_at", Instant, nullable=False),
    UniqueConstraint("turn_id", "attempt"),
)

candidates = Table(
    "candidates",
    metadata,
    Column("id", Id, primary_key=True),
    Column("composition_id", Id, ForeignKey("compositions.id", ondelete="CASCADE"), nullable=False),
    Column("text", Words, nullable=False),
    Column("token_ids", JSON, nullable=False),
    Column("log_prob", Float, nullable=False),
    Column("finished", Boolean, nullable=False),
    Column("chosen", Boolean, nullable=False),
    Column("dropped", String(64)),
    Column("scores", JSON, nullable=False),
    Column("final", Float),
    Column("verdict", JSON),
    Index("ix_candidates_composition", "composition_id"),
)

replies = Table(
    "replies",
    metadata,
    Column("id", Id, primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("channel_id", Id, ForeignKey("channels.id", ondelete="CASCADE"), nullable=False),
    Column("turn_id", Id, ForeignKey("turns.id", ondelete="SET NULL")),
    Column("text", Words, nullable=False),
    Column("reply_to", String(64)),
    Column("state", String(16), nullable=False),
    Column("reason", Words),
    Column("attempts", Integer, nullable=False, default=0),
    Column("receipts", JSON, nullable=False, default=list),
    Column("in_doubt", Boolean, nullable=False, default=False),
    Column("created_at", Instant, nullable=False),
    Column("next_try_at", Instant, nullable=False),
    Column("first_tried_at", Instant),
    Column("lease_holder", String(64)),
    Column("lease_token", String(32)),
    Column("lease_until", Instant),
    Column("posted_at", Instant),
    UniqueConstraint("turn_id"),
    Index(
        "ix_replies_open",
        "channel_id",
        "state",
        "id",
        sqlite_where=text("state IN ('ready', 'posting')"),
        postgresql_where=text("state IN ('ready', 'posting')"),
    ),
    Index("ix_replies_created", "created_at"),
)

dead_letters = Table(
    "dead_letters",
    metadata,
    Column("id", Id, primary_key=True),
    Column("platform", String(32), nullable=False),
    Column("event_id", String(64), nullable=False),
    Column("raw", Words, nullable=False),
    Column("error", Words, nullable=False),
    Column("created_at", Instant, nullable=False),
    UniqueConstraint("platform", "event_id"),
)

leaders = Table(
    "leaders",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("holder", String(64), nullable=False),
    Column("until", Instant, nullable=False),
)


def is_open_turn(table: FromClause = turns, state: TurnState | None = None) -> ColumnElement[bool]:
    """Whether a turn still owes something, or is in the one open `state`.

    States are written into the statement, never bound to it: only then does a database see that the small
    index of open rows is enough.
    """
    return _is_open(table, (TurnState.PENDING, TurnState.LEASED), state)


def is_open_reply(table: FromClause = replies, state: ReplyState | None = None) -> ColumnElement[bool]:
    """The same for replies that are not posted yet."""
    return _is_open(table, (ReplyState.READY, ReplyState.POSTING), state)


def _is_open(table: FromClause, every: Sequence[StrEnum], state: StrEnum | None) -> ColumnElement[bool]:
    waits: ColumnElement[bool] = table.c.state.in_([literal_column(f"'{each}'") for each in every])
    return waits if state is None else waits & (table.c.state == literal_column(f"'{state}'"))


IS_DEAD: ColumnElement[bool] = turns.c.state == literal_column(f"'{TurnState.DEAD}'")
