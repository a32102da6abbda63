"""The project's own format: what is written is read back, and what is wrong is told with its line."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.training.corpora import jsonl
from bot.training.corpora.dialogue import Dialogue
from bot.training.errors import TrainingError

SENTENCE = st.text(min_size=1).map(lambda text: " ".join(text.split())).filter(bool)


@st.composite
def dialogues(draw: st.DrawFn) -> Dialogue:
    turns = tuple(draw(st.lists(SENTENCE, min_size=1, max_size=6)))
    weights = st.lists(st.floats(0, 10), min_size=len(turns), max_size=len(turns)).map(tuple)
    return Dialogue(
        turns,
        draw(SENTENCE),
        draw(st.text()),
        draw(st.none() | weights),
        tuple(draw(st.lists(SENTENCE, max_size=2))),
        tuple(draw(st.lists(SENTENCE, max_size=2))),
        draw(st.booleans()),
    )


@given(dialogues())
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, dialogue: Dialogue) -> None:
    path = tmp_path_factory.mktemp("j") / "corpus.jsonl"
    path.write_text(jsonl.line_of(dialogue), encoding="utf-8", newline="")
    assert list(jsonl.read(path)) == [dialogue]


def one(tmp_path: Path, **content: Any) -> Dialogue:
    path = tmp_path / "corpus.jsonl"
    path.write_text(json.dumps(content) + "\n")
    (dialogue,) = jsonl.read(path)
    return dialogue


def test_turns_alone_begin_with_the_person(tmp_path: Path) -> None:
    assert one(tmp_path, turns=[" hi ", "hello\nyou"]) == Dialogue(("hi", "hello you"), "jsonl")


def test_the_bot_is_who_is_called_so_else_who_speaks_second(tmp_path: Path) -> None:
    turns = ["a", "b", "c"]
    assert one(tmp_path, turns=turns, speakers=["bot", "me", "bot"]).bot_opens
    assert not one(tmp_path, turns=turns, speakers=["ann", "bob", "ann"]).bot_opens
    assert one(tmp_path, turns=turns, speakers=["ann", "bot", "cat"]).turns == ("a", "b", "c")


def test_what_one_speaker_says_in_a_row_is_one_turn_and_weighs_what_the_heaviest_does(tmp_path: Path) -> None:
    dialogue = one(tmp_path, turns=["a", "b", "c"], speakers=["ann", "ann", "bob"], weights=[0, 1, 0])
    assert dialogue.turns == ("a b", "c")
    assert dialogue.weights == (1.0, 0.0)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('{"turns": ["a", "b"]', "this is not JSON (Expecting ',' delimiter at character 21). Mend or delete the line"),
        ("[1]", 'no object with "turns"'),
        ("{}", 'no object with "turns"'),
        ('{"turns": "hi"}', "turns is no list of texts"),
        ('{"turns": ["hi", 3]}', "turns is no list of texts"),
        ('{"turns": []}', "there are no turns"),
        ('{"turns": ["hi", " "]}', "turn 2 is empty"),
        ('{"turns": ["a", "b"], "speakers": ["x"]}', "2 turns, but 1 speakers"),
        ('{"turns": ["a", "b", "c"], "speakers": ["x", "y", "z"]}', '3 people speak; call one of them "bot"'),
        ('{"turns": ["a", "b"], "weights": [1]}', "weights is no list of 2 numbers"),
        ('{"turns": ["a", "b"], "weights": [1, NaN]}', "a weight is no number"),
        ('{"turns": ["a", "b"], "weights": [1, true]}', "a weight is no number"),
        ('{"turns": ["a", "b"], "persona": "me"}', "persona is no list of texts"),
        ('{"turns": ["a", "b"], "source": 1}', "source is no text"),
        ('{"turns": ' + "[" * 100_000 + "}", "nested too deeply"),
    ],
)
def test_a_wrong_line_is_told_with_its_number(tmp_path: Path, line: str, complaint: str) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_text('{"turns": ["hi", "hello"]}\n\n' + line + "\n")
    read = jsonl.read(path)
    assert next(read).turns == ("hi", "hello")
    with pytest.raises(TrainingError) as caught:
        next(read)
    assert str(caught.value).startswith(f"{path}:3: ")
    assert complaint in str(caught.value)
