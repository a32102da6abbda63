"""Batches of dialogues: nothing lost, nothing doubled, nothing seen across rows."""

import random

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from bot.generator.dialects.base import BOT, IGNORED, Dialect, Utterance
from bot.generator.dialects.dialogpt import DialoGPT
from bot.generator.dialects.transfertransfo import BEGIN, END, REPLY, TransferTransfo
from bot.generator.tokenization.hub import HubTokenizer
from bot.training.corpora.dialogue import Dialogue
from bot.training.corpora.registry import CORPORA, PERSON, Corpus
from bot.training.examples import (
    Batches,
    EncodedDialogue,
    Learn,
    Lesson,
    Share,
    encode_dialogues,
    examples_of,
    training_examples,
    utterances_of,
)
from bot.training.tokenizer import train_tokenizer

DIALECT = DialoGPT(HubTokenizer(train_tokenizer(["hello there, how are you today?", "i am fine"] * 5, 280)))


def examples(count: int, seed: int = 0) -> list[EncodedDialogue]:
    rng = random.Random(seed)
    made = []
    for number in range(count):
        ids = np.array([number % 250] * rng.randint(2, 40), np.int32)
        made.append(EncodedDialogue(ids, ids, rng.random()))
    return made


def test_every_example_is_in_exactly_one_batch() -> None:
    batches = Batches(examples(200), tokens_per_batch=128, pad_id=279, seed=0)
    rows = [row[row != 279].tolist() for n in range(len(batches)) for row in batches[n]["input_ids"]]
    assert sorted(rows) == sorted(example.input_ids.tolist() for example in examples(200))


def test_batches_keep_to_their_size() -> None:
    batches = Batches(examples(200), tokens_per_batch=128, pad_id=279, seed=0)
    assert all(batches[n]["input_ids"].numel() <= 128 for n in range(len(batches)))


def test_padding_is_never_learned() -> None:
    batch = Batches(examples(50), tokens_per_batch=400, pad_id=279, seed=0)[0]
    assert torch.equal(batch["labels"] == IGNORED, batch["input_ids"] == 279)


def test_neighbours_and_padding_do_not_change_what_is_computed() -> None:
    """There is no attention mask: rows are dialogues, and padding stands where nothing looks."""
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=280, n_positions=64, n_embd=16, n_layer=2, n_head=2)).eval()
    batch = Batches(examples(6), tokens_per_batch=400, pad_id=279, seed=0)[0]
    together = model(batch["input_ids"]).logits
    for row, ids in enumerate(batch["input_ids"]):
        length = int((ids != 279).sum())
        alone = model(ids[None, :length]).logits[0]
        assert torch.allclose(together[row, :length], alone, atol=1e-5)


def test_the_person_speaks_first() -> None:
    speakers = [utterance.speaker for utterance in utterances_of(Dialogue(("a", "b", "c"), "test"))]
    assert speakers == [1, BOT, 1]


def test_a_dialogue_with_nothing_to_learn_is_left_out() -> None:
    dialogues = [Dialogue(("hello",), "test"), Dialogue(("hello", "i am fine"), "test")]
    encoded = encode_dialogues(DIALECT, dialogues, CORPORA["everyday"], 100, random.Random(0))
    assert len(encoded) == 1
    learned = encoded[0].labels[encoded[0].labels != IGNORED].tolist()
    assert DIALECT.decode(learned).strip() == "i am fine"


def test_everyday_teaches_the_bots_side_alone_and_chatterbot_both() -> None:
    talk = [Dialogue(("hello", "i am fine", "how are you"), "test")]
    one = encode_dialogues(DIALECT, talk, CORPORA["everyday"], 100, random.Random(0))[0]
    both = encode_dialogues(DIALECT, talk, CORPORA["chatterbot"], 100, random.Random(0))[0]
    assert DIALECT.decode(one.labels[one.labels != IGNORED].tolist()).strip() == "i am fine"
    assert DIALECT.decode(both.labels[both.labels != IGNORED].tolist()).endswith("how are you")


@pytest.mark.parametrize(("weight", "factor"), [(0.5, 0.5), (1, 1), (2.5, 2.5)])
def test_a_share_says_how_often_a_corpus_is_read(weight: float, factor: float) -> None:
    once = len(training_examples(DIALECT, [Share("chatterbot", 1)], 100, random.Random(0)))
    found = len(training_examples(DIALECT, [Share("chatterbot", weight)], 100, random.Random(0)))
    assert found == pytest.approx(once * factor, rel=0.06)


def test_corpora_that_teach_the_language_come_early() -> None:
    early = training_examples(DIALECT, [Share("chatterbot", 4)], 100, random.Random(0))
    assert np.mean([example.place for example in early]) < 0.45


def written(dialect: Dialect, turns: tuple[str, ...], lesson: Lesson, max_tokens: int = 100) -> list[tuple[str, str]]:
    """What is read and what is learned, as text, of each example."""
    dialogue = Dialogue(turns, "test")
    return [
        (
            dialect.decode(example.input_ids).strip(),
            dialect.decode([label for label in example.labels if label != IGNORED]).strip(),
        )
        for example in examples_of(dialect, dialogue, {BOT}, max_tokens, (), lesson)
    ]


def test_the_whole_dialogue_or_the_replies_are_learned() -> None:
    turns = ("hello", "i am fine", "how are you")
    assert written(DIALECT, turns, Lesson()) == [("hello i am fine how are you", "i am fine")]
    assert written(DIALECT, turns, Lesson(learn=Learn.DIALOGUE))[0][1] == "hello i am fine how are you"
    both = Corpus(lambda rng: iter(()), lambda: iter(()), frozenset({BOT, PERSON}), early=False)
    taught = encode_dialogues(
        DIALECT, [Dialogue(turns, "test")], both, 100, random.Random(0), lesson=Lesson(learn=Learn.REPLIES)
    )
    assert DIALECT.decode(taught[0].labels[taught[0].labels != IGNORED].tolist()).strip() == "i am fine"


def test_a_reversed_dialogue_is_told_from_its_end_and_learned_whole() -> None:
    read, learned = written(DIALECT, ("hello", "i am fine", "how are you"), Lesson(reverse=True))[0]
    assert read == "how are you i am fine hello"
    assert learned == "i am fine hello"


def test_a_reversed_dialogue_keeps_its_weights_with_their_turns() -> None:
    weighted = Dialogue(("hello", "i am fine", "how are you"), "test", weights=(1.0, 0.0, 1.0))
    (example,) = examples_of(DIALECT, weighted, {BOT}, 100, (), Lesson(reverse=True))
    assert DIALECT.decode([label for label in example.labels if label != IGNORED]).strip() == "hello"


def test_what_is_too_long_goes_on_in_another_example_after_its_last_turn() -> None:
    turns = ("hello", "i am fine", "how are you", "fine")
    room = sum(len(DIALECT.encode([Utterance(BOT, turn)], 99)) for turn in turns[1:])
    assert written(DIALECT, turns, Lesson(), room) == [
        ("hello i am fine", "i am fine"),
        ("i am fine how are you fine", "fine"),
    ]
    assert written(DIALECT, turns, Lesson(), room + 99) == [("hello i am fine how are you fine", "i am fine fine")]


def test_a_dialogues_own_persona_follows_the_given_one() -> None:
    names = [BEGIN, END, REPLY, "<speaker2>", "<pad>"]
    backend = train_tokenizer(["hello there, how are you today?", "i am fine", "i like dogs", "my name is bo"] * 5, 290)
    backend.add_special_tokens(names)
    dialect = TransferTransfo(HubTokenizer(backend))
    talk = Dialogue(("hello", "i am fine"), "test", persona=("i like dogs",))
    made = encode_dialogues(dialect, [talk], CORPORA["everyday"], 100, random.Random(0), ("my name is bo",))
    assert dialect.decode(made[0].input_ids.tolist()).split("i am fine")[0].strip() == "my name is bo i like dogs hello"


def test_the_bot_may_open_a_dialogue() -> None:
    speakers = [utterance.speaker for utterance in utterances_of(Dialogue(("a", "b"), "test", bot_opens=True))]
    assert speakers == [BOT, PERSON]
