"""What a larger model answers, and what a small one learns of it."""

import random
from pathlib import Path

import pytest
from click.testing import CliRunner

from bot.cli import main
from bot.generator.dialects.base import IGNORED
from bot.generator.dialects.dialogpt import DialoGPT
from bot.generator.dialects.registry import dialect_named
from bot.generator.formats.registry import open_checkpoint
from bot.training.corpora import jsonl
from bot.training.corpora.dialogue import Dialogue
from bot.training.examples import Share, training_examples

TALKS = [
    '{"turns": ["hi there", "hello, how are you?", "fine", "good to hear"]}',
    '{"turns": ["do you like soup?", "yes, and you?", "me too"]}',
    '{"turns": ["i have a dog", "what is it called?"]}',
]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "talks.jsonl"
    path.write_text("\n".join(TALKS) + "\n")
    return path


def answered(corpus: Path, *options: str) -> list[Dialogue]:
    out = corpus.with_name("answered.jsonl")
    made = CliRunner().invoke(main, ["corpus", "answer", str(corpus), str(out), "--checkpoint", "starter", *options])
    assert made.exit_code == 0, made.output
    return list(jsonl.read(out))


def test_every_dialogue_goes_up_to_a_turn_of_it_and_ends_with_the_models_answer(corpus: Path) -> None:
    contexts = {d.turns for d in jsonl.read(corpus)}
    found = answered(corpus)
    assert found
    for dialogue in found:
        *context, answer = dialogue.turns
        assert any(tuple(context) == whole[: len(context)] for whole in contexts)
        assert answer
        assert dialogue.weights == (*[0.0] * len(context), 1.0)
        assert dialogue.bot_opens == (len(context) % 2 == 0)
        assert dialogue.source == "jsonl+teacher"


def test_a_seed_gives_the_same_answers_and_another_one_others(corpus: Path) -> None:
    assert answered(corpus, "--seed", "3") == answered(corpus, "--seed", "3")
    assert answered(corpus, "--seed", "3") != answered(corpus, "--seed", "4")


def test_a_context_has_no_more_turns_than_asked(corpus: Path) -> None:
    assert all(len(dialogue.turns) == 2 for dialogue in answered(corpus, "--turns", "1"))


def test_so_many_dialogues_are_answered_as_asked(corpus: Path) -> None:
    assert len(answered(corpus, "--dialogues", "1")) == 1


def test_only_the_answer_is_learned(corpus: Path) -> None:
    found = answered(corpus)
    dialect = dialect_named("dialogpt", open_checkpoint("starter").read_tokenizer())
    assert isinstance(dialect, DialoGPT)
    share = Share(f"{corpus.with_name('answered.jsonl')}:jsonl", 1)
    learned = [
        dialect.decode([int(label) for label in example.labels if label != IGNORED]).strip()
        for example in training_examples(dialect, [share], 96, random.Random(0))
    ]
    assert sorted(learned) == sorted(dialogue.turns[-1] for dialogue in found)


def test_an_unknown_model_is_a_message_and_leaves_no_file(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "none.jsonl"
    made = CliRunner().invoke(main, ["corpus", "answer", str(corpus), str(out), "--checkpoint", str(tmp_path / "no")])
    assert made.exit_code == 1
    assert "no" in made.output
    assert "Traceback" not in made.output
    assert not out.exists()
