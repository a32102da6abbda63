"""People's names in what was written, replaced by invented ones: the same one for the same person all through."""

import re
from collections import Counter
from collections.abc import Mapping
from itertools import count

from bot.personas.people import People, Pseudonyms

STAND_INS = (
    "Robin", "Kim", "Jamie", "Alex", "Sasha", "Charlie", "Morgan", "Casey", "Taylor", "Riley",
    "Jordan", "Quinn", "Avery", "Rowan", "Skyler", "Emery", "Finley", "Harper", "Logan", "Parker",
)  # fmt: skip

_LISTED = (
    "amber angel april art august autumn baby bill black brown chance chase christian day dawn dick dolly don drew "
    "faith frank gene grace grant green guy hope iris ivy jack jean joy june king lily little long love mark max may "
    "melody miles misty nick page pat pearl penny ray red rich rob rose ruby said star stone storm sue summer sunny "
    "will white wood young"
)
_ALSO_WORDS = frozenset(_LISTED.split())
"""Names that are words as well: taken for a name only where they are written and stand like one."""

_PART = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_SHORTEST = 3
_SPOKEN_TO = re.compile(r"\s*(?:[,!?.:;]|$)")
_GREETING = re.compile(r"(?i)\b(?:hi|hey|hello|yo|thanks|thank you|bye|dear|morning|night),?\s+$")
_SENTENCE_ENDS = ".!?…\n"


class Names:
    """Whose names there are; `replaced` is a text without them."""

    def __init__(self, substitutes: Mapping[str, str]) -> None:
        """`substitutes`: what stands for a name, by the name in lower case."""
        self._substitutes = dict(substitutes)
        longest_first = sorted(self._substitutes, key=len, reverse=True)
        listed = "|".join(re.escape(name).replace(r"\ ", r"\s+") for name in longest_first)
        self._pattern = re.compile(rf"@?(?<![\w])({listed})(?![\w])", re.IGNORECASE) if listed else None

    @classmethod
    def of(cls, people: People, pseudonyms: Pseudonyms, *, learned: str, persona: str) -> "Names":
        """Everybody in the export; the one who is learned is called as the persona is."""
        real = {part.casefold() for names in people.names.values() for name in names for part in _parts(name)}
        free = [name for name in STAND_INS if name.casefold() not in real and name.casefold() != persona.casefold()]
        substitutes: dict[str, str] = {}
        taken: set[str] = set()
        others = sorted((author for author in people.names if author != learned), key=pseudonyms.order)
        for author, names in [(learned, people.names[learned]), *((other, people.names[other]) for other in others)]:
            stand_in = persona if author == learned else _chosen(free, taken, pseudonyms.order(author))
            taken.add(stand_in)
            for name in names:
                for written in (" ".join(name.split()), *_parts(name)):
                    if len(written) >= _SHORTEST:
                        substitutes.setdefault(written.casefold(), stand_in)
        return cls(substitutes)

    def replaced(self, text: str, found: Counter[str]) -> str:
        """The text with every name replaced, which is counted as "name"; a name that is kept is not."""
        if self._pattern is None:
            return text

        def one(match: re.Match[str]) -> str:
            name = match[1]
            stand_in = self._substitutes[" ".join(name.casefold().split())]
            if name.casefold() == stand_in.casefold() or (
                name.casefold() in _ALSO_WORDS and match[0][0] != "@" and not _stands_like_a_name(match)
            ):
                return match[0]
            found["name"] += 1
            return stand_in.lower() if name.islower() else stand_in

        return self._pattern.sub(one, text)


def _parts(name: str) -> list[str]:
    return [part for part in _PART.findall(name) if len(part) >= _SHORTEST]


def _chosen(free: list[str], taken: set[str], number: int) -> str:
    for place in range(number, number + len(free)):
        if free[place % len(free)] not in taken:
            return free[place % len(free)]
    return next(name for n in count(2) if (name := f"{free[number % len(free)] if free else 'Friend'}{n}") not in taken)


def _stands_like_a_name(match: re.Match[str]) -> bool:
    """With a capital, and not only because a sentence begins with it."""
    if not match[1][0].isupper():
        return False
    before, after = match.string[: match.start()], match.string[match.end() :]
    begins = not before.strip() or before.rstrip()[-1] in _SENTENCE_ENDS
    return not begins or bool(_GREETING.search(before)) or bool(_SPOKEN_TO.match(after))
