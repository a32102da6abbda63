"""Corpora in the formats of older systems: what is read, what is refused, what is learned."""

import json
import random
from pathlib import Path

import pytest

from bot.generator.dialects.base import IGNORED
from bot.generator.dialects.dialogpt import DialoGPT
from bot.generator.tokenization.hub import HubTokenizer
from bot.training.corpora import chitchat_text, devjwsong_json, dialogpt_tsv, preferences
from bot.training.corpora.registry import corpus_named
from bot.training.dialogpt_features import UNLEARNED, features
from bot.training.errors import TrainingError
from bot.training.examples import encode_dialogues
from bot.training.tokenizer import train_tokenizer

DIALECT = DialoGPT(HubTokenizer(train_tokenizer(["hello there, how are you today?", "i am fine"] * 5, 280)))
END = 9


def file_of(folder: Path, content: str | bytes) -> Path:
    path = folder / "corpus"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("text", "dialogues"),
    [
        ("a\nb\n\nc\nd", [("a", "b"), ("c", "d")]),
        ("a\nb\n", [("a", "b", "")]),
        ("a\n\n\nb", [("a",), ("", "b")]),
        ("a\r\nb\r\n\r\nc", [("a", "b"), ("c",)]),
        ("a\nb\n\nc\r\nd", [("a\nb\n\nc", "d")]),
        (" a \n\tb", [(" a ", "\tb")]),
        ("", [("",)]),
    ],
)
def test_chitchat_text_is_split_as_the_original_splits_it(
    tmp_path: Path, text: str, dialogues: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = file_of(tmp_path, text)
    for characters in (1, 2, 3, 1000):  # wherever a piece ends
        monkeypatch.setattr(chitchat_text, "CHUNK_CHARACTERS", characters)
        assert [dialogue.turns for dialogue in chitchat_text.read(path)] == dialogues


def test_chitchat_text_can_be_read_backwards_for_its_mmi_model(tmp_path: Path) -> None:
    path = file_of(tmp_path, "a\nb\nc\n\nd")
    assert [dialogue.turns for dialogue in chitchat_text.read(path, reverse=True)] == [("c", "b", "a"), ("d",)]


def test_dialogpt_lines_have_weights_or_the_weight_one(tmp_path: Path) -> None:
    path = file_of(tmp_path, "0.0 how  are you? EOS fine EOS 0.5 and you?\t1 not bad\nnan bread EOS hi\tinfinity war\n")
    first, second = dialogpt_tsv.read(path)
    assert first.turns == ("how are you?", "fine", "and you?", "not bad")
    assert first.weights == (0.0, 1.0, 0.5, 1.0)
    assert second.turns == ("nan bread", "hi", "infinity war")


def test_an_answer_of_weight_zero_is_none_and_one_turn_is_no_dialogue(tmp_path: Path) -> None:
    path = file_of(tmp_path, "a EOS b\t0.0 c\na\t0 b\na\tb\n")
    assert [dialogue.turns for dialogue in dialogpt_tsv.read(path)] == [("a", "b"), ("a", "b")]


def test_dialogpt_lines_reversed_and_cut_to_two_turns(tmp_path: Path) -> None:
    path = file_of(tmp_path, "0.0 a EOS b\tc\n")
    assert [(d.turns, d.weights) for d in dialogpt_tsv.read(path, reverse=True, two_turn=True)] == [
        (("c", "b"), (1.0, 1.0))
    ]


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("dialogpt", "a\tb\nonly one\n", ":2: 1 columns"),
        ("dialogpt", "a\tb\tc\n", ":1: 3 columns"),
        ("dialogpt-pairs", "a\tb\na\n", ":2: there is no answer"),
        ("devjwsong", '[["a"],\n["b"', ":2: this is not JSON"),
        ("devjwsong", '{"a": 1}', "no list of dialogues"),
        ("devjwsong", '[["a"], ["b", 3]]', "dialogue 2 is no list of texts"),
        ("gpt2-chitchat", b"a\nb\n\xff\xfe\n", ":3: this is not UTF-8"),
        ("dialogpt", b"a\tb\n\xff\tc\n", ":2: this is not UTF-8"),
    ],
)
def test_a_broken_file_is_told_with_its_line(tmp_path: Path, name: str, content: str | bytes, complaint: str) -> None:
    path = file_of(tmp_path, content)
    with pytest.raises(TrainingError) as caught:
        list(corpus_named(f"{path}:{name}").held_out())
    assert str(caught.value).startswith(str(path))
    assert complaint in str(caught.value)


def test_a_missing_file_and_an_unknown_format_are_told(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"nowhere\.txt: cannot be read"):
        list(corpus_named(f"{tmp_path}/nowhere.txt:dialogpt").held_out())
    with pytest.raises(TrainingError, match=r"no format 'reddit'.*devjwsong.*gpt2-chitchat"):
        corpus_named("corpus.txt:reddit")


def test_a_large_file_is_split_and_a_small_one_judged_by_itself(tmp_path: Path) -> None:
    path = tmp_path / "utters.json"
    path.write_text(json.dumps([[f"hello {n}", "hi"] for n in range(2000)]))
    corpus = corpus_named(f"{path}:devjwsong")
    trained = {dialogue.turns for dialogue in corpus.training_pass(random.Random(0))}
    held_out = {dialogue.turns for dialogue in corpus.held_out()}
    assert len(trained | held_out) == 2000
    assert not trained & held_out
    assert 20 < len(held_out) < 80
    path.write_text(json.dumps([["hello", "hi"]]))
    assert len(list(corpus.training_pass(random.Random(0)))) == len(list(corpus.held_out())) == 1


def test_a_path_may_hold_colons(tmp_path: Path) -> None:
    path = tmp_path / "a:b.json"
    path.write_text('[["hello", "hi"]]')
    assert [dialogue.turns for dialogue in corpus_named(f"{path}:{devjwsong_json.SOURCE}").held_out()] == [
        ("hello", "hi")
    ]


def test_a_turn_of_weight_zero_is_read_but_not_learned(tmp_path: Path) -> None:
    path = file_of(tmp_path, "hello EOS 0.0 how are you? EOS i am fine\thello\n")
    corpus = corpus_named(f"{path}:dialogpt")
    example = encode_dialogues(DIALECT, corpus.held_out(), corpus, 100, random.Random(0))[0]
    read = DIALECT.decode(example.input_ids.tolist())
    learned = DIALECT.decode(example.labels[example.labels != IGNORED].tolist())
    assert "how are you?" in read
    assert learned.split() == ["i", "am", "fine", "hello"]


def test_gathering_notices_the_limit_one_turn_late() -> None:
    """By hand: limit 4; 3+1 and 2+1 tokens are 7, which is noticed before the third turn."""
    made = features([(1.0, [1, 2, 3]), (1.0, [4, 5]), (1.0, [6])], 4, END)
    assert [feature.input_ids[:6] for feature in made] == [[1, 2, 3, END, 4, 5], [4, 5, END, 6, 0, 0]]
    assert made[0].lm_labels == [UNLEARNED] * 3 + [4, 5, END] + [UNLEARNED] * 2
    assert [feature.conv_id for feature in made] == [0, 1]


def test_a_turn_that_is_too_long_by_itself_ends_an_example() -> None:
    turns = [(1.0, [1]), (1.0, [2]), (1.0, [3] * 9), (1.0, [4]), (1.0, [5])]
    assert [feature.input_ids[:3] for feature in features(turns, 8, END)] == [[1, END, 2], [4, END, 5]]


def test_an_example_in_which_nothing_is_learned_is_none() -> None:
    assert features([(1.0, [1]), (0.0, [2])], 8, END) == []


def preference(
    *, hours: float = 0.5, scores: tuple[float, float] = (5, 1), ranks: tuple[float, float] = (0.9, 0.1)
) -> str:
    return "\t".join(["1 2", "3", "4 5", "i", "p", "n", *map(str, (hours, *scores, *ranks))])


def test_preferences_are_read_where_one_answer_was_liked_better_at_about_the_same_time(tmp_path: Path) -> None:
    lines = [
        "# a remark",
        preference(),
        preference(hours=1.5),
        preference(scores=(5, 4.5)),
        preference(ranks=(0.1, 0.2)),
        preference(hours=1, scores=(2, 1), ranks=(0, 0)),
    ]
    found = list(preferences.read(file_of(tmp_path, "\n".join(lines))))
    assert found == [preferences.Preference((1, 2), (3,), (4, 5))] * 2


def test_answers_lose_the_same_part_of_their_context() -> None:
    one = preferences.Preference((1, 2, 3), (4,), (5, 6, 7))
    assert one.rows(END, 5) == [[3, END, 4], [3, END, 5, 6, 7]]
    assert one.rows(END) == [[1, 2, 3, END, 4], [1, 2, 3, END, 5, 6, 7]]


@pytest.mark.parametrize(
    ("content", "complaint"), [("1\t2\n", ":1: 2 columns"), (preference().replace("4 5", "x"), ":1: a column holds no")]
)
def test_broken_preferences_are_told_with_their_line(tmp_path: Path, content: str, complaint: str) -> None:
    with pytest.raises(TrainingError, match=complaint):
        list(preferences.read(file_of(tmp_path, content)))
