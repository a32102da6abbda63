"""How good a ranker is, by DialogRPT's tests: agreement with feedback, and hits among real and fake replies."""

import dataclasses
import statistics
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from bot.generator.ranking.head import Head
from bot.scoring.files import Feedback, ScoreFileError, Task, read_tasks
from bot.scoring.tasks import LINES_AT_ONCE, Judge, Notes, chunks, scored

FAKES_A_LINE = 9
"""Replies of other lines that stand against the real ones where no file of fakes is given."""


def statistics_of(lines: Iterable[Sequence[Mapping[str, float]]]) -> dict[str, Any]:
    """Of ranked replies, for each score: its mean over the best replies, over all, and by rank."""
    talks = [line for line in lines if line]
    if not talks:
        raise ScoreFileError("There is no ranked line in the file. Write one with: banter score FILE -p RANKER")
    report: dict[str, Any] = {"contexts": len(talks), "hyps": sum(map(len, talks)), "scores": {}}
    for name in talks[0][0]:
        values = [[reply[name] for reply in talk if name in reply] for talk in talks]
        values = [row for row in values if row]
        report["scores"][name] = {
            "top": statistics.fmean(row[0] for row in values),
            "average": statistics.fmean(statistics.fmean(row) for row in values),
            "by_rank": [
                statistics.fmean(row[rank] for row in values if rank < len(row))
                for rank in range(max(map(len, values)))
            ],
        }
    return report


def hits(judge: Judge, lines: Iterable[tuple[Task, Task]], max_turns: int | None) -> dict[str, Any]:
    """How many of the k real replies are among the first k of real and fake ones together: its mean, by score.

    A line is a task with the real replies and one with the fakes. Of equal scores the fake's counts as higher.
    """
    notes = Notes()
    fakes = 0
    found: dict[str, list[float]] = {}
    for chunk in chunks(lines, LINES_AT_ONCE):
        together = [dataclasses.replace(real, replies=(*real.replies, *fake.replies)) for real, fake in chunk]
        fakes += sum(len(fake.replies) for _, fake in chunk)
        for (real, _), scores in zip(chunk, scored(judge, together, max_turns, notes), strict=True):
            for name, values in scores.items():
                found.setdefault(name, []).append(_share_of_first(values, len(real.replies)))
    return {
        "contexts": len(next(iter(found.values()))),
        "fakes": fakes,
        "hits_at_k": {name: statistics.fmean(values) for name, values in found.items()},
        "shortened": len(notes.shortened),
    }


def _share_of_first(scores: Sequence[float], count: int) -> float:
    """How many of the first `count` scores are among the `count` highest."""
    order = sorted(range(len(scores)), key=lambda number: (scores[number], number), reverse=True)
    return sum(number < count for number in order[:count]) / count


def real_and_fake(path: Path, fakes: str, max_lines: int | None) -> tuple[list[Task], list[Task]]:
    """The real replies of a file, or of `ref.tsv` in a directory, and as many lines of fakes.

    The fakes are in the directory's `rand.tsv` or `machine.tsv`, line by line; where `rand` has no file, they are the
    first replies to the following contexts. Raises ScoreFileError.
    """
    source = path / "ref.tsv" if path.is_dir() else path
    real = [task for task in islice(read_tasks(source), max_lines) if task.replies]
    if not real:
        raise ScoreFileError(f"{source}: there is no line with a context and a reply.")
    file = path / f"{fakes}.tsv"
    if path.is_dir() and file.is_file():
        by_line = {task.line: task for task in islice(read_tasks(file), max_lines)}
        return real, [_fake_of(task, by_line.get(task.line), file) for task in real]
    if fakes != "rand":
        raise ScoreFileError(f"{path}: give a directory with ref.tsv (real replies) and {fakes}.tsv (replies to tell).")
    if len(real) == 1:
        raise ScoreFileError(f"{source}: one context alone has no other replies to be told from. Give more lines.")
    count = min(FAKES_A_LINE, len(real) - 1)
    others = [
        tuple(real[(number + step) % len(real)].replies[0] for step in range(1, count + 1))
        for number in range(len(real))
    ]
    return real, [dataclasses.replace(task, replies=replies) for task, replies in zip(real, others, strict=True)]


def pair_accuracy(
    judge: Judge, pairs: Iterable[Feedback], *, max_turns: int | None, min_score_gap: float, min_rank_gap: float
) -> dict[str, Any]:
    """How often the reply that people liked better has the higher score, over pairs that tell enough apart.

    As in the original, both replies have to be from within one hour.
    """
    total, used = 0, 0
    right: dict[str, int] = {}
    for chunk in chunks(pairs, LINES_AT_ONCE):
        total += len(chunk)
        kept = [
            pair
            for pair in chunk
            if pair.score_gap >= min_score_gap and pair.rank_gap >= min_rank_gap and pair.hours_apart <= 1
        ]
        if not kept:
            continue
        used += len(kept)
        logits = {
            name: head.logits(
                [_row(head, pair, reply, max_turns) for pair in kept for reply in (pair.better, pair.worse)]
            )
            for name, head in judge.heads.items()
        }
        for name, values in judge.scores(logits).items():
            wins = sum(better > worse for better, worse in zip(values[::2], values[1::2], strict=True))
            right[name] = right.get(name, 0) + wins
    if not used:
        raise ScoreFileError(f"None of the {total} pairs passes the limits. Lower --min-score-gap or --min-rank-gap.")
    return {"pairs": total, "used": used, "accuracy": {name: wins / used for name, wins in right.items()}}


def _row(head: Head, pair: Feedback, reply: str, max_turns: int | None) -> list[int]:
    """What a head reads of one side of a pair; ids that are too many lose their beginning, as in training."""
    if not pair.is_ids:
        return head.encode(Task(pair.line, pair.context, ()).turns(max_turns), reply)
    turns: list[list[int]] = [[]]
    for token in map(int, pair.context.split()):
        if token == head.end_id:
            turns.append([])
        else:
            turns[-1].append(token)
    kept = turns[-max_turns:] if max_turns else turns
    row = [token for turn in kept for token in [*turn, head.end_id]] + [int(token) for token in reply.split()]
    if max(row) >= head.vocabulary:
        raise ScoreFileError(
            f"Line {pair.line + 1} holds the token id {max(row)}; the ranker knows 0 to {head.vocabulary - 1}. "
            "Use the ranker whose tokenizer wrote the file."
        )
    return row[-head.limit :]


def _fake_of(task: Task, fake: Task | None, file: Path) -> Task:
    if fake is None or fake.context != task.context or not fake.replies:
        raise ScoreFileError(
            f"{file}, line {task.line + 1}: it has to repeat the context of that line in ref.tsv, and add replies."
        )
    return fake
