"""Scores of a model that was trained backwards, against their definition, computed plainly."""

import math
import shutil
from pathlib import Path

import pytest
import torch

from bot.generator.dialects.base import IGNORED, Utterance
from bot.generator.dialects.dialogpt import DialoGPT
from bot.generator.errors import CheckpointError
from bot.generator.ranking.ranker import REVERSE, load_ranker
from bot.generator.ranking.reverse import Reverse
from bot.generator.tokenization.hub import load_tokenizer
from tests.unit.generator.conftest import FIXTURES, POSITIONS, tiny_model, write_checkpoint

DIALECT = DialoGPT(load_tokenizer(FIXTURES / "dialogpt"))


@pytest.fixture(scope="module")
def ranker(tiny_checkpoint: Path) -> Reverse:
    loaded = load_ranker(str(tiny_checkpoint), name=REVERSE, device="cpu")
    assert isinstance(loaded, Reverse)
    return loaded


def ids(*texts: str) -> list[int]:
    return DIALECT.encode([Utterance(1, text) for text in texts], 1000)


@torch.inference_mode()
def mean_loss(context: list[int], predicted: list[int]) -> float:
    logits = tiny_model()(torch.tensor([context + predicted])).logits[0].log_softmax(dim=-1)
    return -sum(float(logits[len(context) - 1 + n, token]) for n, token in enumerate(predicted)) / len(predicted)


@pytest.mark.parametrize("reply", ["really?", "yes it had the music", ""])
def test_dialogpts_model_is_asked_for_the_talk_given_the_reply(ranker: Reverse, reply: str) -> None:
    turns = ["hi", "how are you?", "today"]
    expected = mean_loss(ids(reply), ids("today", "how are you?", "hi"))
    assert ranker.losses([ranker.example(turns, reply)]) == pytest.approx([expected], abs=1e-4)
    assert ranker.score([(turns, reply)]) == pytest.approx([math.exp(-expected)], rel=1e-4)


def test_a_lower_loss_is_a_higher_score(ranker: Reverse) -> None:
    turns = ["how are you?"]
    replies = ["really?", "yes it had the music", "today", "no", ""]
    losses = ranker.losses([ranker.example(turns, reply) for reply in replies])
    scores = ranker.score([(turns, reply) for reply in replies])
    assert sorted(range(5), key=losses.__getitem__) == sorted(range(5), key=scores.__getitem__, reverse=True)
    assert all(0 < score < 1 for score in scores)


def test_equal_replies_have_equal_scores_in_any_company(ranker: Reverse) -> None:
    pairs = [(("hi", "how are you? " * (n % 2)), "really? " * (n % 3)) for n in range(40)]
    scores = ranker.score(pairs)
    assert scores[:6] == pytest.approx(scores[6:12], rel=1e-5)
    assert scores[:6] == pytest.approx([ranker.score([pair])[0] for pair in pairs[:6]], rel=1e-5)


def test_to_no_talk_every_reply_fits(ranker: Reverse) -> None:
    assert ranker.score([((), "really?")]) == [1.0]
    assert ranker.score([]) == []


def test_a_long_talk_is_cut_off_at_its_old_end(ranker: Reverse) -> None:
    long = ["nobody did not see the music?"] * 40
    example = ranker.example(long, "really?")
    assert len(example.input_ids) == POSITIONS
    assert example.input_ids[: len(ids("really?"))] == tuple(ids("really?"))
    assert 0 < ranker.score([(long, "really?")])[0] < 1


def test_a_reply_that_leaves_no_room_for_the_talk_scores_nothing(ranker: Reverse) -> None:
    example = ranker.example(["hi"], "really? " * POSITIONS)
    assert set(example.labels) == {IGNORED}
    assert ranker.score([(["hi"], "really? " * POSITIONS)]) == [0.0]


def test_a_model_smaller_than_its_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="tokenizer knows 420 tokens, the model only 300"):
        load_ranker(str(write_checkpoint(tmp_path / "small", tiny_model(vocabulary=300))), name=REVERSE)


def test_a_ranker_is_no_reverse_model() -> None:
    with pytest.raises(CheckpointError, match="cannot write replies"):
        load_ranker(str(FIXTURES / "dialogrpt" / "hf" / "updown"), name=REVERSE)


def test_a_project_stands_for_its_reverse_model(tmp_path: Path) -> None:
    for name, seed in (("dialogue_model", 1), ("mmi_model", 0)):
        write_checkpoint(tmp_path / name, tiny_model(seed))
    whole = load_ranker(str(tmp_path), name=REVERSE)
    assert whole.revision == load_ranker(str(tmp_path / "mmi_model"), name=REVERSE).revision
    assert whole.score([(["hi"], "really?")]) == pytest.approx([math.exp(-mean_loss(ids("really?"), ids("hi")))])
    shutil.rmtree(tmp_path / "mmi_model")
    with pytest.raises(CheckpointError, match="no mmi_model in it"):
        load_ranker(str(tmp_path), name=REVERSE)
