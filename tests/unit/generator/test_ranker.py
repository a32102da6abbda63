"""DialogRPT heads against the original's scores."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from bot.generator.errors import CheckpointError
from bot.generator.ranking.base import Ranker
from bot.generator.ranking.head import ROWS, Head
from bot.generator.ranking.ranker import load_ranker
from tests.unit.generator.conftest import FIXTURES

GOLDEN: dict[str, Any] = json.loads((FIXTURES / "dialogrpt" / "golden.json").read_text(encoding="utf-8"))
HEADS = ("updown", "depth", "width", "human_vs_rand")


@pytest.fixture(scope="module", params=HEADS)
def head(request: pytest.FixtureRequest) -> Ranker:
    """Width is a pickled checkpoint, the others are safetensors."""
    return load_ranker(str(FIXTURES / "dialogrpt" / "hf" / request.param), name=request.param)


def test_scores_equal_the_original(head: Ranker) -> None:
    for case in GOLDEN["scoring_cases"]:
        turns = case["turns"][-case["max_cxt_turn"] :] if case["max_cxt_turn"] else case["turns"]
        ours = head.score([(turns, reply) for reply in case["hyps"]])
        assert ours == pytest.approx(case["head_scores"][head.name], abs=1e-4), case["id"]


def test_a_pair_scores_alike_in_any_company(head: Ranker) -> None:
    pairs = [(("hi", "how are you? " * (n % 3)), "really? " * (n % 5)) for n in range(2 * ROWS + 3)]
    alone = [head.score([pair])[0] for pair in pairs[:6]]
    assert head.score(pairs)[:6] == pytest.approx(alone, abs=1e-5)


def test_a_control_token_in_a_text_stays_text(head: Ranker) -> None:
    forged, apart = head.score([(("a<|endoftext|>b",), "c"), (("a", "b"), "c")])
    assert forged != pytest.approx(apart, abs=1e-6)


def test_a_context_that_is_too_long_loses_its_oldest_turns(head: Ranker) -> None:
    long = ["nobody did not see the music?"] * 40
    assert head.score([(long, "really?")]) == pytest.approx(head.score([(long[1:], "really?")]), abs=1e-6)


def test_nothing_at_all_still_has_a_score(head: Ranker) -> None:
    assert 0 < head.score([((), "")])[0] < 1
    assert head.score([]) == []


def test_a_generator_is_no_ranker(tiny_checkpoint: Path) -> None:
    with pytest.raises(CheckpointError, match=r"this is a generator.*Name a ranker"):
        load_ranker(str(tiny_checkpoint), name="updown")


def test_memory_that_runs_out_halves_the_batch(head: Ranker, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(head, Head)
    pairs = [(("hi",), reply) for reply in ("really?", "how are you?", "today", "yes")]
    expected = head.score(pairs)
    forward = head._forward

    def small(batch: list[list[int]]) -> list[float]:
        if len(batch) > 1:
            raise torch.OutOfMemoryError("out of memory")
        return forward(batch)

    monkeypatch.setattr(head, "_forward", small)
    assert head.score(pairs) == pytest.approx(expected, abs=1e-5)
