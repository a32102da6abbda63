"""Mutual information against its definition, computed plainly."""

import math
from pathlib import Path

import pytest
import torch

from bot.generator.dialects.base import Utterance
from bot.generator.dialects.chitchat import Chitchat
from bot.generator.dialects.dialogpt import DialoGPT
from bot.generator.ranking.base import Ranker
from bot.generator.ranking.mutual_information import reply_ids
from bot.generator.ranking.ranker import MUTUAL_INFORMATION, load_ranker
from bot.generator.tokenization.hub import load_tokenizer
from bot.generator.tokenization.wordpiece import WordPieceTokenizer
from tests.unit.generator.conftest import END, FIXTURES, tiny_model

DIALECT = DialoGPT(load_tokenizer(FIXTURES / "dialogpt"))


@pytest.fixture(scope="module")
def ranker(tiny_checkpoint: Path) -> Ranker:
    return load_ranker(str(tiny_checkpoint), name=MUTUAL_INFORMATION)


@torch.inference_mode()
def log_prob(context: list[int], reply: list[int]) -> float:
    logits = tiny_model()(torch.tensor([context + reply])).logits[0].log_softmax(dim=-1)
    return sum(float(logits[len(context) - 1 + place, token]) for place, token in enumerate(reply))


def ids(*texts: str) -> list[int]:
    return DIALECT.encode([Utterance(1, text) for text in texts], 60)


@pytest.mark.parametrize("reply", ["really?", "yes it had the music", ""])
def test_it_is_what_the_talk_adds_to_the_replys_probability(ranker: Ranker, reply: str) -> None:
    turns = ["how are you?", "today"]
    gained = (log_prob(ids(*turns), ids(reply)) - log_prob([END], ids(reply))) / len(ids(reply))
    assert ranker.score([(turns, reply)]) == pytest.approx([1 / (1 + math.exp(-gained))], abs=1e-4)


def test_a_reply_is_what_follows_the_context_in_any_dialect() -> None:
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    chitchat = Chitchat(WordPieceTokenizer([*special, "你", "好", "吗"]))
    assert reply_ids(chitchat, " 好吗 ") == [5, 6, 3]
    assert reply_ids(chitchat, "") == [3]
    assert reply_ids(DIALECT, "really?") == ids("really?")


def test_a_model_with_another_dialect_is_asked_in_that_dialect(tmp_path: Path) -> None:
    tokenizer = WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "你", "好", "吗"])
    tokenizer.save(tmp_path)
    tiny_model(vocabulary=7).save_pretrained(tmp_path)
    with torch.inference_mode():
        model = tiny_model(vocabulary=7)
        given = model(torch.tensor([[2, 4, 5, 3, 6, 3]])).logits[0].log_softmax(dim=-1)
        alone = model(torch.tensor([[2, 3, 6, 3]])).logits[0].log_softmax(dim=-1)
    gained = float(given[3, 6] + given[4, 3] - alone[1, 6] - alone[2, 3]) / 2
    ranker = load_ranker(str(tmp_path), name=MUTUAL_INFORMATION)
    assert ranker.score([(["你好"], "吗")]) == pytest.approx([1 / (1 + math.exp(-gained))], abs=1e-4)


def test_company_changes_no_score(ranker: Ranker) -> None:
    pairs = [(("hi", "how are you? " * (n % 2)), "really? " * (n % 3)) for n in range(40)]
    assert ranker.score(pairs)[:4] == pytest.approx([ranker.score([pair])[0] for pair in pairs[:4]], abs=1e-5)


def test_without_a_talk_there_is_nothing_to_gain(ranker: Ranker) -> None:
    assert ranker.score([((), "really?")]) == pytest.approx([0.5])
    assert ranker.score([]) == []


def test_a_long_talk_loses_its_oldest_turns(ranker: Ranker) -> None:
    long = ["nobody did not see the music?"] * 40
    assert ranker.score([(long, "really?")]) == pytest.approx(ranker.score([(long[1:], "really?")]))
