"""GPT2-chitchat's training text: one utterance a line, an empty line between dialogues."""

from collections.abc import Iterator
from pathlib import Path

from bot.training.corpora.dialogue import Dialogue
from bot.training.corpora.text import CHUNK_CHARACTERS, LONGEST_LINE, opened
from bot.training.errors import TrainingError

SOURCE = "gpt2-chitchat"


def read(path: Path, *, reverse: bool = False) -> Iterator[Dialogue]:
    """Every dialogue, read piece by piece; `reverse` gives its utterances last to first. Raises TrainingError.

    As the original splits: nothing is stripped, a line break at the end of the file opens an empty utterance, and
    where "\\r\\n" occurs anywhere it is the only line break.
    """
    line_break = _line_break(path)
    rest = ""
    with opened(path) as file:
        while piece := file.read(CHUNK_CHARACTERS):
            # What follows the last gap may go on in the next piece, and so may the gap itself.
            *dialogues, rest = (rest + piece).split(2 * line_break)
            yield from (_dialogue(text, line_break, reverse) for text in dialogues)
            if len(rest) > LONGEST_LINE:
                limit = LONGEST_LINE >> 20
                raise TrainingError(f"{path}: no empty line in {limit} million characters. Put one between dialogues.")
    yield _dialogue(rest, line_break, reverse)


def _dialogue(text: str, line_break: str, reverse: bool) -> Dialogue:
    utterances = text.split(line_break)
    return Dialogue(tuple(reversed(utterances) if reverse else utterances), SOURCE)


def _line_break(path: Path) -> str:
    last = ""
    with opened(path) as file:
        while piece := file.read(CHUNK_CHARACTERS):
            if "\r\n" in last + piece:
                return "\r\n"
            last = piece[-1]
    return "\n"
