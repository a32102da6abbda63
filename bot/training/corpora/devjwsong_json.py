"""Dialogues as gpt2-dialogue-generation-pytorch keeps them: `*_utters.json`, a list of lists of texts."""

import json
from collections.abc import Iterator
from pathlib import Path

from bot.training.corpora.dialogue import Dialogue
from bot.training.corpora.text import opened, wrong
from bot.training.errors import TrainingError

SOURCE = "devjwsong"


def read(path: Path) -> Iterator[Dialogue]:
    """Every dialogue, in order. Raises TrainingError."""
    with opened(path) as file:
        try:
            dialogues = json.load(file)
        except ValueError as error:
            line = error.lineno if isinstance(error, json.JSONDecodeError) else 1
            raise wrong(path, line, f"this is not JSON ({error}).") from error
    if not isinstance(dialogues, list):
        raise TrainingError(f"{path}: the file is no list of dialogues.")
    for number, dialogue in enumerate(dialogues, start=1):
        if not isinstance(dialogue, list) or not all(isinstance(text, str) for text in dialogue):
            raise TrainingError(f"{path}: dialogue {number} is no list of texts.")
        yield Dialogue(tuple(dialogue), SOURCE)
