"""The ways to come to one reply: drawn once, chosen among many by rankers or mutual information, searched for."""

import math
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Protocol

from bot.generator.candidates import Candidate
from bot.generator.decoding import Decoding
from bot.generator.ranking.base import Ranker
from bot.generator.ranking.combine import mix
from bot.guards import fault, overlap
from bot.training.evaluation.questions import Question
from bot.training.evaluation.talker import Talker, text_of

RANKER_SHARE, REPEAT_PENALTY, ECHO_PENALTY = 0.5, 0.6, 0.8
"""What `ranking` in config.yaml is by default."""


class Mode(StrEnum):
    """How a reply is come to; `bot` is by ranker and mutual information together, as the bot does by default."""

    SAMPLE = "sample"
    RANKER = "ranker"
    BOT = "bot"
    MMI = "mmi"
    BEAM = "beam"


class Contestant(Protocol):
    """A checkpoint with a way to choose."""

    @property
    def chooser(self) -> str:
        """Whose scores choose, in words."""

    def reply(self, question: Question, seed: int) -> str:
        """The reply; empty where there is none. Raises GenerationFailed."""

    def scores(self, context: Sequence[str], replies: Sequence[str]) -> list[float] | None:
        """By what it chooses, for given replies; None where it cannot say."""

    def is_judged_by(self, judge: Ranker) -> bool:
        """Whether `judge` is what chose."""


class Single:
    """One reply, drawn or searched for; by its own probability it tells replies apart."""

    chooser = "own probability"

    def __init__(self, talker: Talker, decoding: Decoding) -> None:
        self._talker = talker
        self._decoding = decoding

    def reply(self, question: Question, seed: int) -> str:
        """See `Contestant.reply`."""
        found = self._talker.candidates(question.context, self._decoding, seed)
        return text_of(found[0]) if found else ""

    def scores(self, context: Sequence[str], replies: Sequence[str]) -> list[float] | None:
        """See `Contestant.scores`."""
        return self._talker.probabilities(context, replies)

    def is_judged_by(self, judge: Ranker) -> bool:
        """See `Contestant.is_judged_by`."""
        return False


Final = Callable[[Question, Candidate, float], float]
"""From a candidate and its ranker's score to what decides."""


class Chosen:
    """The best of several candidates, by the product of the rankers' scores."""

    def __init__(self, talker: Talker, decoding: Decoding, rankers: Sequence[Ranker], final: Final) -> None:
        self.chooser = " x ".join(f"{ranker.name} ({ranker.revision})" for ranker in rankers)
        self._talker = talker
        self._decoding = decoding
        self._rankers = rankers
        self._final = final

    def reply(self, question: Question, seed: int) -> str:
        """See `Contestant.reply`. Of what is no reply at all (empty, an echo, a loop) nothing is chosen if there is
        anything else, as in the bot; moderation is not asked: it is measured."""
        found = self._talker.candidates(question.context, self._decoding, seed)
        earlier = question.earlier
        sound = [one for one in found if fault(text_of(one), question.context[-1], earlier) is None] or found
        if not sound:
            return ""
        scores = self.scores(question.context, [text_of(one) for one in sound])
        finals = [self._final(question, one, score) for one, score in zip(sound, scores, strict=True)]
        return text_of(sound[finals.index(max(finals))])

    def scores(self, context: Sequence[str], replies: Sequence[str]) -> list[float]:
        """See `Contestant.scores`."""
        pairs = [(context, reply) for reply in replies]
        return [math.prod(each) for each in zip(*(ranker.score(pairs) for ranker in self._rankers), strict=True)]

    def is_judged_by(self, judge: Ranker) -> bool:
        """See `Contestant.is_judged_by`."""
        return any((one.name, one.revision) == (judge.name, judge.revision) for one in self._rankers)


def as_the_bot(question: Question, candidate: Candidate, score: float) -> float:
    """The bot's own final score under its default configuration."""
    text = text_of(candidate)
    repeated = max((overlap(text, one) for one in question.earlier), default=0.0)
    left = (1 - REPEAT_PENALTY * repeated) * (1 - ECHO_PENALTY * overlap(text, question.context[-1]))
    return mix(score, candidate.probability, RANKER_SHARE) * left


def by_score_alone(_question: Question, _candidate: Candidate, score: float) -> float:
    """Mutual information decides alone (Zhang et al. 2020, arXiv:1911.00536, section 3.2)."""
    return score


def contestant(mode: Mode, talker: Talker, candidates: int, rankers: Sequence[Ranker]) -> Contestant:
    """A talker in one of the modes, with the rankers of that mode."""
    if mode is Mode.SAMPLE:
        return Single(talker, Decoding(candidates=1))
    if mode is Mode.BEAM:
        return Single(talker, Decoding(candidates=1, search="beam"))
    final = by_score_alone if mode is Mode.MMI else as_the_bot
    return Chosen(talker, Decoding(candidates=candidates), rankers, final)
