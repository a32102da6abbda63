"""How varied replies are, as DialoGPT counts: whitespace tokens, n-grams of all lines pooled, never across lines."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence


def entropy(lines: Sequence[str], order: int) -> float:
    """Entropy-n in nats (Zhang et al. 2018, arXiv:1809.05972); 0 where there is no n-gram."""
    counts = _pooled(lines, order)
    total = counts.total()
    return -sum(count / total * math.log(count / total) for count in counts.values()) if total else 0.0


def distinct(lines: Sequence[str], order: int) -> float | None:
    """Distinct-n: different n-grams among all n-grams; None where there is none.

    Li et al. 2016 (arXiv:1510.03055) divide by the number of words; the code behind the tables does not.
    """
    counts = _pooled(lines, order)
    return len(counts) / counts.total() if counts else None


def average_length(lines: Sequence[str]) -> float:
    """Mean number of whitespace tokens a line; an empty line counts as 0. Raises ValueError if there is no line."""
    if not lines:
        raise ValueError("there is no line to take an average of")
    return sum(len(line.split()) for line in lines) / len(lines)


def _pooled(lines: Iterable[str], order: int) -> Counter[tuple[str, ...]]:
    counts: Counter[tuple[str, ...]] = Counter()
    for line in lines:
        tokens = line.split()
        counts.update(tuple(tokens[start : start + order]) for start in range(len(tokens) - order + 1))
    return counts
