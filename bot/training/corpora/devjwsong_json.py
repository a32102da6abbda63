"""Dialogues as gpt2-dialogue-generation-pytorch keeps them: `*_utters.json`, a list of lists of texts."""

from collections.abc import Iterator
from pathlib import Path

from bot.training.corpora.dialogue import Dialogue
from bot.training.corpora.json_stream import json_stream
from bot.training.corpora.text import whole_characters, wrong
from bot.training.errors import TrainingError

SOURCE = "devjwsong"


def read(path: Path) -> Iterator[Dialogue]:
    """Every dialogue, in order. Raises TrainingError."""
    with json_stream(path) as stream:
        if stream.peek() != "[":
            raise TrainingError(f"{path}: the file is no list of dialogues.")
        for number, _ in enumerate(stream.array(), start=1):
            line = stream.line
            dialogue = stream.value()
            if not isinstance(dialogue, list) or not all(isinstance(text, str) for text in dialogue):
                raise wrong(path, line, f"dialogue {number} is no list of texts.")
            yield Dialogue(tuple(map(whole_characters, dialogue)), SOURCE)
        stream.end()
