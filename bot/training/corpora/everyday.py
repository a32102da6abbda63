"""The everyday corpus: short dialogues between a person and the bot, with slots. Its README has the format."""

import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from bot.training.corpora.dialogue import Dialogue, is_held_out
from bot.training.errors import TrainingError

DIRECTORY = Path(__file__).parents[2] / "starter" / "corpus" / "everyday"
PLAIN = ("6-common-openings", "9-plain-talk-a", "10-plain-talk-b")
"""Files that a very small model can follow; every pass reads them twice."""

_SLOT = re.compile(r"\{([a-z_]+?)(\d?)\}")
_JOINED = 0.3
_CARELESS = 0.35


@dataclass(frozen=True, slots=True)
class Template:
    """A dialogue with its slots still open."""

    turns: tuple[str, ...]
    topic: str
    file: str

    def expand(self, slots: dict[str, list[str]], rng: random.Random) -> Dialogue:
        """Fill the slots: the same slot is the same word throughout, numbered ones differ from it."""
        chosen: dict[str, str] = {}
        taken: dict[str, set[str]] = {}

        def fill(match: re.Match[str]) -> str:
            key, name = match.group(0), match.group(1)
            if key not in chosen:
                free = [word for word in slots[name] if word not in taken.get(name, set())]
                chosen[key] = rng.choice(free or slots[name])
                taken.setdefault(name, set()).add(chosen[key])
            return chosen[key]

        turns = tuple(_SLOT.sub(fill, turn) for turn in self.turns)
        return Dialogue(turns, "everyday", self.topic, situations=("\n".join(self.turns),))


def read_templates(directory: Path = DIRECTORY) -> tuple[list[Template], dict[str, list[str]]]:
    """Every dialogue of the corpus, and the slots' words. Raises TrainingError."""
    try:
        slots: dict[str, list[str]] = json.loads((directory / "slots.json").read_text(encoding="utf-8"))
        files = sorted(directory.glob("*.txt"))
        templates = [template for file in files for template in _templates_of(file)]
    except (OSError, ValueError) as error:
        raise TrainingError(f"{directory}: the everyday corpus cannot be read ({error}).") from error
    if not templates:
        raise TrainingError(f"{directory}: there are no dialogues (*.txt) in it.")
    return templates, slots


def training_pass(rng: random.Random, directory: Path = DIRECTORY) -> Iterator[Dialogue]:
    """One pass over the training part: slots drawn anew, some people careless, some talks longer than a dialogue."""
    templates, slots = read_templates(directory)
    chosen = [t for t in templates if not _held_out(t) for _ in range(2 if t.file in PLAIN else 1)]
    rng.shuffle(chosen)
    waiting: Dialogue | None = None
    for template in chosen:
        dialogue = template.expand(slots, rng)
        if rng.random() < _CARELESS:
            dialogue = _written_carelessly(dialogue)
        if waiting is not None:
            # A real talk goes from topic to topic; the reply then has to follow the last turn.
            turns, situations = waiting.turns + dialogue.turns, waiting.situations + dialogue.situations
            dialogue, waiting = replace(dialogue, turns=turns, situations=situations), None
        if rng.random() < _JOINED:
            waiting = dialogue
        else:
            yield dialogue
    if waiting is not None:
        yield waiting


def held_out(directory: Path = DIRECTORY) -> Iterator[Dialogue]:
    """The part that is never trained on, each template expanded once, always alike."""
    templates, slots = read_templates(directory)
    rng = random.Random(0)
    for template in templates:
        if _held_out(template):
            yield template.expand(slots, rng)


def _held_out(template: Template) -> bool:
    return is_held_out("\n".join(template.turns))


def _written_carelessly(dialogue: Dialogue) -> Dialogue:
    """The person writes without capitals and full stops, as people do in a chat; the bot stays tidy."""
    turns = [
        turn.lower().rstrip(".!").replace("'", "") or turn if number % 2 == 0 else turn
        for number, turn in enumerate(dialogue.turns)
    ]
    return replace(dialogue, turns=tuple(turns))


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
