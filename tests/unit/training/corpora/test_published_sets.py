"""DailyDialog, EmpatheticDialogues, Persona-Chat and BlendedSkillTalk, in the forms that their authors published."""

import json
from pathlib import Path
from typing import Any

import pytest

from bot.training.corpora.dialogue import Dialogue
from bot.training.corpora.files import CorpusFile
from bot.training.corpora.guess import guess_format
from bot.training.errors import TrainingError


def everything(path: Path, kind: str) -> list[Dialogue]:
    return list(CorpusFile.named(f"{path}:{kind}").everything())


def test_daily_dialog_is_one_dialogue_a_line(tmp_path: Path) -> None:
    path = tmp_path / "dialogues_text.txt"
    path.write_text("Hi . __eou__ It’s  ok __eou__\nBye . __eou__ Bye ! __eou__ \n", encoding="utf-8")
    found = everything(path, "daily-dialog")
    assert found == [
        Dialogue(("Hi .", "It's ok"), "daily-dialog"),
        Dialogue(("Bye .", "Bye !"), "daily-dialog"),
    ]
    assert guess_format(path) == "daily-dialog"


def test_a_folder_is_read_part_by_part(tmp_path: Path) -> None:
    for name in ("test", "validation", "train"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"dialogues_{name}.txt").write_text(f"{name} __eou__ yes __eou__\n")
    assert guess_format(tmp_path) == "daily-dialog"
    assert [dialogue.turns[0] for dialogue in everything(tmp_path, "daily-dialog")] == ["train", "validation", "test"]


HEAD = "conv_id,utterance_idx,context,prompt,speaker_idx,utterance,selfeval,tags\n"
EMPATHETIC = (
    "hit:0_conv:1,1,proud,I won_comma_ at last,1,I won_comma_ at last!,5|5|5,\n"
    'hit:0_conv:1,2,proud,I won_comma_ at last,0,"Well done" he said,5|5|5,\n'
    "hit:0_conv:1,3,proud,I won_comma_ at last,0,I mean it.,5|5|5,\n"
    "hit:1_conv:2,1,sad,My cat left,7,My cat left.,5|5|5,\n"
    "hit:1_conv:2,2,sad,My cat left,8,Oh no.,5|5|5,<HI>\n"
    "hit:1_conv:2,3,sad,My cat left,8,hit:2_conv:5,5|5|5,\n"
)


def test_empathetic_dialogues_have_feeling_and_situation(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    path.write_text(HEAD + EMPATHETIC)
    source = "empathetic-dialogues"
    first = ("I won, at last!", '"Well done" he said I mean it.')
    assert everything(path, source) == [
        Dialogue(first, source, "proud", situations=("I won, at last",)),
        Dialogue(("My cat left.", "Oh no."), source, "sad", situations=("My cat left",)),
    ]
    assert guess_format(path) == guess_format(tmp_path) == source


CONVAI2 = (
    "1 your persona: i like to ski.\n"
    "2 partner's persona: i am a clown.\n"
    "3 hi , how are you ?\tgreat , thanks !\t\ta|b|great , thanks !\n"
    "4 do you ski ?\tyes , a lot .\t\tno|yes , a lot .\n"
    "1 your persona: i cook.\n"
    "2 __SILENCE__\thello !\t\tx|hello !\n"
    "3 hey\twhat do you do ?\t\ty|what do you do ?\n"
)


def test_convai2_keeps_the_bots_persona_and_an_opening_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "train_self_original.txt"
    path.write_text(CONVAI2)
    source = "persona-chat"
    skier = ("hi , how are you ?", "great , thanks !", "do you ski ?", "yes , a lot .")
    cook = ("hello !", "hey", "what do you do ?")
    assert everything(path, source) == [
        Dialogue(skier, source, persona=("i like to ski.",)),
        Dialogue(cook, source, persona=("i cook.",), bot_opens=True),
    ]
    assert guess_format(path) == guess_format(tmp_path) == source


def persona_talk(history: list[str], reply: str) -> dict[str, Any]:
    earlier = {"history": history[:1], "candidates": ["x", history[1] if history[1:] else reply]}
    return {
        "personality": ["i like to ski ."],
        "utterances": [earlier, {"history": history, "candidates": ["no", reply]}],
    }


def test_persona_chat_ends_with_the_true_reply(tmp_path: Path) -> None:
    path = tmp_path / "personachat_self_original.json"
    talks = [persona_talk(["hi", "yo", "ski ?"], "yes ."), persona_talk(["__ SILENCE __"], "hello")]
    path.write_text(json.dumps({"train": talks, "valid": talks[:1]}))
    source = "persona-chat"
    asked = Dialogue(("hi", "yo", "ski ?", "yes ."), source, persona=("i like to ski .",))
    opened = Dialogue(("hello",), source, persona=("i like to ski .",), bot_opens=True)
    assert everything(path, source) == [asked, opened, asked]
    assert guess_format(path) == source


def test_whose_reply_it_is_follows_from_the_history(tmp_path: Path) -> None:
    path = tmp_path / "personachat_self_original.json"
    path.write_text(json.dumps({"train": [persona_talk(["hi", "yo"], "nice")]}))
    (dialogue,) = everything(path, "persona-chat")
    assert (dialogue.turns, dialogue.bot_opens) == (("hi", "yo", "nice"), True)


BLENDED = {
    "personas": [["i am a vegan.", "i have a dog."], ["i like jazz.", "i am tall."]],
    "context_dataset": "wizard_of_wikipedia",
    "free_turker_utterance": "i love  dogs",
    "guided_turker_utterance": "so do i",
    "additional_context": "Dogs",
    "dialog": [[0, "what breed ?"], [1, "a pug"], [1, "two in fact"], [0, " nice "]],
}


def test_blended_skill_talk_takes_the_guided_speaker_for_the_bot(tmp_path: Path) -> None:
    path = tmp_path / "valid.json"
    path.write_text(json.dumps([BLENDED], indent=1))
    source = "blended-skill-talk"
    turns = ("i love dogs", "so do i", "what breed ?", "a pug two in fact", "nice")
    (dialogue,) = everything(path, source)
    assert dialogue == Dialogue(
        turns,
        source,
        "wizard_of_wikipedia",
        persona=("i like jazz.", "i am tall."),
        situations=("Dogs", "i love dogs"),
    )
    assert guess_format(path) == guess_format(tmp_path) == source


@pytest.mark.parametrize(
    ("name", "content", "kind", "complaint"),
    [
        ("a.txt", "hi __eou__\nhello\n", "daily-dialog", ":2: there is no __eou__"),
        ("a.csv", "a,b\n1,2\n", "empathetic-dialogues", ":1: the first line is not conv_id,"),
        ("a.csv", HEAD + "x,1,sad\n", "empathetic-dialogues", ":2: 3 columns"),
        ("a.txt", "1 your persona: x\nhello\tyou\n", "persona-chat", ":2: the line does not begin with its number"),
        ("a.txt", "1 your persona: x\n2 hello\n", "persona-chat", ":2: there is no reply"),
        ("a.json", '{"train": [\n{"a": 1}]}', "persona-chat", ":2: this is not the Persona-Chat"),
        ("a.json", "[]", "persona-chat", ":1: this is not the Persona-Chat"),
        ("a.json", '[\n{"dialog": []}]', "blended-skill-talk", ":2: this is not the BlendedSkillTalk"),
        ("a.json", "{}", "blended-skill-talk", ":1: this is not the BlendedSkillTalk"),
    ],
)
def test_what_is_none_of_them_is_told_with_its_line(
    tmp_path: Path, name: str, content: str, kind: str, complaint: str
) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(TrainingError) as caught:
        everything(path, kind)
    assert f"{path}{complaint}" in str(caught.value)


@pytest.mark.parametrize("kind", ["daily-dialog", "empathetic-dialogues", "persona-chat", "blended-skill-talk"])
def test_a_folder_without_the_files_is_told_their_names(tmp_path: Path, kind: str) -> None:
    with pytest.raises(TrainingError, match=r"there is none of \w+"):
        everything(tmp_path, kind)
