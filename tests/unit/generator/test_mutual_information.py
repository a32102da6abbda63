"""Mutual information against its definition, computed plainly."""

import math
from pathlib import Path

import pytest
import torch

from bot.generator.dialects.base import Utterance
from bot.generator.dialects.dialogpt import DialoGPT
from bot.generator.ranking.base import Ranker
from bot.generator.ranking.ranker import MUTUAL_INFORMATION, load_ranker
from bot.generator.tokenization.hub import load_tokenizer
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


def test_company_changes_no_score(ranker: Ranker) -> None:
    pairs = [(("hi", "how are you? " * (n % 2)), "really? " * (n % 3)) for n in range(40)]
    assert ranker.score(pairs)[:4] == pytest.approx([ranker.score([pair])[0] for pair in pairs[:4]], abs=1e-5)


def test_without_a_talk_there_is_nothing_to_gain(ranker: Ranker) -> None:
    assert ranker.score([((), "really?")]) == pytest.approx([0.5])
    assert ranker.score([]) == []


def test_a_long_talk_loses_its_oldest_turns(ranker: Ranker) -> None:
    long = ["nobody did not see the music?"] * 40
    assert ranker.score([(long, "really?")]) == pytest.approx(ranker.score([(long[1:], "really?")]))
