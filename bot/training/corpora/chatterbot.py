"""ChatterBot's English corpus (PyPI `chatterbot-corpus`, BSD): questions with an answer or a few."""

import random
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from ruamel.yaml import YAML

from bot.training.corpora.dialogue import Dialogue, fit_pieces, is_held_out
from bot.training.errors import TrainingError

FILES = ("conversations", "emotion", "food", "greetings", "health", "literature", "movies", "sports", "psychology")
"""The rest is about a bot of another name, or asks for facts."""


def training_pass(rng: random.Random) -> Iterator[Dialogue]:
    """The training part once, in a random order."""
    pieces = [dialogue for dialogue in _dialogues() if not is_held_out("\n".join(dialogue.turns))]
    rng.shuffle(pieces)
    yield from pieces


def held_out() -> Iterator[Dialogue]:
    """The part that is never trained on."""
    return (dialogue for dialogue in _dialogues() if is_held_out("\n".join(dialogue.turns)))


def _dialogues() -> Iterator[Dialogue]:
    yaml = YAML(typ="safe", pure=True)
    for name in FILES:
        content = yaml.load((_directory() / f"{name}.yml").read_text(encoding="utf-8"))
        for conversation in content["conversations"]:
            for piece in fit_pieces(str(turn) for turn in conversation):
                yield Dialogue(piece, "chatterbot", name)


def _directory() -> Path:
    spec = find_spec("chatterbot_corpus")
    if spec is None or spec.origin is None:
        raise TrainingError("The corpus chatterbot needs an extra package: pip install 'banter[train]'.")
    return Path(spec.origin).parent / "data" / "english"
