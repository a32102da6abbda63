"""How well scores tell good replies from others: DialogRPT's hits and pairs, and the common figures of retrieval."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Judged:
    """The scores of one context's replies: those that should win and those that should not."""

    positive: Sequence[float]
    negative: Sequence[float]


def hits(contexts: Sequence[Judged]) -> float:
    """DialogRPT's hits@k with k the number of positives: their share among the k best, mean over contexts.

    Of equal scores the later one wins, and negatives come last. Raises ValueError if there is no context.
    """
    return _mean([_share_of_best(one) for one in contexts])


def pair_accuracy(pairs: Sequence[tuple[float, float]]) -> float:
    """Share of (positive, negative) scores in which the positive is strictly higher."""
    return _mean([float(good > bad) for good, bad in pairs])


def hits_at(contexts: Sequence[Judged], k: int) -> float:
    """How often the first positive is among the k best; equal scores count against it."""
    return _mean([float(_rank(one) <= k) for one in contexts])


def mean_reciprocal_rank(contexts: Sequence[Judged]) -> float:
    """Mean of 1 / rank of the first positive; equal scores count against it."""
    return _mean([1 / _rank(one) for one in contexts])


def _share_of_best(one: Judged) -> float:
    scored = [(score, False) for score in one.positive] + [(score, True) for score in one.negative]
    order = sorted(range(len(scored)), key=lambda place: (scored[place][0], place), reverse=True)
    best = order[: len(one.positive)]
    return sum(not scored[place][1] for place in best) / len(one.positive)


def _rank(one: Judged) -> int:
    return 1 + sum(bad >= one.positive[0] for bad in one.negative)


def _mean(values: Sequence[float]) -> float:
    if not values:
        raise ValueError("there is nothing to take a mean of")
    return sum(values) / len(values)
