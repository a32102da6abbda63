"""The data sets that gpt2-dialogue-generation-pytorch merges, read from the files their authors published.

DailyDialog (`dialogues_train.txt` and so on), EmpatheticDialogues (`train.csv`, ...), Persona-Chat
(`personachat_self_original.json`) and BlendedSkillTalk (`train.json`, ...); of each the first part is for training.
"""

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from bot.training.corpora.text import opened, wrong
from bot.training.errors import TrainingError

Clean = Callable[[str], str]
Dialogues = list[list[str]]

_SILENCE = "__ SILENCE __"


def daily_dialog(folder: Path, clean: Clean) -> Dialogues:
    """One dialogue a line, `__eou__` after every utterance; every kind of apostrophe is '."""
    found = []
    for name in ("train", "validation", "test"):
        with opened(_file(folder, f"dialogues_{name}.txt")) as file:
            for line in file:
                utterances = (text.strip().replace("’", "'") for text in line.split("__eou__"))
                found.append([clean(text) for text in utterances if text])
    return found


def empathetic_dialogues(folder: Path, clean: Clean) -> Dialogues:
    """One utterance a row; what one speaker says in a row is one utterance, and commas are written `_comma_`."""
    conversations: dict[str, list[str]] = {}
    speaker = ""
    for row in _empathetic_rows(folder):
        text = row["utterance"].strip().replace("_comma_", ",")
        if not text or "_conv" in row["utterance"]:
            continue
        known = conversations.setdefault(row["conv_id"], [])
        if not known or speaker != row["speaker_idx"]:
            known.append(clean(text))
            speaker = row["speaker_idx"]
        else:
            known[-1] += f" {clean(text)}"
    return list(conversations.values())


def persona_chat(folder: Path, clean: Clean) -> Dialogues:
    """The longest history of every talk, without the silence that stands for an opening."""
    path = _file(folder, "personachat_self_original.json")
    data = _json(path)
    try:
        histories = [talk["utterances"][-1]["history"] for part in ("train", "valid") for talk in data[part]]
        return [
            [clean(text.strip()) for text in history if text.strip() not in ("", _SILENCE)] for history in histories
        ]
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise TrainingError(f"{path}: this is not the Persona-Chat that was published ({error!r}).") from error


def blended_skill_talk(folder: Path, clean: Clean) -> Dialogues:
    """The two utterances that set the scene, as they are, then the free and the guided speaker in turn."""
    found = []
    for name in ("train.json", "valid.json", "test.json"):
        path = _file(folder, name)
        try:
            found += [_blended(talk, clean) for talk in _json(path)]
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise TrainingError(f"{path}: this is not the BlendedSkillTalk that was published ({error!r}).") from error
    return found


SETS: dict[str, Callable[[Path, Clean], Dialogues]] = {
    "daily-dialog": daily_dialog,
    "empathetic-dialogues": empathetic_dialogues,
    "persona-chat": persona_chat,
    "blended-skill-talk": blended_skill_talk,
}
"""In the order in which they are merged."""


def merged(folders: Mapping[str, Path], clean: Clean, train_fraction: float) -> tuple[Dialogues, Dialogues]:
    """Dialogues for training and for validation: so large a part of each set, from its beginning. Raises
    TrainingError."""
    training, validation = Dialogues(), Dialogues()
    for name, read in SETS.items():
        if name in folders:
            dialogues = read(folders[name], clean)
            border = int(len(dialogues) * train_fraction)
            training += dialogues[:border]
            validation += dialogues[border:]
    return training, validation


def _blended(talk: Any, clean: Clean) -> list[str]:
    free, guided = ([text.strip() for side, text in talk["dialog"] if side == wanted] for wanted in (0, 1))
    free, guided = [text for text in free if text], [text for text in guided if text]
    dialogue: list[str] = [talk["free_turker_utterance"], talk["guided_turker_utterance"]]
    for place, text in enumerate(free):
        dialogue += [clean(one) for one in (text, *guided[place : place + 1])]
    return dialogue


def _empathetic_rows(folder: Path) -> Iterator[dict[str, str]]:
    for name in ("train.csv", "valid.csv", "test.csv"):
        path = _file(folder, name)
        with opened(path) as file:
            reader = csv.DictReader(file)
            for row in reader:
                if any(row.get(column) is None for column in ("conv_id", "speaker_idx", "utterance")):
                    raise wrong(path, reader.line_num, "the columns conv_id, speaker_idx and utterance are needed.")
                yield row


def _json(path: Path) -> Any:
    with opened(path) as file:
        try:
            return json.load(file)
        except json.JSONDecodeError as error:
            raise wrong(path, error.lineno, f"this is not JSON ({error.msg}).") from error


def _file(folder: Path, name: str) -> Path:
    """The file in the folder or in one below it, as archives are unpacked."""
    if folder.name == name:
        return folder
    found = sorted([*folder.glob(name), *folder.glob(f"*/{name}")])
    if not found:
        raise TrainingError(f"{folder}: there is no {name} in it.")
    return found[0]
