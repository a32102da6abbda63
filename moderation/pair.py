"""A reply judged together with what it answers: hate that finds agreement is worse than hate alone.

No word of `yes, I agree` is bad, so that lists never find it; after a hateful or threatening text it is.
"""

from collections.abc import Sequence

from moderation.lexicon import Entry, Phrases, read_rows, speaks
from moderation.normalize import view
from moderation.patterns import slots
from moderation.verdict import Category, Verdict

# What in a person's text forbids replies that agree with it or repeat it.
RESTRICTING = frozenset(
    {
        Category.SEXUAL_MINORS,
        Category.THREAT,
        Category.HATE,
        Category.SELF_HARM,
        Category.HARASSMENT,
        Category.CUSTOM,
    }
)
_SHORTEST_ECHO = 3  # characters


class PairRule:
    """Which replies are out of the question after a text with a restricting category."""

    def __init__(self, languages: Sequence[str]) -> None:
        self._start = Phrases()
        self._anywhere = Phrases()
        for line, row in read_rows("agreement.csv"):
            if speaks(row["languages"], languages):
                phrases = self._start if row["where"] == "start" else self._anywhere
                phrases.add(slots(row["pattern"]), Entry(f"agreement:{line}", Category.HATE, 3, row["pattern"]))

    def broken_by(self, reply: str, *, said: str, said_verdict: Verdict) -> str | None:
        """The rule that the reply breaks by agreeing with what was said or by repeating the flagged part of it."""
        if said_verdict.category not in RESTRICTING:
            return None
        words = [word for word in view(reply).words if word.whole]
        agrees = any(True for _ in self._anywhere.find(words))
        if agrees or any(start == words[0].start for _, start, _ in self._start.find(words)):
            return "pair:agreement"
        if said_verdict.span is not None:
            start, end = said_verdict.span
            flagged = _plain(said[start:end])
            if len(flagged) >= _SHORTEST_ECHO and f" {flagged} " in f" {_plain(reply)} ":
                return "pair:echo"
        return None


def _plain(text: str) -> str:
    return " ".join(word.readings[0] for word in view(text).words if word.whole)
