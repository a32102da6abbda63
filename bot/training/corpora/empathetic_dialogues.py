"""EmpatheticDialogues (Rashkin et al. 2019, arXiv:1811.00207): one utterance a row, about a situation and a feeling.

The files look like CSV, but nothing is quoted: a comma within a text is written `_comma_`, quotation marks are text.
"""

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from bot.training.corpora.dialogue import Dialogue
from bot.training.corpora.speakers import two_sided
from bot.training.corpora.text import files_of, numbered_lines, wrong

SOURCE = "empathetic-dialogues"
PARTS = ("train.csv", "valid.csv", "test.csv")
HEADER = "conv_id,utterance_idx,context,prompt,speaker_idx,utterance"


class _Row(NamedTuple):
    conversation: str
    feeling: str
    situation: str
    speaker: str
    text: str


def read(path: Path) -> Iterator[Dialogue]:
    """Every dialogue of the file, or of a folder's three; what one speaker says in a row is one turn. Raises
    TrainingError."""
    for file in files_of(path, PARTS):
        for _, rows in groupby(_rows(file), key=lambda row: row.conversation):
            said = list(rows)
            listener = next((row.speaker for row in said if row.speaker != said[0].speaker), None)
            yield two_sided(
                ((row.speaker == listener, row.text, None) for row in said),
                source=SOURCE,
                topic=said[0].feeling,
                situations=(said[0].situation,),
            )


def _rows(file: Path) -> Iterator[_Row]:
    for number, line in numbered_lines(file):
        if number == 1:
            if not line.startswith(HEADER):
                raise wrong(file, number, f"the first line is not {HEADER},...")
            continue
        columns = line.split(",")
        if len(columns) < 6:
            raise wrong(file, number, f"{len(columns)} columns; a row of EmpatheticDialogues has 8.")
        conversation, _, feeling, situation, speaker, text = columns[:6]
        if "hit:" in text and "_conv:" in text:  # the name of the next conversation, spilled into a few rows
            continue
        yield _Row(conversation, feeling, _plain(situation), speaker, _plain(text))


def _plain(text: str) -> str:
    return " ".join(text.replace("_comma_", ",").split())
