"""From the loss of each token, in nats, to perplexity: the right one, and the one that DialoGPT's tables print."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RowLoss:
    """What the learned tokens of one row cost together, and how many they are (at least one)."""

    total: float
    tokens: int

    @classmethod
    def of(cls, losses: Sequence[float]) -> "RowLoss":
        """From the loss of each token. Raises ValueError for a row without one."""
        if not losses:
            raise ValueError("a row without a learned token has no mean loss; leave it out")
        return cls(math.fsum(losses), len(losses))

    @property
    def mean(self) -> float:
        """The loss of its average token."""
        return self.total / self.tokens


Batches = Sequence[Sequence[RowLoss]]


def token_loss(batches: Batches) -> float:
    """Mean loss, every token counted once. Raises ValueError if there is no token."""
    rows = list(_rows(batches))
    if not rows:
        raise ValueError("there is no token whose loss could be averaged")
    return math.fsum(row.total for row in rows) / sum(row.tokens for row in rows)


def token_perplexity(batches: Batches) -> float:
    """exp of `token_loss`: the perplexity of the literature."""
    return math.exp(token_loss(batches))


def dialogpt_loss(batches: Batches) -> float:
    """DialoGPT's figure: a batch's mean over its tokens, batches weighted by their rows."""
    total = sum(len(batch) * token_loss([batch]) for batch in batches)
    return total / sum(map(len, batches))


def dialogpt_perplexity(batches: Batches) -> float:
    """DialoGPT's figure: exp of the mean over a batch's rows of their mean losses, batches weighted by their rows.

    It depends on how rows fall into batches; `token_perplexity` does not.
    """
    total = sum(len(batch) * math.exp(math.fsum(row.mean for row in batch) / len(batch)) for batch in batches)
    return total / sum(map(len, batches))


def in_batches_of(batches: Batches, size: int) -> list[list[RowLoss]]:
    """The same rows in batches of another size."""
    rows = list(_rows(batches))
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def _rows(batches: Batches) -> Iterator[RowLoss]:
    return (row for batch in batches for row in batch)
