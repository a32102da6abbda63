"""DialoGPT's training lines: `0.0 first turn EOS 1.0 second turn<TAB>1.0 answer`, and its files for validation.

A turn may begin with a weight; one of weight 0 is read, but not learned. Other weights change nothing.
"""

import math
from collections.abc import Iterator
from pathlib import Path

from bot.training.corpora.dialogue import Dialogue
from bot.training.corpora.text import numbered_lines, wrong

SOURCE, PAIRS = "dialogpt", "dialogpt-pairs"
_JOINT = " EOS "


def read(path: Path, *, reverse: bool = False, two_turn: bool = False) -> Iterator[Dialogue]:
    """Every line with at least two turns; an answer of weight 0 is none. Raises TrainingError.

    `reverse` gives the turns last to first (as a model for MMI reads them), `two_turn` keeps the first two of them.
    """
    for number, line in numbered_lines(path):
        turns = _turns(path, number, line)
        if reverse:
            turns.reverse()
        if two_turn:
            turns = turns[:2]
        if len(turns) > 1:
            weights, texts = zip(*turns, strict=True)
            yield Dialogue(tuple(texts), SOURCE, weights=tuple(weights))


def read_pairs(path: Path) -> Iterator[Dialogue]:
    """A validation file, `context<TAB>answer<TAB>...`: each context with its first answer. Raises TrainingError."""
    for number, line in numbered_lines(path):
        columns = line.split("\t")
        if len(columns) < 2:
            raise wrong(path, number, "there is no answer. Write context, tabulator, answer.")
        context, answer = (" ".join(column.split()) for column in columns[:2])
        yield Dialogue((context, answer), PAIRS)


def _turns(path: Path, number: int, line: str) -> list[tuple[float, str]]:
    columns = line.strip().split("\t")
    if len(columns) != 2:
        raise wrong(path, number, f"{len(columns)} columns. Write turns joined by ' EOS ', tabulator, answer.")
    said, answer = columns
    turns = [_weighted(turn) for turn in said.split(_JOINT)]
    weight, text = _weighted(answer)
    return turns if weight == 0 else [*turns, (weight, text)]


def _weighted(turn: str) -> tuple[float, str]:
    words = turn.split()
    try:
        weight = float(words[0]) if words else math.nan
    except ValueError:
        weight = math.nan
    # "nan" and "infinity" are words like any other.
    return (weight, " ".join(words[1:])) if math.isfinite(weight) else (1.0, " ".join(words))
