"""DailyDialog (Li et al. 2017, arXiv:1710.03957): one dialogue a line, `__eou__` after every utterance."""

from collections.abc import Iterator
from pathlib import Path

from bot.training.corpora.dialogue import Dialogue
from bot.training.corpora.text import files_of, numbered_lines, wrong

SOURCE = "daily-dialog"
PARTS = ("dialogues_train.txt", "dialogues_validation.txt", "dialogues_test.txt")

END = "__eou__"


def read(path: Path) -> Iterator[Dialogue]:
    """Every dialogue of the file, or of a folder's parts for training, validation and test. Raises TrainingError."""
    for file in files_of(path, PARTS):
        for number, line in numbered_lines(file):
            if not line.strip():
                continue
            if END not in line:
                raise wrong(file, number, f"there is no {END} in it, which ends every utterance of DailyDialog.")
            turns = (" ".join(text.split()).replace("’", "'") for text in line.split(END))
            yield Dialogue(tuple(turn for turn in turns if turn), SOURCE)
