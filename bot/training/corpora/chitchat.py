"""The Chit Chat Challenge conversations (PyPI `chitchat-dataset`, MIT): two students write to each other."""

import json
import random
import re
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path

from bot.training.corpora.dialogue import Dialogue, fit_pieces, is_held_out
from bot.training.errors import TrainingError

# The writers share one campus; its names and affairs mean nothing elsewhere.
_CAMPUS = re.compile(
    r"\b(?:\w*byu\w*|provo|lds|mormons?|utah|missions?|missionar\w+|church|temple|bishop|mtc|ysa|computer bot|alexa|"
    r"cougars?|prompt|chat ?bot|experiment|survey|points?|leaderboard)\b",
    re.IGNORECASE,
)


def training_pass(rng: random.Random) -> Iterator[Dialogue]:
    """The training part once, in a random order."""
    pieces = [dialogue for dialogue, kept_out in _dialogues() if not kept_out]
    rng.shuffle(pieces)
    yield from pieces


def held_out() -> Iterator[Dialogue]:
    """The part that is never trained on."""
    return (dialogue for dialogue, kept_out in _dialogues() if kept_out)


def _dialogues() -> Iterator[tuple[Dialogue, bool]]:
    for key, conversation in _conversations():
        turns = (" ".join(_sentences(side)) for side in conversation)
        for piece in fit_pieces("" if _CAMPUS.search(turn) else turn for turn in turns):
            yield Dialogue(piece, "chitchat"), is_held_out(key)


def _sentences(side: Iterable[str]) -> Iterator[str]:
    """Messages in a row become one turn; a full stop is added where the writer only pressed return."""
    messages = [message.strip() for message in side if message.strip()]
    for number, message in enumerate(messages):
        unfinished = number < len(messages) - 1 and message[-1].isalnum()
        yield f"{message}." if unfinished else message


def _conversations() -> Iterator[tuple[str, list[list[str]]]]:
    spec = find_spec("chitchat_dataset")
    if spec is None or spec.origin is None:
        raise TrainingError("The corpus chitchat needs an extra package: pip install 'banter[train]'.")
    # The package's own reader leaves the file open.
    conversations = json.loads((Path(spec.origin).parent / "dataset.json").read_text(encoding="utf-8"))
    for key, conversation in conversations.items():
        yield key, [[message["text"] for message in side] for side in conversation["messages"]]
