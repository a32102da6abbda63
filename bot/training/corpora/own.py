"""The corpora that were written for this project: everyday and smalltalk. Their READMEs say what is in them."""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from bot.training.corpora.dialogue import Dialogue
from bot.training.corpora.templates import read_templates

_CORPORA = Path(__file__).parents[2] / "starter" / "corpus"
_JOINED = 0.3
_CARELESS = 0.35
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class OwnCorpus:
    """Short dialogues between a person and the bot.

    `often`: files that every pass reads twice. `alone`: files whose dialogues ask what was said before, so that
    they make no sense behind another one. `apart_from`: a corpus whose held-out dialogues do not occur in this one.
    """

    directory: Path
    often: tuple[str, ...] = ()
    alone: tuple[str, ...] = ()
    apart_from: "OwnCorpus | None" = None

    def training_pass(self, rng: random.Random) -> Iterator[Dialogue]:
        """One pass over the training part: places drawn anew, some people careless, some talks longer."""
        templates, slots = read_templates(self.directory)
        chosen = [t for t in templates if not t.held_out for _ in range(2 if t.file in self.often else 1)]
        rng.shuffle(chosen)
        foreign = set() if self.apart_from is None else {_plain(dialogue) for dialogue in self.apart_from.held_out()}
        waiting: Dialogue | None = None
        for template in chosen:
            dialogue = template.expand(slots, self.directory.name, rng)
            if rng.random() < _CARELESS:
                dialogue = _written_carelessly(dialogue)
            if _plain(dialogue) in foreign:
                continue
            if template.file in self.alone:
                yield dialogue
                continue
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

    def held_out(self) -> Iterator[Dialogue]:
        """The part that is never trained on, each template expanded once, always alike."""
        templates, slots = read_templates(self.directory)
        rng = random.Random(0)
        for template in templates:
            if template.held_out:
                yield template.expand(slots, self.directory.name, rng)


everyday = OwnCorpus(_CORPORA / "everyday", often=("6-common-openings", "9-plain-talk-a", "10-plain-talk-b"))
smalltalk = OwnCorpus(_CORPORA / "smalltalk", alone=("2-the-bot-and-memory",), apart_from=everyday)


def _plain(dialogue: Dialogue) -> tuple[str, ...]:
    """What a dialogue says, however it is written."""
    return tuple(" ".join(_WORD.findall(turn.lower().replace("'", ""))) for turn in dialogue.turns)


def _written_carelessly(dialogue: Dialogue) -> Dialogue:
    """The person writes without capitals and full stops, as people do in a chat; the bot stays tidy."""
    turns = [
        turn.lower().rstrip(".!").replace("'", "") or turn if number % 2 == 0 else turn
        for number, turn in enumerate(dialogue.turns)
    ]
    return replace(dialogue, turns=tuple(turns))
