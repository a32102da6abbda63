"""What the store hands out and takes in. Plain data; knows no database."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from adapters.base import Channel


class TurnState(StrEnum):
    """`pending → leased → replied | refused | dead`; a returned lease goes back to `pending`."""

    PENDING = "pending"
    LEASED = "leased"
    REPLIED = "replied"
    REFUSED = "refused"
    DEAD = "dead"


class ReplyState(StrEnum):
    """`ready → posting → posted | failed`; an unfinished post goes back to `ready`."""

    READY = "ready"
    POSTING = "posting"
    POSTED = "posted"
    FAILED = "failed"


class ReplyKind(StrEnum):
    REPLY = "reply"  # answers a turn and becomes part of the conversation
    NOTICE = "notice"  # limits, failures: never part of a context
    COMMAND = "command"  # the answer to a command that came as a message


class Receival(StrEnum):
    """What became of an incoming message."""

    DUPLICATE = "duplicate"
    TURN = "turn"  # opened a pending turn
    JOINED = "joined"  # belongs to a turn that was pending already
    CONTEXT = "context"  # kept as something the model may see, owes no reply
    IGNORED = "ignored"  # none of our business: not stored
    REFUSED = "refused"
    ANSWERED = "answered"  # answered at once with a fixed text (a command, a crisis message)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueLimits:
    """How many turns may wait: in one channel and altogether."""

    channel: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NewMessage:
    """A message as the intake wants it stored.

    `trigger` names why the bot owes a reply. Without one the message may still belong to a turn that waits; else
    it is kept as context, or, where `keep` is False, not at all. `refusal` refuses the turn for a
    reason found before the store was asked; `answer` is a fixed text to post instead of a generated reply.
    """

    channel: Channel
    message_id: str
    author_id: str
    author_is_bot: bool
    text: str
    sent_at: datetime
    received_at: datetime
    reply_to: str | None
    trigger: str | None
    quiet_time: timedelta
    forget_after: timedelta
    queue: QueueLimits
    config_revision: str
    keep: bool = True
    refusal: str | None = None
    answer: str | None = None


@dataclass(frozen=True, slots=True)
class Received:
    """The outcome of `inbox.add_message`; `reason` says why a turn was refused."""

    outcome: Receival
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LeasedTurn:
    """A turn this process may answer until its lease ends; every write about it names token and attempt."""

    id: int
    conversation_id: int
    channel: Channel
    channel_persona: str | None
    author_id: str
    token: str
    attempt: int  # counts from 1
    reply_to: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Lease:
    """`turns` to answer now; `retry_waiting` when a turn that failed before waits to be answered alone."""

    turns: Sequence[LeasedTurn]
    retry_waiting: bool


@dataclass(frozen=True, slots=True)
class Line:
    """One message of a transcript; `author_id` None is the bot itself."""

    author_id: str | None
    text: str
    in_turn: bool  # belongs to the turn that is to be answered


@dataclass(frozen=True, slots=True, kw_only=True)
class TalkLine:
    """One message of a whole conversation: `author_id` None is the bot, whose `turn_id` is the turn it answers; no
    text where it was deleted."""

    author_id: str | None
    turn_id: int | None
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Talk:
    """A whole conversation."""

    conversation_id: int
    platform: str
    lines: Sequence[TalkLine]


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateRecord:
    """One candidate as it is kept: what it said, how it was scored, why it was dropped or chosen."""

    text: str
    token_ids: Sequence[int]
    log_prob: float
    finished: bool
    chosen: bool
    dropped: str | None  # guard or moderation rule that removed it
    scores: Mapping[str, float]
    final: float | None
    verdict: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Composition:
    """How a turn was answered, complete enough to write the same reply again."""

    seed: int
    context_ids: Sequence[int]
    decoding: Mapping[str, Any]
    persona: str
    config_revision: str
    model_revision: str
    ranker_revisions: Mapping[str, str]
    moderation_revision: str
    rounds: int  # 1, more when everything was filtered and sampling went on under stronger constraints
    milliseconds: Mapping[str, float]  # context, generate, check, score
    candidates: Sequence[CandidateRecord]


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedTurn:
    """What the worker commits: a reply text, or the reason why there is none."""

    text: str | None
    reason: str | None
    composition: Composition | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LeasedReply:
    """A reply this process may post until its lease ends.

    `posted_parts` receipts are in already; `in_doubt` says that an earlier attempt at the next part may have
    reached the platform.
    """

    id: int
    kind: ReplyKind
    channel: Channel
    text: str
    reply_to: str | None
    token: str
    attempt: int
    receipts: Sequence[str]
    in_doubt: bool
    first_tried_at: datetime | None
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadTurn:
    id: int
    platform: str
    address: str
    attempts: int
    reason: str
    finished_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    id: int
    platform: str
    event_id: str
    error: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    """What `forget_person` erased."""

    messages: int
    replies: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreCounts:
    """Depth of the queues, for metrics and `banter check`."""

    pending: int
    leased: int
    ready: int
    dead: int
    dead_letters: int
    oldest_pending: datetime | None = None
    by_state: Mapping[str, int] = field(default_factory=dict)
