"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def _id() -> sa.types.TypeEngine[int]:
    """SQLite numbers rows by itself only in an INTEGER primary key."""
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "channels",
        sa.Column("id", _id(), nullable=False),
        sa.Column("platform", sa.String(length=32), nullable=False),
        sa.Column("address", sa.String(length=128), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("server", sa.String(length=64)),
        sa.Column("parent", sa.String(length=128)),
        sa.Column("owned", sa.Boolean(), nullable=False),
        sa.Column("persona", sa.String(length=64)),
        sa.Column("gone_reason", sa.Text()),
        sa.Column("last_message_id", sa.String(length=64)),
        sa.PrimaryKeyConstraint("id", name="pk_channels"),
        sa.UniqueConstraint("platform", "address", name="uq_channels_platform"),
    )
    op.create_table(
        "dead_letters",
        sa.Column("id", _id(), nullable=False),
        sa.Column("platform", sa.String(length=32), nullable=False),
        sa.Column("event_id", sa.String(length=64), nullable=False),
        sa.Column("raw", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_dead_letters"),
        sa.UniqueConstraint("platform", "event_id", name="uq_dead_letters_platform"),
    )
    op.create_table(
        "leaders",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("holder", sa.String(length=64), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_leaders"),
    )
    op.create_table(
        "conversations",
        sa.Column("id", _id(), nullable=False),
        sa.Column("channel_id", _id(), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True)),
        sa.ForeignKeyConstraint(
            ["channel_id"], ["channels.id"], name="fk_conversations_channel_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_conversations"),
    )
    op.create_index(
        "ix_conversations_open",
        "conversations",
        ["channel_id"],
        unique=True,
        sqlite_where=sa.text("closed_at IS NULL"),
        postgresql_where=sa.text("closed_at IS NULL"),
    )
    op.create_table(
        "turns",
        sa.Column("id", _id(), nullable=False),
        sa.Column("conversation_id", _id(), nullable=False),
        sa.Column("channel_id", _id(), nullable=False),
        sa.Column("author_id", sa.String(length=64), nullable=False),
        sa.Column("author_is_bot", sa.Boolean(), nullable=False),
        sa.Column("trigger", sa.String(length=32), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("reply_to", sa.String(length=64)),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ready_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_sent_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("lease_holder", sa.String(length=64)),
        sa.Column("lease_token", sa.String(length=32)),
        sa.Column("lease_until", sa.DateTime(timezone=True)),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        sa.Column("config_revision", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(["channel_id"], ["channels.id"], name="fk_turns_channel_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["conversation_id"], ["conversations.id"], name="fk_turns_conversation_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_turns"),
    )
    op.create_index("ix_turns_channel_created", "turns", ["channel_id", "created_at"])
    op.create_index("ix_turns_conversation", "turns", ["conversation_id", "id"])
    op.create_index("ix_turns_created", "turns", ["created_at"])
    op.create_index(
        "ix_turns_dead",
        "turns",
        ["finished_at"],
        sqlite_where=sa.text("state = 'dead'"),
        postgresql_where=sa.text("state = 'dead'"),
    )
    op.create_index(
        "ix_turns_open",
        "turns",
        ["conversation_id", "state", "id"],
        sqlite_where=sa.text("state IN ('pending', 'leased')"),
        postgresql_where=sa.text("state IN ('pending', 'leased')"),
    )
    op.create_table(
        "compositions",
        sa.Column("id", _id(), nullable=False),
        sa.Column("turn_id", _id(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("context_ids", sa.JSON(), nullable=False),
        sa.Column("decoding", sa.JSON(), nullable=False),
        sa.Column("persona", sa.String(length=64), nullable=False),
        sa.Column("config_revision", sa.String(length=32), nullable=False),
        sa.Column("model_revision", sa.String(length=64), nullable=False),
        sa.Column("ranker_revisions", sa.JSON(), nullable=False),
        sa.Column("moderation_revision", sa.String(length=64), nullable=False),
        sa.Column("rounds", sa.Integer(), nullable=False),
        sa.Column("milliseconds", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["turn_id"], ["turns.id"], name="fk_compositions_turn_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_compositions"),
        sa.UniqueConstraint("turn_id", "attempt", name="uq_compositions_turn_id"),
    )
    op.create_table(
        "messages",
        sa.Column("id", _id(), nullable=False),
        sa.Column("channel_id", _id(), nullable=False),
        sa.Column("conversation_id", _id(), nullable=False),
        sa.Column("turn_id", _id()),
        sa.Column("external_id", sa.String(length=64), nullable=False),
        sa.Column("author_id", sa.String(length=64)),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("reply_to", sa.String(length=64)),
        sa.Column("position", sa.Float(), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("edited_at", sa.DateTime(timezone=True)),
        sa.Column("deleted_at", sa.DateTime(timezone=True)),
        sa.ForeignKeyConstraint(["channel_id"], ["channels.id"], name="fk_messages_channel_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["conversation_id"], ["conversations.id"], name="fk_messages_conversation_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["turn_id"], ["turns.id"], name="fk_messages_turn_id", ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name="pk_messages"),
        sa.UniqueConstraint("channel_id", "external_id", name="uq_messages_channel_id"),
    )
    op.create_index("ix_messages_author", "messages", ["author_id"])
    op.create_index("ix_messages_received", "messages", ["received_at"])
    op.create_index("ix_messages_transcript", "messages", ["conversation_id", "position"])
    op.create_index("ix_messages_turn", "messages", ["turn_id"])
    op.create_table(
        "replies",
        sa.Column("id", _id(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("channel_id", _id(), nullable=False),
        sa.Column("turn_id", _id()),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("reply_to", sa.String(length=64)),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("receipts", sa.JSON(), nullable=False),
        sa.Column("in_doubt", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("next_try_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("first_tried_at", sa.DateTime(timezone=True)),
        sa.Column("lease_holder", sa.String(length=64)),
        sa.Column("lease_token", sa.String(length=32)),
        sa.Column("lease_until", sa.DateTime(timezone=True)),
        sa.Column("posted_at", sa.DateTime(timezone=True)),
        sa.ForeignKeyConstraint(["channel_id"], ["channels.id"], name="fk_replies_channel_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["turn_id"], ["turns.id"], name="fk_replies_turn_id", ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name="pk_replies"),
        sa.UniqueConstraint("turn_id", name="uq_replies_turn_id"),
    )
    op.create_index("ix_replies_created", "replies", ["created_at"])
    op.create_index(
        "ix_replies_open",
        "replies",
        ["channel_id", "state", "id"],
        sqlite_where=sa.text("state IN ('ready', 'posting')"),
        postgresql_where=sa.text("state IN ('ready', 'posting')"),
    )
    op.create_table(
        "candidates",
        sa.Column("id", _id(), nullable=False),
        sa.Column("composition_id", _id(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("token_ids", sa.JSON(), nullable=False),
        sa.Column("log_prob", sa.Float(), nullable=False),
        sa.Column("finished", sa.Boolean(), nullable=False),
        sa.Column("chosen", sa.Boolean(), nullable=False),
        sa.Column("dropped", sa.String(length=64)),
        sa.Column("scores", sa.JSON(), nullable=False),
        sa.Column("final", sa.Float()),
        sa.Column("verdict", sa.JSON()),
        sa.ForeignKeyConstraint(
            ["composition_id"], ["compositions.id"], name="fk_candidates_composition_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_candidates"),
    )
    op.create_index("ix_candidates_composition", "candidates", ["composition_id"])


def downgrade() -> None:
    op.drop_table("candidates")
    op.drop_table("replies")
    op.drop_table("messages")
    op.drop_table("compositions")
    op.drop_table("turns")
    op.drop_table("conversations")
    op.drop_table("leaders")
    op.drop_table("dead_letters")
    op.drop_table("channels")
