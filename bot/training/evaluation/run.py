"""Ask every model the same questions, in every mode, and note what came back. Computes no figure of a whole set."""

import functools
import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from bot.generator.errors import GeneratorError
from bot.generator.formats.base import Role
from bot.generator.formats.registry import open_checkpoint
from bot.generator.ranking.base import Ranker
from bot.generator.ranking.ranker import MUTUAL_INFORMATION, REVERSE, load_ranker
from bot.training.evaluation.modes import Contestant, Mode, contestant
from bot.training.evaluation.questions import Exam, Question, read_exam, rivals
from bot.training.evaluation.talker import Talker
from bot.training.metrics.perplexity import RowLoss
from bot.training.metrics.ranking import Judged

HEAD = "human_vs_rand"

Progress = Callable[[Iterable[int], str], Iterable[int]]
"""Shows how far a pass over the questions is: their numbers and what is done with them."""

Blocked = Callable[[Sequence[str], str], bool]
"""Whether moderation keeps back a reply to a talk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is measured. `rankers` are one for all checkpoints, or one for each."""

    checkpoints: Sequence[str]
    rankers: Sequence[str]
    modes: Sequence[Mode]
    corpus: str
    candidates: int
    judge: str
    reverse: str | None = None
    limit: int = 0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """One reply and what is known of it by itself; None: nobody could tell. `known` has the scores that the chooser
    gives to a person's reply and to nine others."""

    text: str
    seconds: float | None
    known: Judged | None
    on_topic: bool | None
    blocked: bool


@dataclass(slots=True)
class Series:
    """The replies of one checkpoint in one mode, to the first so many questions."""

    name: str
    mode: str
    chooser: str
    costs: Sequence[RowLoss] = ()
    why_no_costs: str | None = None
    why_not_on_topic: str | None = None
    judged_by_itself: bool = False
    answers: list[Answer] = field(default_factory=list)


@dataclass(slots=True)
class Outcome:
    """All that was asked and answered. `stopped` tells why there is no more of it."""

    questions: list[Question]
    judge: str
    series: list[Series] = field(default_factory=list)
    stopped: str | None = None


def evaluate(plan: Plan, blocked: Blocked, progress: Progress) -> Outcome:
    """The questions put to people and to every model. Ctrl-C and failures on the way end it early, and what was
    measured until then comes back. Raises TrainingError and CheckpointError before anything is measured.
    """
    for checkpoint in plan.checkpoints:
        open_checkpoint(checkpoint)  # a wrong name is told now, not after the others took an hour
    exam = read_exam(plan.corpus, plan.limit, plan.seed)
    judge = _judge(plan.judge)
    run = _Run(plan, exam, judge, blocked, progress)
    outcome = Outcome(exam.questions, f"{judge.name} of {plan.judge} ({judge.revision})", run.series)
    try:
        run.carry_out()
    except KeyboardInterrupt:
        outcome.stopped = "interrupted"
    except GeneratorError as error:
        if not any(one.answers for one in run.series):
            raise
        outcome.stopped = str(error)
    return outcome


class _Run:
    def __init__(self, plan: Plan, exam: Exam, judge: Ranker, blocked: Blocked, progress: Progress) -> None:
        self.series: list[Series] = []
        self._plan = plan
        self._questions = exam.questions
        self._judge = judge
        self._blocked = blocked
        self._progress = progress
        self._load = functools.cache(load_ranker)
        self._best_rival: dict[int, float] = {}  # by the judge's scores
        self._rivals = [
            rivals(question, exam.replies, random.Random(f"{plan.seed}/{number}"))
            for number, question in enumerate(exam.questions)
        ]

    def carry_out(self) -> None:
        heads = list(self._plan.rankers)
        if len(heads) == 1:
            heads *= len(self._plan.checkpoints)
        for mode in self._plan.modes:
            for head in heads:
                self._shared_rankers(mode, head)  # a wrong name is told now
        self._people()
        for checkpoint, head in zip(self._plan.checkpoints, heads, strict=True):
            talker = Talker.load(checkpoint)
            costs = self._costs(talker)
            for mode in self._plan.modes:
                rankers = self._shared_rankers(mode, head)
                if mode is Mode.MMI and not rankers:
                    rankers = [talker.mutual_information()]
                ready = contestant(mode, talker, self._plan.candidates, rankers)
                one = Series(talker.name, mode, ready.chooser, costs, talker.why_no_likelihood)
                one.judged_by_itself = talker.revision == self._judge.revision
                self._ask(ready, one)

    def _people(self) -> None:
        """What people answered, measured like everybody else's replies: what the other figures can come to."""
        one = Series("people", "reference", "")
        self.series.append(one)
        for number in self._progress(range(len(self._questions)), "people"):
            question = self._questions[number]
            one.answers.append(self._judged(number, question.references[0], None, None, ask_judge=True))

    def _costs(self, talker: Talker) -> list[RowLoss]:
        costs: list[RowLoss] = []
        if talker.why_no_likelihood is None:
            for number in self._progress(range(len(self._questions)), f"{talker.name}: perplexity"):
                question = self._questions[number]
                costs += talker.losses(question.context, question.references) or []
        return costs

    def _ask(self, ready: Contestant, one: Series) -> None:
        if ready.is_judged_by(self._judge):
            one.why_not_on_topic = "not computed: the judge is what chose these replies"
        self.series.append(one)
        ready.reply(self._questions[0], self._seed(0))  # the first reply of all is slower than any other
        for number in self._progress(range(len(self._questions)), f"{one.name}: {one.mode}"):
            question = self._questions[number]
            begun = time.perf_counter()
            text = ready.reply(question, self._seed(number))
            seconds = time.perf_counter() - begun
            known = self._known(ready, number)
            one.answers.append(self._judged(number, text, seconds, known, ask_judge=one.why_not_on_topic is None))

    def _known(self, ready: Contestant, number: int) -> Judged | None:
        question, others = self._questions[number], self._rivals[number]
        scores = None if others is None else ready.scores(question.context, (question.references[0], *others))
        return None if scores is None else Judged(scores[:1], scores[1:])

    def _judged(
        self, number: int, text: str, seconds: float | None, known: Judged | None, *, ask_judge: bool
    ) -> Answer:
        context = self._questions[number].context
        on_topic = self._is_on_topic(number, text) if ask_judge else None
        return Answer(text, seconds, known, on_topic, self._blocked(context, text))

    def _is_on_topic(self, number: int, text: str) -> bool | None:
        """A stand-in for a person's judgement: whether the judge prefers the reply to nine that answer others."""
        context, others = self._questions[number].context, self._rivals[number]
        if others is None:
            return None
        if number not in self._best_rival:
            self._best_rival[number] = max(self._judge.score([(context, other) for other in others]))
        return bool(text) and self._judge.score([(context, text)])[0] > self._best_rival[number]

    def _seed(self, number: int) -> int:
        return random.Random(f"{self._plan.seed}:{number}").getrandbits(63)

    def _shared_rankers(self, mode: Mode, head: str) -> list[Ranker]:
        """The rankers of a mode, the generator itself left out."""
        if mode is Mode.MMI and self._plan.reverse is not None:
            return [self._load(self._plan.reverse, name=REVERSE)]
        if mode is Mode.RANKER:
            return [self._load(head, name=HEAD)]
        if mode is Mode.BOT:
            return [self._load(head, name=HEAD), self._load("starter", name=MUTUAL_INFORMATION)]
        return []


def _judge(checkpoint: str) -> Ranker:
    """A ranker's head, or the mutual information of a generator. Raises CheckpointError."""
    is_generator = open_checkpoint(checkpoint).role is Role.GENERATOR
    return load_ranker(checkpoint, name=MUTUAL_INFORMATION if is_generator else HEAD)
