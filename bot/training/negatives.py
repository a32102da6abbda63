"""Replies that do not fit: what a ranker learns to tell from the reply that a person wrote."""

import logging
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from bot.generator.decoding import Decoding
from bot.generator.dialects.base import BOT, Utterance
from bot.generator.engine import Generator
from bot.training.corpora.dialogue import Dialogue
from bot.training.examples import utterances_of
from bot.training.written import ROWS, written

log = logging.getLogger(__name__)

_CONTEXT_TOKENS = 80
_SAME = 0.5
"""From this share of common words on, a generated reply is too near the real one to be called wrong."""

_SAMPLING = Decoding(
    candidates=1,
    max_new_tokens=40,
    min_new_tokens=1,
    temperature=0.9,
    top_k=40,
    top_p=0.95,
    repetition_penalty=1.0,
    no_repeat_ngram=0,
)


@dataclass(frozen=True, slots=True)
class Contrast:
    """A context, the reply that was given, and replies that were not: people's to something else, a machine's."""

    context: tuple[Utterance, ...]
    reply: str
    wrong: tuple[str, ...]
    machine: tuple[str, ...] = ()


class ReplyPool:
    """Every reply of a corpus, by topic."""

    def __init__(self, dialogues: Sequence[Dialogue]) -> None:
        self._by_topic: dict[str, list[str]] = defaultdict(list)
        for dialogue in dialogues:
            self._by_topic[dialogue.topic] += [dialogue.turns[place] for place in reply_places(dialogue)]
        self._all = [reply for replies in self._by_topic.values() for reply in replies]

    def other(self, reply: str, rng: random.Random) -> str:
        """A reply to something else."""
        return _another(self._all, reply, rng)

    def same_topic(self, topic: str, reply: str, rng: random.Random) -> str:
        """A reply to something else of the same topic."""
        return _another(self._by_topic.get(topic) or self._all, reply, rng)


def reply_places(dialogue: Dialogue) -> list[int]:
    """Which turns of a dialogue are the bot's answers."""
    return [n for n, utterance in enumerate(utterances_of(dialogue)) if n > 0 and utterance.speaker == BOT]


def contrasts(dialogues: Sequence[Dialogue], rng: random.Random) -> list[Contrast]:
    """One reply of every dialogue that has one.

    It stands against two from anywhere and one of its topic or from elsewhere in the talk.
    """
    pool = ReplyPool(dialogues)
    found = []
    for dialogue in dialogues:
        utterances = utterances_of(dialogue)
        places = reply_places(dialogue)
        if not places:
            continue
        place = rng.choice(places)
        reply = utterances[place].text
        said = [utterances[n].text for n in places if n != place]
        near = rng.choice(said) if said and rng.random() < 0.3 else pool.same_topic(dialogue.topic, reply, rng)
        wrong = (pool.other(reply, rng), pool.other(reply, rng), near)
        found.append(Contrast(tuple(utterances[:place]), reply, wrong))
    return found


def among_ten(dialogues: Sequence[Dialogue], rng: random.Random) -> list[Contrast]:
    """One reply of every dialogue that has one among nine that were given to something else."""
    pool = ReplyPool(dialogues)
    found = []
    for dialogue in dialogues:
        places = reply_places(dialogue)
        if not places:
            continue
        place = rng.choice(places)
        reply = dialogue.turns[place]
        rivals = tuple(pool.other(reply, rng) for _ in range(9))
        found.append(Contrast(tuple(utterances_of(dialogue)[:place]), reply, rivals))
    return found


def with_generated(found: Sequence[Contrast], generator: Generator, rng: random.Random) -> list[Contrast]:
    """Add the generator's own reply to each context, where it is not nearly the real one."""
    harder: dict[int, Contrast] = {}
    talks = [contrast.context for contrast in found]
    for number, candidates in written(talks, generator, _SAMPLING, rng, most_tokens=_CONTEXT_TOKENS):
        contrast = found[number]
        texts = [c.text for c in candidates if c.text and _overlap(c.text, contrast.reply) < _SAME]
        harder[number] = replace(contrast, machine=tuple(texts))
        if len(harder) % ROWS == 0 or len(harder) == len(found):
            log.info("wrong_replies_generated", extra={"done": len(harder), "of": len(found)})
    return [harder[number] for number in range(len(found))]


def _another(replies: Sequence[str], reply: str, rng: random.Random) -> str:
    for _ in range(8):
        other = rng.choice(replies)
        if other.lower() != reply.lower():
            return other
    return reply[::-1]  # a corpus of one reply: its mirror image is surely no reply


def _overlap(left: str, right: str) -> float:
    a, b = set(left.lower().split()), set(right.lower().split())
    return len(a & b) / max(1, len(a | b))
