"""Talks in which a model's own replies are fed back as its family's program does, and replies chosen backwards."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from bot.generator.dialects.base import BOT, TrainingExample, Utterance
from bot.generator.dialects.chitchat import Chitchat
from bot.generator.dialects.dialogpt import DialoGPT
from bot.generator.errors import GenerationFailed
from bot.generator.ranking.reverse import TURNS, Reverse
from bot.trace.errors import TraceError
from bot.trace.reading import Choice, Session
from bot.trace.running import PERSON, Record, Tracer, number, pieces_of, reply_ids
from bot.trace.settings import Settings

_UNCUT = 1 << 30
_CANDIDATES = 5
"""How many replies GPT2-chitchat's program for its reverse model writes when nobody says."""


@runtime_checkable
class _WritesEntries(Protocol):
    """A dialect whose history can be written from ids."""

    def encode_entries(self, entries: Sequence[Sequence[int]], max_tokens: int) -> list[int]:
        """A context from the ids of its turns."""


class History(Protocol):
    """What was said so far, in the form in which a family's program keeps it."""

    def hear(self, text: str) -> None:
        """Somebody's turn."""

    def answer(self, tokens: Sequence[int], stop: int | None) -> None:
        """The model's turn: its ids without the stop token, and that token."""

    def context(self, settings: Settings) -> list[int]:
        """The ids that the model reads next. Raises ValueError for none."""


@dataclass
class _Texts:
    """Replies are kept as texts and encoded anew (devjwsong's program, and all that have none of their own)."""

    tracer: Tracer
    persona: Sequence[str]
    said: list[Utterance] = field(default_factory=list)

    def hear(self, text: str) -> None:
        self.said.append(Utterance(PERSON, text))

    def answer(self, tokens: Sequence[int], stop: int | None) -> None:
        self.said.append(Utterance(BOT, self.tracer.text(tokens)))

    def context(self, settings: Settings) -> list[int]:
        return self.tracer.encode(self.said, settings, self.persona)


@dataclass
class _Segments:
    """The ids as they were read and written, one after the other (the example of DialoGPT's model card)."""

    tracer: Tracer
    segments: list[list[int]] = field(default_factory=list)

    def hear(self, text: str) -> None:
        self.segments.append(self.tracer.dialect.encode([Utterance(PERSON, text)], _UNCUT))

    def answer(self, tokens: Sequence[int], stop: int | None) -> None:
        self.segments.append([*tokens, *([] if stop is None else [stop])])

    def context(self, settings: Settings) -> list[int]:
        recent = self.segments[-settings.turns :] if settings.turns else self.segments
        return [token for segment in recent for token in segment]


@dataclass
class _Entries:
    """Turns as ids without specials (GPT2-chitchat). `marked`: people's have their own beginning and end inside."""

    tracer: Tracer
    writer: _WritesEntries
    marked: bool
    entries: list[list[int]] = field(default_factory=list)

    def hear(self, text: str) -> None:
        ids = entry_of(self.tracer, text)
        self.entries.append(self.writer.encode_entries([ids], _UNCUT) if self.marked else ids)

    def answer(self, tokens: Sequence[int], stop: int | None) -> None:
        self.entries.append(list(tokens))

    def context(self, settings: Settings) -> list[int]:
        recent = self.entries[-settings.turns :] if settings.turns else self.entries
        return self.writer.encode_entries(recent, _UNCUT)


def trace_session(tracer: Tracer, session: Session, settings: Settings, reverse: Reverse | None) -> Record:
    """Trace a talk turn by turn; a turn that cannot be answered is an empty reply, as in the originals."""
    settings = settings.changed(session.options, f"{session.where}.options")
    history = _history(tracer, session)
    record: Record = {"id": session.id, "options": dict(session.options)}
    if session.persona:
        record["persona"] = list(session.persona)
    if session.reverse and reverse is None:
        return {**record, "error": "This talk needs the reverse model. Name it with --mmi PATH."}
    if reverse is not None and not isinstance(history, _Entries):
        return {**record, "error": f"The dialect {tracer.dialect.name} has no talks with a reverse model."}
    turns = []
    for user in session.users:
        history.hear(user)
        if reverse is not None and isinstance(history, _Entries):
            turns.append({"user": user, **_chosen(tracer, history, settings, reverse)})
        else:
            turns.append({"user": user, **_answered(tracer, history, settings)})
    return {**record, "turns": turns}


def trace_choice(tracer: Tracer, choice: Choice, settings: Settings, reverse: Reverse | None) -> Record:
    """What a reverse model thinks of given replies."""
    settings = settings.changed(choice.options, f"{choice.where}.options")
    record: Record = {"id": choice.id, "history": list(choice.history)}
    if reverse is None:
        return {**record, "error": "This choice needs the reverse model. Name it with --mmi PATH."}
    if not isinstance(tracer.dialect, _WritesEntries):
        return {**record, "error": f"The dialect {tracer.dialect.name} has no choice with a reverse model."}
    entries = [entry_of(tracer, text) for text in choice.history]
    try:
        judged, chosen = _judged(tracer, tracer.dialect, reverse, choice.candidates, entries, _told(settings))
    except GenerationFailed as error:
        return {**record, "error": str(error)}
    return {**record, "candidates": judged, "chosen_index": chosen}


def entry_of(tracer: Tracer, text: str) -> list[int]:
    """The ids of what somebody said, without specials."""
    dialect = tracer.dialect
    return dialect.entry(Utterance(PERSON, text)) if isinstance(dialect, Chitchat) else tracer.tokenizer.encode(text)


def _history(tracer: Tracer, session: Session) -> History:
    if isinstance(tracer.dialect, _WritesEntries):
        return _Entries(tracer, tracer.dialect, session.marked)
    if tracer.dialect.name == DialoGPT.name and not session.persona:
        return _Segments(tracer)
    return _Texts(tracer, session.persona)


def _answered(tracer: Tracer, history: History, settings: Settings) -> Record:
    try:
        ids = history.context(settings)
    except (ValueError, GenerationFailed) as error:
        history.answer((), None)
        return {"error": f"{error}.", "reply": ""}
    record = tracer.seen(ids)
    if "error" in record:
        history.answer((), None)
        return {**record, "reply": ""}
    record |= tracer.said(ids, settings)
    try:
        reply, stopped = tracer.best(ids, settings, record)
    except GenerationFailed as error:
        history.answer((), None)
        return {**record, "error": str(error), "reply": ""}
    tokens, stop = (reply[:-1], reply[-1]) if stopped else (reply, None)
    history.answer(tokens, stop)
    return {**record, "reply_ids": reply, "reply": tracer.text(tokens)}


def _chosen(tracer: Tracer, history: _Entries, settings: Settings, reverse: Reverse) -> Record:
    """Several replies, of which the reverse model chooses the one that tells best what was said before.

    The first begins with the likeliest token, the second with the second likeliest, and so on.
    """
    talk = settings if "turns" in settings.given else settings.changed({"turns": _told(settings)}, "turns")
    ids = history.context(talk)
    record: Record = {"generator_input_ids": ids, "generator_pieces": pieces_of(tracer.tokenizer, ids)}
    count = settings.decoding.candidates if "candidates" in settings.given else _CANDIDATES
    try:
        rows = [tracer.row(ids, settings, skipped=skipped) for skipped in range(count)]
    except GenerationFailed as error:
        history.answer((), None)
        return {**record, "error": str(error), "reply": ""}
    candidates = [row.tokens for row in rows]
    try:
        judged, chosen = _judged(tracer, history.writer, reverse, candidates, history.entries, _told(settings))
    except GenerationFailed as error:
        history.answer((), None)
        return {**record, "error": str(error), "reply": ""}
    for one, row in zip(judged, rows, strict=True):
        one |= {"reply_ids": reply_ids(row), "stopped": row.stop is not None}
    history.answer(candidates[chosen], rows[chosen].stop)
    return {
        **record,
        "candidates": judged,
        "chosen_index": chosen,
        "reply": tracer.text(candidates[chosen]),
    }


def _judged(
    tracer: Tracer,
    writer: _WritesEntries,
    reverse: Reverse,
    candidates: Sequence[Sequence[int]],
    history: Sequence[Sequence[int]],
    told: int,
) -> tuple[list[dict[str, Any]], int]:
    newest_first = list(reversed(history[-told:]))
    written = [tuple(writer.encode_entries([one, *newest_first], _UNCUT)) for one in candidates]
    longest = max(map(len, written), default=0)
    if longest > reverse.limit:
        raise GenerationFailed(
            f"A reply and the talk before it are {longest} tokens, the reverse model reads {reverse.limit}."
        )
    losses = reverse.losses([TrainingExample(ids, ids) for ids in written])
    judged = [
        {
            "mmi_input_ids": list(ids),
            "candidate_ids": list(one),
            "mmi_loss": number(loss),
            "text": tracer.text(one),
        }
        for ids, one, loss in zip(written, candidates, losses, strict=True)
    ]
    if not losses:
        raise TraceError("There are no candidates to choose from.")
    return judged, min(range(len(losses)), key=lambda n: losses[n])


def _told(settings: Settings) -> int:
    """How many turns of the talk the reverse model tells."""
    given = settings.given.get("turns")
    return int(given) if given else TURNS[Chitchat.name]
