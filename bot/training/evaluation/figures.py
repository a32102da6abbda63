"""The figures of a series of replies. Plain arithmetic over what was noted."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bot.training.evaluation.questions import Question
from bot.training.evaluation.run import Answer, Outcome, Series
from bot.training.metrics import lines
from bot.training.metrics.meteor import Scorer, meteor_program, not_computed
from bot.training.metrics.perplexity import RowLoss, dialogpt_perplexity, in_batches_of, token_perplexity
from bot.training.metrics.ranking import hits_at, mean_reciprocal_rank
from bot.training.metrics.repetition import repeats, variety

PEOPLE = "people"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """How replies are held against references; see `lines.figures`. `dialogpt_rows`: the batch size of DialoGPT's own
    perplexity; None: it is not wanted."""

    cleaned: bool = False
    references: int | None = None
    hold_out: int | None = None
    dialogpt_rows: int | None = None


def all_figures(outcome: Outcome, wording: Wording) -> list[dict[str, Any]]:
    """One object a series that has an answer, in order; what could not be computed is None, with a `..._why`."""
    with meteor_program() as meteor:
        return [
            {
                "checkpoint": one.name,
                "mode": one.mode,
                "chooser": one.chooser,
                "replies": len(one.answers),
                **_against_references(one, outcome.questions, wording, meteor),
                **_costs(one, outcome.questions, wording),
                **_choice(one),
                **_manners(one.answers, outcome.questions),
            }
            for one in outcome.series
            if one.answers
        ]


def _against_references(one: Series, questions: Sequence[Question], wording: Wording, meteor: Scorer) -> dict[str, Any]:
    asked = questions[: len(one.answers)]
    if one.name != PEOPLE:
        texts = [answer.text for answer in one.answers]
    else:
        texts = [question.references[(wording.hold_out or 0) % len(question.references)] for question in asked]
    said = [lines.Line(text, question.references) for text, question in zip(texts, asked, strict=True)]
    apart = one.name != PEOPLE or (
        wording.hold_out is not None and all(len(question.references) > 1 for question in asked)
    )
    found = lines.figures(
        said,
        cleaned=wording.cleaned,
        references=wording.references,
        hold_out=wording.hold_out,
        meteor=meteor if apart else not_computed("these are the references"),
    )
    return found if apart else {**found, "nist": None, "bleu": None}


def _costs(one: Series, questions: Sequence[Question], wording: Wording) -> dict[str, Any]:
    figures: dict[str, Any] = {"perplexity": None, "bits_per_character": None, "perplexity_why": one.why_no_costs}
    if wording.dialogpt_rows is not None:
        figures["dialogpt_perplexity"] = None
    if one.costs:
        figures["perplexity"] = token_perplexity([one.costs])
        figures["bits_per_character"] = _bits_per_character(one.costs, questions)
        if wording.dialogpt_rows is not None:
            figures["dialogpt_perplexity"] = dialogpt_perplexity(in_batches_of([one.costs], wording.dialogpt_rows))
    return figures


def _bits_per_character(costs: Sequence[RowLoss], questions: Sequence[Question]) -> float:
    """Unlike perplexity, it can be held against that of a model with another tokenizer."""
    characters = sum(len(reference) for question in questions for reference in question.references)
    return math.fsum(cost.total for cost in costs) / math.log(2) / characters


def _choice(one: Series) -> dict[str, Any]:
    known = [answer.known for answer in one.answers if answer.known is not None]
    on_topic = [answer.on_topic for answer in one.answers if answer.on_topic is not None]
    why = one.why_not_on_topic or (None if on_topic else "not computed: the corpus has too few different replies")
    return {
        "hits@1": hits_at(known, 1) if known else None,
        "mrr": mean_reciprocal_rank(known) if known else None,
        "on_topic": _share(on_topic),
        "on_topic_why": why,
        "judged_by_itself": one.judged_by_itself,
    }


def _manners(answers: Sequence[Answer], questions: Sequence[Question]) -> dict[str, Any]:
    asked = questions[: len(answers)]
    varied = [found for answer in answers if (found := variety(answer.text)) is not None]
    seconds = sorted(answer.seconds for answer in answers if answer.seconds is not None)
    return {
        "blocked": _share([answer.blocked for answer in answers]),
        "repeats": _share([repeats(a.text, q.earlier) for a, q in zip(answers, asked, strict=True)]),
        "variety": statistics.fmean(varied) if varied else None,
        "empty": _share([not answer.text for answer in answers]),
        "latency_ms": {
            "median": statistics.median(seconds) * 1000 if seconds else None,
            "p95": seconds[math.ceil(0.95 * len(seconds)) - 1] * 1000 if seconds else None,
        },
    }


def _share(found: Sequence[bool]) -> float | None:
    return sum(found) / len(found) if found else None
