"""Persona-Chat (Zhang et al. 2018, arXiv:1801.07243) with what each bot is told about itself, in both published forms.

ConvAI2's text files (`train_self_original.txt`, numbered lines, turn and reply separated by a tabulator), and the
JSON in which TransferTransfo keeps them (`personachat_self_original.json`).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bot.training.corpora.dialogue import Dialogue
from bot.training.corpora.json_stream import json_stream
from bot.training.corpora.speakers import Line, two_sided
from bot.training.corpora.text import files_of, numbered_lines, wrong

SOURCE = "persona-chat"
PARTS = ("personachat_self_original.json",)
TEXT_PARTS = ("train_self_original.txt", "valid_self_original.txt", "test_self_original.txt")

_OWN, _OTHER = "your persona: ", "partner's persona: "
_SILENCES = ("__SILENCE__", "__ SILENCE __")


def read(path: Path) -> Iterator[Dialogue]:
    """Every dialogue, the persona being the side's that replies. Raises TrainingError."""
    for file in files_of(path, (*PARTS, *TEXT_PARTS)):
        yield from _from_json(file) if file.suffix == ".json" else _from_text(file)


def _from_text(file: Path) -> Iterator[Dialogue]:
    persona: list[str] = []
    lines: list[Line] = []
    for number, line in numbered_lines(file):
        if not line.strip():
            continue
        place, _, rest = line.partition(" ")
        if not place.isdecimal():
            raise wrong(file, number, "the line does not begin with its number, as every line of ConvAI2's does.")
        if place == "1":
            if lines:
                yield two_sided(lines, source=SOURCE, persona=persona)
            persona, lines = [], []
        if rest.startswith(_OWN):
            persona.append(_plain(rest.removeprefix(_OWN)))
        elif not rest.startswith(_OTHER):
            turn, tab, rest = rest.partition("\t")
            if not tab:
                raise wrong(file, number, "there is no reply. Write number, turn, tabulator, reply.")
            lines += [(False, _plain(turn), None), (True, _plain(rest.split("\t")[0]), None)]
    if lines:
        yield two_sided(lines, source=SOURCE, persona=persona)


def _from_json(file: Path) -> Iterator[Dialogue]:
    with json_stream(file) as stream:
        if stream.peek() != "{":
            raise wrong(file, stream.line, "this is not the Persona-Chat that was published: no object.")
        for _part in stream.members():
            for _ in stream.array():
                line = stream.line
                talk = stream.value()
                try:
                    yield _talk(talk)
                except (KeyError, IndexError, TypeError, AttributeError) as error:
                    raise wrong(file, line, f"this is not the Persona-Chat that was published ({error!r}).") from error
        stream.end()


def _talk(talk: Any) -> Dialogue:
    """The longest history with the reply to it, which is the last of its candidates."""
    last = talk["utterances"][-1]
    said = [*last["history"], *last.get("candidates", [])[-1:]]
    replies_at = len(last["history"]) % 2
    lines: list[Line] = [(place % 2 == replies_at, _plain(text), None) for place, text in enumerate(said)]
    return two_sided(lines, source=SOURCE, persona=[_plain(text) for text in talk.get("personality", ())])


def _plain(text: str) -> str:
    text = " ".join(text.split())
    return "" if text in _SILENCES else text
