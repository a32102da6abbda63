"""Rank the replies of `bot.scoring.files` with one DialogRPT head or an ensemble of them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from bot.generator.formats.registry import open_checkpoint
from bot.generator.ranking.base import Pair
from bot.generator.ranking.ensemble import FINAL, Ensemble, ensemble_file, load_ensemble
from bot.generator.ranking.head import Head, scores_of
from bot.scoring.files import Task

LINES_AT_ONCE = 64
Item = TypeVar("Item")


class Judge:
    """One head, or an ensemble of them."""

    def __init__(self, heads: Mapping[str, Head], ensemble: Ensemble | None = None) -> None:
        self.heads = heads
        self.ensemble = ensemble
        self.revision = ensemble.revision if ensemble else next(iter(heads.values())).revision

    @classmethod
    def load(cls, checkpoint: str, device: str) -> "Judge":
        """From all that `load_ranker` takes, in float32, which the published numbers need. Raises CheckpointError."""
        file = ensemble_file(checkpoint)
        if file is not None:
            ensemble = load_ensemble(file, device=device, dtype="float32")
            return cls(ensemble.heads, ensemble)
        found = open_checkpoint(checkpoint, starter="ranker")
        name = "starter" if checkpoint == "starter" else Path(checkpoint).stem
        return cls({name: Head.load(found, name=name, device=device, dtype="float32")})

    def logits(self, pairs: Sequence[Pair]) -> dict[str, list[float]]:
        """What every head says of each reply."""
        return {name: head.logits([head.encode(*pair) for pair in pairs]) for name, head in self.heads.items()}

    def scores(self, logits: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
        """Every head's scores by its name, and for an ensemble the combined ones last."""
        scores = {name: scores_of(values) for name, values in logits.items()}
        return {**scores, FINAL: self.ensemble.combined(scores)} if self.ensemble else scores

    def overall(self, pairs: Sequence[Pair]) -> Sequence[float]:
        """The one score of each reply that decides its rank."""
        return overall(self.scores(self.logits(pairs)))

    def is_too_long(self, pair: Pair) -> bool:
        """Whether a head has to leave out a part of the context."""
        return any(head.is_too_long(*pair) for head in self.heads.values())


@dataclass(slots=True)
class Notes:
    """Lines (from 0) that were not taken as they are."""

    skipped: list[int] = field(default_factory=list)
    shortened: list[int] = field(default_factory=list)


def ranked_lines(judge: Judge, tasks: Iterable[Task], max_turns: int | None, notes: Notes) -> Iterator[dict[str, Any]]:
    """Each line with its replies, best first, as DialogRPT's `test` writes it."""
    for chunk in chunks(_complete(tasks, notes), LINES_AT_ONCE):
        for task, scores in zip(chunk, scored(judge, chunk, max_turns, notes), strict=True):
            yield {"line_id": task.line, "cxt": task.context, "hyps": _best_first(judge, task.replies, scores)}


def case_report(judge: Judge, task: Task) -> dict[str, Any]:
    """Everything about one case: what the heads read, their logits and scores, and the order they make."""
    turns = task.turns(task.max_turns)
    pairs = [(turns, reply) for reply in task.replies]
    head = next(iter(judge.heads.values()))
    rows = [head.encode(*pair) for pair in pairs]
    longest = max(map(len, rows))
    logits = judge.logits(pairs)
    scores = judge.scores(logits)
    final = overall(scores)
    report = {
        "id": task.name,
        "cxt": task.context,
        "hyps": list(task.replies),
        "max_cxt_turn": task.max_turns,
        "shortened": [number for number, pair in enumerate(pairs) if judge.is_too_long(pair)],
        "batch_ids": [row + [head.end_id] * (longest - len(row)) for row in rows],
        "lengths": [len(row) for row in rows],
        "head_scores": {name: scores[name] for name in judge.heads},
        "head_logits": logits,
        "ranking": sorted(range(len(final)), key=lambda number: -final[number]),
    }
    if judge.ensemble:
        report["ensemble"] = scores
        report["ranking_by_final"] = report["ranking"]
    return report


def _complete(tasks: Iterable[Task], notes: Notes) -> Iterator[Task]:
    for task in tasks:
        if task.replies:
            yield task
        else:
            notes.skipped.append(task.line)


def scored(judge: Judge, tasks: Sequence[Task], max_turns: int | None, notes: Notes) -> list[dict[str, list[float]]]:
    """Of each task the scores of its replies, by name; all tasks are read together."""
    pairs = [(task.turns(max_turns), reply) for task in tasks for reply in task.replies]
    owners = [task.line for task in tasks for _ in task.replies]
    long = {line for line, pair in zip(owners, pairs, strict=True) if judge.is_too_long(pair)}
    notes.shortened += sorted(long)
    scores = judge.scores(judge.logits(pairs))
    parts, start = [], 0
    for task in tasks:
        end = start + len(task.replies)
        parts.append({name: values[start:end] for name, values in scores.items()})
        start = end
    return parts


def _best_first(judge: Judge, replies: Sequence[str], scores: Mapping[str, Sequence[float]]) -> list[list[Any]]:
    final = overall(scores)
    order = sorted(range(len(replies)), key=lambda number: (final[number], replies[number]), reverse=True)
    if judge.ensemble is None:
        return [[final[number], replies[number]] for number in order]
    return [
        [final[number], {name: values[number] for name, values in scores.items()}, replies[number]] for number in order
    ]


def overall(scores: Mapping[str, Sequence[float]]) -> Sequence[float]:
    """The scores that decide: those of the only head, or the combined ones."""
    return list(scores.values())[-1]


def chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """The items in lists of `size`, the last one shorter."""
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk
