"""Personal data out of what people wrote. Plain rules: they find forms, not meanings, and say so in the card.

Names become invented names, mentions go. What is left of a contact or a number is a plain word, so that a talk can
still be followed; whoever learns from a text asks `is_private` first and leaves such lines to the context.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bot.personas.names import Names
from moderation.hygiene import find_flaws, neutralise_pings, strip_invisible
from moderation.private import find_private

Span = tuple[int, int]

_WORDS = {
    "link": "a link",
    "address": "an address",
    "e-mail": "an address",
    "number": "a number",
    "phone": "a number",
    "card": "a number",
    "iban": "a number",
    "social security number": "a number",
}
_ANYTHING = "something private"

_ADDRESSES = (
    re.compile(
        r"\b\d{1,5}[a-z]?,? (?:[A-Z0-9][\w'.-]*,? ){1,4}"
        r"(?i:street|st|road|rd|avenue|ave|lane|ln|drive|dr|court|ct|boulevard|blvd|square|sq|place|pl|terrace|way|close"
        r"|crescent|gardens|grove|hill|park|mews|highway|hwy|parkway|pkwy)\b\.?"
    ),
    re.compile(
        r"(?i)\b[^\W\d_][\w-]*(?:stra(?:ß|ss)e|str\.|gasse|allee|weg|platz|damm|ufer|straat|laan|plein)"
        r" ?\d{1,4}[a-z]?\b"
    ),
    re.compile(
        r"(?i)\b\d{1,4}(?: ?bis)?,? (?:rue|avenue|boulevard|place|chemin|impasse|quai|calle|via|piazza) "
        r"(?:[\w'’-]+ ?){1,4}"
    ),
    re.compile(r"(?i)\b(?:rue|calle|via|piazza|rua|avenida|ул\.|улица|проспект) (?:[\w'’-]+ ){1,3},? ?\d{1,4}\b"),
    re.compile(r"\b[A-Z]{1,2}\d[A-Z\d]? \d[A-Z]{2}\b"),  # a British postcode
    re.compile(r"\b[A-Z]{2} \d{5}(?:-\d{4})?\b"),  # a state and its ZIP code
    re.compile(r"(?i)\b(?:apt|apartment|flat|suite|p\.? ?o\.? box)\.? ?#?\d{1,5}[a-z]?\b"),
)
_NUMBER = re.compile(r"(?<![\w])\+?\(?\d(?:[\s().·-]{0,2}\d){6,}(?![\w])")
_NUMBERED_MENTION = re.compile(r"<[@#][!&]?\d+>")
_MENTION = re.compile(r"(?<![\w])[@＠][\w.]*\w")
_LEADING = re.compile(r"^(?:[@＠][\w.]*\w[\s,:]*)+")


@dataclass(frozen=True, slots=True)
class Scrubbed:
    """A text without what was found in it. `is_private`: something in it was nobody else's business."""

    text: str
    is_private: bool


class Scrubber:
    """Scrubs texts and counts, by kind, what it found; what it found it never tells."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self.found: Counter[str] = Counter()

    def scrub(self, text: str) -> Scrubbed:
        """One message, on one line."""
        text = _NUMBERED_MENTION.sub(self._mention(""), " ".join(strip_invisible(text).split()))
        private = sorted(_private(text), key=lambda found: found[0][0])  # of those in one place the first rule's
        pieces: list[str] = []
        done = 0
        for (start, end), kind in private:
            if start < done:  # lies within what is already out
                done = max(done, end)
                continue
            pieces += [text[done:start], _WORDS.get(kind, _ANYTHING)]
            self.found[kind] += 1
            done = end
        text = self._names.replaced("".join([*pieces, text[done:]]), self.found)
        text = _MENTION.sub(self._mention("somebody"), _LEADING.sub(self._mention(""), text))
        return Scrubbed(" ".join(neutralise_pings(text).split()), bool(private))

    def _mention(self, word: str) -> Callable[[re.Match[str]], str]:
        def one(match: re.Match[str]) -> str:
            self.found["mention"] += 1
            return word

        return one


def _private(text: str) -> Iterator[tuple[Span, str]]:
    for finding in find_private(text):
        yield finding.span, finding.kind
    for flaw in find_flaws(text, ()):
        yield flaw.span, "link"
    for pattern in _ADDRESSES:
        for match in pattern.finditer(text):
            yield match.span(), "address"
    for match in _NUMBER.finditer(text):
        yield match.span(), "number"
