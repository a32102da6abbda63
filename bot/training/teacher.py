"""What a larger model answers to what people wrote: replies that a small model learns from.

Kim & Rush 2016 (sequence-level knowledge distillation, arXiv:1606.07947), with samples in place of beams.
"""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from bot.generator.decoding import Decoding
from bot.generator.engine import Generator
from bot.training.corpora.dialogue import Dialogue
from bot.training.examples import utterances_of
from bot.training.written import ROWS, written

_SORTED = 8 * ROWS
"""Contexts that are put in order of their length first, or the short ones are mostly padding."""

_CONTEXT_TOKENS = 320


@dataclass(frozen=True, slots=True, kw_only=True)
class Teaching:
    """How a teacher answers. `turns`: what it reads of a dialogue, at most. `persona`: what it is told about itself."""

    turns: int = 4
    temperature: float = 0.7
    top_p: float = 0.9
    max_new_tokens: int = 40
    persona: tuple[str, ...] = ()
    seed: int = 0


def answered(
    dialogues: Iterable[Dialogue], teacher: Generator, teaching: Teaching, people: frozenset[int]
) -> Iterator[Dialogue]:
    """Each dialogue up to one of its turns, and the teacher's reply in place of what followed; only that weighs 1.

    `people` are the speakers whose turns are answered. Replies that the teacher did not end, and empty ones, are left
    out. Raises GenerationFailed.
    """
    rng = random.Random(teaching.seed)
    waiting = list[Dialogue]()
    for dialogue in dialogues:
        asked = _asked(dialogue, teaching.turns, people, rng)
        if asked is not None:
            waiting.append(asked)
        if len(waiting) == _SORTED:
            yield from _replies(waiting, teacher, teaching, rng)
            waiting = []
    yield from _replies(waiting, teacher, teaching, rng)


def _asked(dialogue: Dialogue, turns: int, people: frozenset[int], rng: random.Random) -> Dialogue | None:
    utterances = utterances_of(dialogue)
    places = [n for n, utterance in enumerate(utterances) if utterance.speaker in people]
    if not places:
        return None
    end = rng.choice(places) + 1
    asked = dialogue.part(max(0, end - turns), end)
    # Whoever spoke last in the corpus, here a person did, and the bot answers.
    return Dialogue(asked.turns, dialogue.source, dialogue.topic, bot_opens=len(asked.turns) % 2 == 0)


def _replies(
    asked: Sequence[Dialogue], teacher: Generator, teaching: Teaching, rng: random.Random
) -> Iterator[Dialogue]:
    decoding = Decoding(
        candidates=1,
        max_new_tokens=teaching.max_new_tokens,
        min_new_tokens=1,
        temperature=teaching.temperature,
        top_k=0,
        top_p=teaching.top_p,
        repetition_penalty=1.0,
        no_repeat_ngram=0,
    )
    talks = [utterances_of(one) for one in asked]
    replies = written(talks, teacher, decoding, rng, most_tokens=_CONTEXT_TOKENS, persona=teaching.persona)
    for number, candidates in replies:
        text = " ".join(candidates[0].text.split()) if candidates and candidates[0].finished else ""
        if text:
            yield _completed(asked[number], text)


def _completed(asked: Dialogue, reply: str) -> Dialogue:
    turns = (*asked.turns, reply)
    weights = (*(0.0 for _ in asked.turns), 1.0)
    return Dialogue(turns, f"{asked.source}+teacher", asked.topic, weights, bot_opens=asked.bot_opens)
