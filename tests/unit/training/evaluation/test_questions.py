"""What is asked of a model."""

import random
from pathlib import Path

import pytest

from bot.training.corpora.dialogue import Dialogue
from bot.training.corpora.own import everyday
from bot.training.errors import TrainingError
from bot.training.evaluation.questions import Question, questions_of, read_exam, rivals


def test_every_reply_of_the_second_speaker_is_asked_for() -> None:
    found = questions_of(iter([Dialogue(("hi", "hello", "how are you?", "fine", "good"), "test")]))
    assert found == [
        Question(("hi",), ("hello",)),
        Question(("hi", "hello", "how are you?"), ("fine",)),
    ]


def test_replies_to_the_same_talk_are_references_of_one_question() -> None:
    talks = [("Hi", "hello"), ("bye", "see you"), ("hi", "hey"), ("HI", "hello")]
    found = questions_of(Dialogue(turns, "test") for turns in talks)
    assert found == [Question(("Hi",), ("hello", "hey")), Question(("bye",), ("see you",))]


def test_earlier_are_the_answering_sides_own_turns() -> None:
    assert Question(("a", "b", "c", "d", "e"), ("f",)).earlier == ("d", "b")
    assert Question(("a",), ("b",)).earlier == ()


def test_a_limit_draws_by_seed_and_keeps_the_order() -> None:
    everything = read_exam("everyday", 0, 0).questions
    some = read_exam("everyday", 20, 3).questions
    assert some == read_exam("everyday", 20, 3).questions
    assert some != read_exam("everyday", 20, 4).questions
    places = [everything.index(one) for one in some]
    assert len(places) == 20
    assert places == sorted(places)


def test_rivals_come_from_the_whole_corpus_however_few_are_asked() -> None:
    assert read_exam("everyday", 1, 0).replies == read_exam("everyday", 0, 0).replies


def test_nothing_held_out_is_trained_on() -> None:
    trained = {turns for dialogue in everyday.training_pass(random.Random(0)) for turns in [dialogue.turns]}
    assert not any(
        (*one.context, reply) in trained
        for one in read_exam("everyday", 0, 0).questions
        for reply in one.references
        if len(one.context) > 2
    )


def test_rivals_are_nine_different_replies_to_something_else() -> None:
    replies = ["Yes", "yes", *(f"reply {n}" for n in range(12))]
    found = rivals(Question(("?",), ("YES",)), replies, random.Random(0))
    assert found is not None
    assert len({one.casefold() for one in found} - {"yes"}) == 9
    assert found == rivals(Question(("?",), ("YES",)), replies, random.Random(0))


def test_a_corpus_of_few_replies_has_no_rivals() -> None:
    assert rivals(Question(("?",), ("yes",)), ["yes", *"abcdefgh"], random.Random(0)) is None


def test_a_file_of_ones_own_has_several_references(tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    talk = '{"context": ["hi", "hey", "you?"], "references": ["fine", "good"]}'
    file.write_text(f'{talk}\n\n{{"context": ["a"], "references": ["b"]}}\n')
    assert read_exam(str(file), 0, 0).questions == [
        Question(("hi", "hey", "you?"), ("fine", "good")),
        Question(("a",), ("b",)),
    ]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"{", "line 1: this is no JSON"),
        (b'{"context": ["a"], "references": ["b"]}\n[]\n', "line 2: context: a list of at least one text"),
        (b'{"context": [], "references": ["b"]}', "line 1: context: a list of at least one text"),
        (b'{"context": ["a"], "references": "b"}', "line 1: references: a list of at least one text"),
        (b'{"context": ["\xe9"], "references": ["b"]}', "this is no UTF-8"),
        (b"\n", "there is no reply to measure against"),
    ],
)
def test_a_broken_file_is_named_with_its_line(content: bytes, complaint: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_bytes(content)
    with pytest.raises(TrainingError) as caught:
        read_exam(str(file), 0, 0)
    assert str(file) in str(caught.value)
    assert complaint in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="cannot be read"):
        read_exam(str(tmp_path / "none.jsonl"), 0, 0)
