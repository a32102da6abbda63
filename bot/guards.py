"""What is wrong with a candidate as a piece of conversation, whatever it says: empty, echoed, looping, said before.

GPT-2 bots are known for exactly these. Plain functions over words; no model, no state.
"""

import re
from collections.abc import Sequence
from itertools import pairwise

_WORD = re.compile(r"\w+", re.UNICODE)
_SENTENCE_END = re.compile(r"[.!?…。！？][\"'”’)\]]*(?=\s|$)")
_SAME = 0.9  # from this overlap on two texts say the same
_LOOP_SHARE = 0.5


def words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def fault(text: str, said: str, earlier_replies: Sequence[str]) -> str | None:
    """The first reason to drop a candidate reply to `said`, or None.

    "empty": nothing to read; "punctuation": no letter or digit (a lone emoji passes); "echo": repeats what
    was said; "loop": one run of words fills most of it; "repeat": word for word an earlier reply.
    """
    own = words(text)
    if not text.strip():
        return "empty"
    if not own:
        return None if _has_symbol(text) else "punctuation"
    if overlap(text, said) >= _SAME:
        return "echo"
    if _loops(own):
        return "loop"
    if any(own == words(reply) for reply in earlier_replies):
        return "repeat"
    return None


def overlap(text: str, other: str) -> float:
    """How much of `text` stands in `other` already, 0 to 1: the share of its word pairs that both have, or of
    single words where it has just one."""
    first, second = words(text), words(other)
    if not first or not second:
        return 0.0
    if len(first) == 1 or len(second) == 1:
        return 1.0 if first == second else 0.0
    pairs, known = list(pairwise(first)), set(pairwise(second))
    return sum(pair in known for pair in pairs) / len(pairs)


def whole_sentences(text: str) -> str:
    """The text up to its last sentence end; empty if it has none. For a reply that ran into its length limit."""
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    return text[: ends[-1]].strip() if ends else ""


def _has_symbol(text: str) -> bool:
    # Emoji and other pictures lie outside the punctuation that a degenerate model repeats.
    return any(ord(character) > 0x2190 for character in text)


def _loops(own: Sequence[str]) -> bool:
    if len(own) < 6:
        return False
    for size in (1, 2, 3, 4):
        runs = [tuple(own[start : start + size]) for start in range(len(own) - size + 1)]
        most = max(runs.count(run) for run in set(runs))
        if most >= 3 and most * size / len(own) >= _LOOP_SHARE:
            return True
    return False
