"""Whether a reply contradicts what a persona is known to be.

Facts are plain sentences ("My name is Rosie.", "I live in Lisbon."). A few common frames are compared: the same
frame with another value is a contradiction. Everything else is left to the ranker.
"""

import re
from collections.abc import Sequence

_VALUE = r"(?P<value>[\w][\w' -]{0,30}?)(?=[.,!?;]|\s+(?:and|but|so|now|too|though)\b|$)"
_FRAMES = {
    "name": rf"\bmy name is {_VALUE}|\bi am called {_VALUE.replace('value', 'value2')}",
    "age": r"\b(?:i am|i'm) (?P<value>\d{1,3})(?: years old)?\b",
    "home": rf"\bi live in {_VALUE}",
    "origin": rf"\b(?:i am|i'm|i come) from {_VALUE}",
    "favourite colour": rf"\bmy favou?rite colou?r is {_VALUE}",
    "favourite food": rf"\bmy favou?rite food is {_VALUE}",
}
_PATTERNS = {frame: re.compile(pattern, re.IGNORECASE) for frame, pattern in _FRAMES.items()}


def contradicts(reply: str, facts: Sequence[str]) -> bool:
    """True if the reply fills a frame of the facts with another value."""
    known = _values(" ".join(f"{fact.rstrip('.')}." for fact in facts))
    said = _values(reply)
    return any(frame in known and not values <= known[frame] for frame, values in said.items())


def _values(text: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for frame, pattern in _PATTERNS.items():
        for match in pattern.finditer(text):
            value = next(value for value in match.groupdict().values() if value)
            found.setdefault(frame, set()).add(value.casefold().strip())
    return found
