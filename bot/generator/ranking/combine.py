"""DialogRPT's rule for one score out of several heads (Gao et al. 2020, arXiv:2009.06978). Plain arithmetic."""

from collections.abc import Sequence

Weighted = tuple[float, float]
"""A head's score and its weight; a negative weight counts against a reply."""


def combine(prior: Sequence[Weighted], cond: Sequence[Weighted]) -> float:
    """Weighted mean of `prior` times weighted mean of `cond`; an empty group counts as 1."""
    return weighted_mean(prior) * weighted_mean(cond)


def weighted_mean(scores: Sequence[Weighted]) -> float:
    """Weights keep their sign above and below the line, as in the original. Raises ValueError if they sum to 0."""
    if not scores:
        return 1.0
    total = sum(weight for _, weight in scores)
    if total == 0:
        raise ValueError("the weights of a group of rankers sum to 0, so there is no mean; change one of them")
    return sum(score * weight for score, weight in scores) / total


def mix(ranker: float, probability: float, weight: float) -> float:
    """`weight` of the rankers' score, the rest of the generator's own probability (0 to 1)."""
    return weight * ranker + (1.0 - weight) * probability
