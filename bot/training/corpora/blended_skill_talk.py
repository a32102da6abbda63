"""BlendedSkillTalk (Smith et al. 2020, arXiv:2004.08449): a free and a guided speaker, each with a persona."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bot.training.corpora.dialogue import Dialogue
from bot.training.corpora.json_stream import json_stream
from bot.training.corpora.speakers import Line, two_sided
from bot.training.corpora.text import files_of, wrong

SOURCE = "blended-skill-talk"
PARTS = ("train.json", "valid.json", "test.json")
GUIDED = 1


def read(path: Path) -> Iterator[Dialogue]:
    """Every dialogue of the file, or of a folder's three, the two utterances that set the scene first; the guided
    speaker stands for the bot. Raises TrainingError."""
    for file in files_of(path, PARTS):
        with json_stream(file) as stream:
            if stream.peek() != "[":
                raise wrong(file, stream.line, "this is not the BlendedSkillTalk that was published: no list.")
            for _ in stream.array():
                line = stream.line
                talk = stream.value()
                try:
                    yield _dialogue(talk)
                except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
                    reason = f"this is not the BlendedSkillTalk that was published ({error!r})."
                    raise wrong(file, line, reason) from error
            stream.end()


def _dialogue(talk: Any) -> Dialogue:
    opening = talk["free_turker_utterance"], talk["guided_turker_utterance"]
    lines: list[Line] = [(place == GUIDED, _plain(text), None) for place, text in enumerate(opening)]
    lines += [(side == GUIDED, _plain(text), None) for side, text in talk["dialog"]]
    personas: list[list[str]] = talk.get("personas") or [[], []]
    return two_sided(
        lines,
        source=SOURCE,
        topic=talk.get("context_dataset") or "",
        persona=[_plain(text) for text in personas[GUIDED]],
        situations=(_plain(talk.get("additional_context") or ""), _plain(opening[0])),
    )


def _plain(text: str) -> str:
    return " ".join(text.split())
