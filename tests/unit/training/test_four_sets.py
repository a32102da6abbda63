"""The four data sets of gpt2-dialogue-generation-pytorch, from files as they were published to one corpus."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bot.cli import main
from bot.generator.formats.registry import open_checkpoint
from bot.generator.tokenization.hub import HubTokenizer
from bot.training.corpora import four_sets
from bot.training.corpora.english_cleanup import cleaned
from bot.training.errors import TrainingError

DEVJWSONG = Path(__file__).parents[2] / "parity" / "devjwsong"
CASES = json.loads((DEVJWSONG / "golden.json").read_text())["text_cleanup_cases"]


def shouted(text: str) -> str:
    """A clean-up that shows which utterances went through it."""
    return text.upper()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["text"])
def test_the_clean_up_is_the_originals(case: dict[str, str]) -> None:
    tokenizer = open_checkpoint(str(DEVJWSONG)).read_tokenizer()
    assert isinstance(tokenizer, HubTokenizer)
    tokens = cleaned(tokenizer.backend.encode(case["text"], add_special_tokens=False).tokens)
    assert tokenizer.backend.decoder.decode(tokens) == case["result"]


@pytest.mark.parametrize(
    ("tokens", "result"),
    [
        ("hello Ġthere", "Hello Ġthere ."),
        ("it Ġ' Ġs Ġok Ġ, Ġreally Ġ?", "It ' s Ġok , ĠReally ?"),
        ('say Ġ" Ġhi Ġ" Ġnow', 'Say Ġ" hi " Ġnow .'),
        ("no Ġ. yes Ġ!", "No . ĠYes !"),
        ("a Ġ Ġ b", "A b ."),
        ("wait ... ok", "Wait ... ĠOk ."),
        ("LOL", "Lol ."),
        ("Ã©t", "Ã©t ."),
    ],
)
def test_the_clean_up_by_hand(tokens: str, result: str) -> None:
    assert cleaned(tokens.split(" ")) == result.split(" ")


def test_nothing_cleaned_is_nothing() -> None:
    assert cleaned([]) == cleaned(["Ġ"]) == []


def test_daily_dialog(tmp_path: Path) -> None:
    for name, line in (
        ("train", "Hi . __eou__ It’s ok __eou__\n"),
        ("validation", "b __eou__ c __eou__\n"),
        ("test", ""),
    ):
        folder = tmp_path / name
        folder.mkdir()
        (folder / f"dialogues_{name}.txt").write_text(line, encoding="utf-8")
    assert four_sets.daily_dialog(tmp_path, shouted) == [["HI .", "IT'S OK"], ["B", "C"]]


def test_empathetic_dialogues_joins_what_one_speaker_says(tmp_path: Path) -> None:
    head = "conv_id,utterance_idx,context,prompt,speaker_idx,utterance,selfeval,tags\n"
    said = ("c1,1,x,p,7,hi_comma_ you,,", "c1,2,x,p,8,hello,,", "c1,3,x,p,8,again,,", "c2,1,x,p,8,new,,")
    (tmp_path / "train.csv").write_text(head + "\n".join([*said, "c2,2,x,p,7,hit:1_conv:2,,", ""]))
    (tmp_path / "valid.csv").write_text(head)
    (tmp_path / "test.csv").write_text(head + "c3,1,x,p,8,bye,,\n")
    assert four_sets.empathetic_dialogues(tmp_path, shouted) == [["HI, YOU", "HELLO AGAIN"], ["NEW"], ["BYE"]]


def test_persona_chat_takes_the_longest_history(tmp_path: Path) -> None:
    talk = {"utterances": [{"history": ["__ SILENCE __"]}, {"history": ["__ SILENCE __", "hi ", "you"]}]}
    path = tmp_path / "personachat_self_original.json"
    path.write_text(json.dumps({"train": [talk], "valid": [talk]}))
    assert four_sets.persona_chat(path, shouted) == four_sets.persona_chat(tmp_path, shouted) == [["HI", "YOU"]] * 2


def test_blended_skill_talk_takes_turns(tmp_path: Path) -> None:
    talk = {
        "free_turker_utterance": "scene",
        "guided_turker_utterance": "two",
        "dialog": [[0, "a"], [1, " b "], [0, "c"], [1, " "]],
    }
    for name in ("train.json", "valid.json", "test.json"):
        (tmp_path / name).write_text(json.dumps([talk] if name == "test.json" else []))
    assert four_sets.blended_skill_talk(tmp_path, shouted) == [["scene", "two", "A", "B", "C"]]


def test_each_set_gives_its_part_to_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = [[f"a{n}"] for n in range(10)]
    second = [[f"b{n}"] for n in range(7)]
    monkeypatch.setattr(four_sets, "SETS", {"one": lambda *_: first, "two": lambda *_: second, "three": None})
    training, validation = four_sets.merged({"two": tmp_path, "one": tmp_path}, shouted, 0.85)
    assert training == [*first[:8], *second[:5]]
    assert validation == [*first[8:], *second[5:]]


def merge(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["corpus", "merge", *arguments])


def test_the_command_writes_a_corpus_that_can_be_trained_on(tmp_path: Path) -> None:
    talks = [{"utterances": [{"history": [f"hi {n}", "ok , you ?"]}]} for n in range(4)]
    file = tmp_path / "personachat_self_original.json"
    file.write_text(json.dumps({"train": talks, "valid": []}))
    out = tmp_path / "out"
    result = merge("--persona-chat", str(file), "--tokenizer", str(DEVJWSONG), "--train-frac", "0.5", "--out", str(out))
    assert result.exit_code == 0, result.output
    assert "train_utters.json: 2 dialogues, 4 utterances" in result.output
    assert [len(json.loads((out / f"{name}_utters.json").read_text())) for name in ("train", "valid")] == [2, 2]
    assert all(
        text.endswith((".", "?")) for talk in json.loads((out / "train_utters.json").read_text()) for text in talk
    )


@pytest.mark.parametrize(
    ("name", "content", "reader", "complaint"),
    [
        ("train.csv", "a,b\n1,2\n", four_sets.empathetic_dialogues, "train.csv:2: the columns conv_id"),
        ("train.json", "[\n{", four_sets.blended_skill_talk, "train.json:2: this is not JSON"),
        ("train.json", '[{"dialog": []}]', four_sets.blended_skill_talk, "not the BlendedSkillTalk"),
        ("personachat_self_original.json", '{"train": [{}]}', four_sets.persona_chat, "not the Persona-Chat"),
        ("other.txt", "", four_sets.daily_dialog, "no dialogues_train.txt"),
    ],
)
def test_files_that_are_none_of_the_sets_are_told(tmp_path: Path, name, content, reader, complaint) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / name).write_text(content)
    with pytest.raises(TrainingError) as caught:
        reader(tmp_path, shouted)
    assert complaint in str(caught.value)


def test_a_merge_without_sets_or_with_another_tokenizer_is_a_message(tmp_path: Path) -> None:
    assert "Name at least one" in merge("--tokenizer", "starter", "--out", str(tmp_path)).output
    chitchat = str(DEVJWSONG.parent / "gpt2-chitchat")
    result = merge("--persona-chat", str(tmp_path), "--tokenizer", chitchat, "--out", str(tmp_path))
    assert result.exit_code == 1
    assert "needs GPT-2's tokenizer" in result.output
