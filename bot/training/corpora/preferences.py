"""DialogRPT's training lines (Gao et al. 2020, arXiv:2009.06978): of two answers to one context, people liked one more.

Tab-separated: token ids of the context, the better and the worse answer, three columns that do not matter, hours
between the two, then score and rank of each. Lines that begin with # are remarks.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bot.training.corpora.text import numbered_lines, wrong

FORMAT = "dialogrpt"
MAX_TOKENS = 50
"""Longest context and answer that the original trains on."""

_COLUMNS = 11
_LEAST_SCORE_GAP = 1.0
_LEAST_RANK_GAP = 0.0
_MOST_HOURS = 1.0


@dataclass(frozen=True, slots=True)
class Preference:
    """Token ids, of turns joined by their end in the context; answers have no end."""

    context: tuple[int, ...]
    better: tuple[int, ...]
    worse: tuple[int, ...]

    def rows(self, end: int, max_tokens: int = MAX_TOKENS) -> list[list[int]]:
        """The better and the worse answer after the context; both lose the same tokens of its beginning."""
        both = [[*self.context, end, *answer] for answer in (self.better, self.worse)]
        excess = max(0, max(map(len, both)) - max_tokens)
        return [row[excess:] for row in both]


def preference_file(corpus: str) -> Path | None:
    """The file that `PATH:dialogrpt` names; None for another corpus."""
    path, _, kind = corpus.rpartition(":")
    return Path(path).expanduser() if path and kind == FORMAT else None


def read(path: Path) -> Iterator[Preference]:
    """Every pair in which one was liked better, at about the same time. Raises TrainingError."""
    for number, line in numbered_lines(path):
        if line.startswith("#") or not line.strip():
            continue
        columns = line.split("\t")
        if len(columns) != _COLUMNS:
            raise wrong(path, number, f"{len(columns)} columns; a line of DialogRPT's has {_COLUMNS}.")
        try:
            context, better, worse = (tuple(map(int, column.split())) for column in columns[:3])
            hours, score, other_score, rank, other_rank = map(float, columns[6:])
        except ValueError as error:
            raise wrong(path, number, f"a column holds no numbers ({error}).") from error
        counts = score - other_score >= _LEAST_SCORE_GAP and rank - other_rank >= _LEAST_RANK_GAP
        if counts and hours <= _MOST_HOURS:
            yield Preference(context, better, worse)
