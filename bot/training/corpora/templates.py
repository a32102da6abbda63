"""Dialogues with open places, as the project's own corpora are written: one text stands for many dialogues.

A file has an utterance a line, the person first, and a blank line after every dialogue; `# words` begins a topic,
`## words` is a comment. `{city}` stands for a word of the list `city` in the corpus's slots.json, `{pet.a}` and
`{pet.many}` for two forms of the same entry, `{city2}` for another one; `[had|ate|]` for one of its alternatives.
"""

import json
import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bot.training.corpora.dialogue import Dialogue, is_held_out
from bot.training.errors import TrainingError

Slots = Mapping[str, list[str] | dict[str, list[str]]]
"""The words of each slot, or of each form of it; all forms of a slot have the same number of entries."""

_SLOT = re.compile(r"\{([a-z_]+?)(\d?)(?:\.([a-z]+))?\}")
_ALTERNATIVES = re.compile(r"\[([^\[\]]*)\]")
_SPACES = re.compile(r" {2,}")


@dataclass(frozen=True, slots=True)
class Template:
    """A dialogue with its places still open."""

    turns: tuple[str, ...]
    topic: str
    file: str

    @property
    def held_out(self) -> bool:
        """Whether it is never trained on, however its places are filled."""
        return is_held_out("\n".join(self.turns))

    def expand(self, slots: Slots, source: str, rng: random.Random) -> Dialogue:
        """Fill the places: the same slot is the same entry throughout, numbered ones differ from it."""
        words = _Words(slots, rng)
        turns = list[str]()
        for turn in self.turns:
            drawn = _ALTERNATIVES.sub(lambda found: rng.choice(found.group(1).split("|")), turn)
            filled = _SPACES.sub(" ", _SLOT.sub(words.fill, drawn)).strip()
            # The bot's lines are tidy whatever they begin with.
            turns.append(filled[:1].upper() + filled[1:] if len(turns) % 2 else filled)
        return Dialogue(tuple(turns), source, self.topic, situations=("\n".join(self.turns),))

    def unknown_slot(self, slots: Slots) -> str | None:
        """A slot that the lists do not have, or not in this form."""
        for turn in self.turns:
            for found in _SLOT.finditer(turn):
                words = slots.get(found.group(1))
                if words is None or (found.group(3) not in words if isinstance(words, dict) else found.group(3)):
                    return found.group()
        return None


class _Words:
    """The entries drawn for one dialogue."""

    def __init__(self, slots: Slots, rng: random.Random) -> None:
        self._slots = slots
        self._rng = rng
        self._drawn: dict[str, int] = {}

    def fill(self, found: re.Match[str]) -> str:
        name, number, form = found.groups()
        words = self._slots[name]
        several = words if isinstance(words, list) else words[form]
        key = name + number
        if key not in self._drawn:
            taken = {entry for other, entry in self._drawn.items() if other.rstrip("0123456789") == name}
            free = [entry for entry in range(len(several)) if entry not in taken]
            self._drawn[key] = self._rng.choice(free or range(len(several)))
        return several[self._drawn[key]]


def read_templates(directory: Path) -> tuple[list[Template], Slots]:
    """Every dialogue of a corpus, and the slots' words. Raises TrainingError."""
    try:
        slots: Slots = json.loads((directory / "slots.json").read_text(encoding="utf-8"))
        files = sorted(directory.glob("*.txt"))
        templates = [template for file in files for template in _templates_of(file)]
    except (OSError, ValueError) as error:
        raise TrainingError(f"{directory}: the corpus {directory.name} cannot be read ({error}).") from error
    if not templates:
        raise TrainingError(f"{directory}: there are no dialogues (*.txt) in it.")
    for template in templates:
        unknown = template.unknown_slot(slots)
        if unknown is not None:
            raise TrainingError(
                f"{directory / template.file}.txt: slots.json has no {unknown}, which a dialogue about "
                f"{template.topic or 'something'} uses: {template.turns[0]!r}"
            )
    return templates, slots


def _templates_of(file: Path) -> Iterator[Template]:
    topic, turns = "", list[str]()
    for line in [*file.read_text(encoding="utf-8").split("\n"), ""]:
        if line and not line.startswith("#"):
            turns.append(line)
            continue
        if turns:
            yield Template(tuple(turns), topic, file.stem)
            turns = []
        if line.startswith("# "):
            topic = line[2:].strip()
