"""Whether a reply says what was said before, and whether it says one thing over and over."""

from collections.abc import Sequence
from itertools import pairwise

from bot.guards import overlap, words

SAID_BEFORE = 0.5
"""From this share of common word pairs on, a reply repeats an earlier one."""


def repeats(reply: str, earlier: Sequence[str]) -> bool:
    """Whether a reply equals one of the speaker's earlier ones, or half of its word pairs stand in it."""
    return any(words(reply) == words(one) or overlap(reply, one) >= SAID_BEFORE for one in earlier if words(one))


def variety(reply: str) -> float | None:
    """Distinct-2 of one reply by itself: below 1 where a pair of words comes back. None: there is no pair."""
    own = words(reply)
    pairs = list(pairwise(own))
    return len(set(pairs)) / len(pairs) if pairs else None
