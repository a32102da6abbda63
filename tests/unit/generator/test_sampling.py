"""Each processor against transformers' own, and the noise against its distribution."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from bot.generator import sampling

VOCABULARY = 50


def scores(rows: int = 4) -> torch.Tensor:
    return torch.randn(rows, VOCABULARY, generator=torch.Generator().manual_seed(1)) * 4


def settings(
    rows: int, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0, penalty: float = 1.0
) -> sampling.Settings:
    return sampling.Settings(
        torch.full((rows, 1), temperature),
        torch.full((rows, 1), top_k),
        torch.full((rows, 1), top_p),
        torch.full((rows, 1), penalty),
    )


def chosen(scores: torch.Tensor, settings: sampling.Settings, keys: torch.Tensor) -> torch.Tensor:
    ranked, ids = sampling.filtered(scores, settings)
    return sampling.draw(ranked, ids, settings.temperature > 0, keys)


@pytest.mark.parametrize("penalty", [1.0, 1.3, 0.7])
def test_repetition_penalty_equals_transformers(penalty: float) -> None:
    ids = torch.tensor([[1, 2, 3], [4, 4, 9], [0, 0, 0], [7, 8, 7]])
    seen = torch.zeros(4, VOCABULARY, dtype=torch.bool).scatter_(1, ids, True)
    expected = RepetitionPenaltyLogitsProcessor(penalty)(ids, scores())
    ours = sampling.penalise_repeats(scores(), seen, torch.full((4, 1), penalty))
    assert torch.equal(ours, expected)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=20), st.integers(1, 4))
def test_banned_ngrams_equal_transformers(tokens: list[int], size: int) -> None:
    expected = NoRepeatNGramLogitsProcessor(size)(torch.tensor([tokens]), torch.zeros(1, 5))
    assert sampling.repeating_ids(tokens, size) == set(torch.isinf(expected[0]).nonzero().flatten().tolist())


def test_no_ngram_is_banned_when_the_size_is_zero() -> None:
    assert sampling.repeating_ids([1, 1, 1], 0) == set()


@pytest.mark.parametrize("top_k", [1, 5, 50, 80])
@pytest.mark.parametrize("top_p", [0.1, 0.6, 0.95, 1.0])
def test_what_can_be_drawn_equals_transformers(top_k: int, top_p: float) -> None:
    expected = TopKLogitsWarper(top_k)(None, scores())
    expected = TopPLogitsWarper(top_p)(None, expected) if top_p < 1 else expected
    ranked, ids = scores().topk(min(top_k, VOCABULARY), dim=-1)
    kept = sampling.keep_top_p(sampling.keep_top_k(ranked, torch.full((4, 1), top_k)), torch.full((4, 1), top_p))
    ours = torch.full_like(expected, -torch.inf).scatter_(1, ids, kept)
    assert torch.equal(ours, expected)


def test_rows_keep_their_own_top_k() -> None:
    ranked, _ = scores(3).sort(descending=True)
    kept = sampling.keep_top_k(ranked, torch.tensor([[2], [0], [7]]))
    assert torch.isfinite(kept).sum(dim=1).tolist() == [2, VOCABULARY, 7]


def test_temperature_zero_takes_the_maximum_whatever_the_noise() -> None:
    keys = torch.arange(4)[:, None]
    assert torch.equal(chosen(scores(), settings(4, temperature=0.0), keys), scores().argmax(dim=-1))


def test_noise_is_gumbel() -> None:
    """Mean is Euler's constant, variance pi squared over six; 200,000 draws."""
    keys = torch.tensor([[sampling.noise_key(3, candidate, 0)] for candidate in range(200)])
    noise = sampling.gumbel_noise(keys, torch.arange(1000).expand(200, -1)).double()
    assert noise.isfinite().all()
    assert noise.mean().item() == pytest.approx(0.5772, abs=0.015)
    assert noise.var().item() == pytest.approx(1.6449, abs=0.03)


def test_drawn_tokens_follow_the_distribution() -> None:
    draws = 20_000
    row = torch.tensor([0.0, 1.0, 2.0, -1.0])
    keys = torch.tensor([[sampling.noise_key(5, n, 0)] for n in range(draws)])
    drawn = chosen(row.expand(draws, -1), settings(draws), keys)
    shares = torch.bincount(drawn, minlength=4) / draws
    assert torch.allclose(shares, row.softmax(dim=0), atol=0.012)


def test_noise_depends_on_seed_candidate_and_step() -> None:
    keys = {sampling.noise_key(s, c, t) for s in range(8) for c in range(8) for t in range(8)}
    assert len(keys) == 512


@given(st.integers(), st.integers(0, 64), st.integers(0, 512))
def test_any_seed_makes_a_64_bit_key(seed: int, candidate: int, step: int) -> None:
    assert -(2**63) <= sampling.noise_key(seed, candidate, step) < 2**63


def test_python_and_tensor_mix_alike() -> None:
    value = 0x123456789ABCDEF
    key = sampling._signed(sampling._mixed(value))
    assert sampling._mixed_tensor(torch.tensor([value])).item() == key


def test_what_equals_the_last_of_top_k_stays() -> None:
    ranked = torch.tensor([[3.0, 2.0, 2.0, 2.0, 1.0]])
    kept = sampling.keep_top_k(ranked, torch.tensor([[2]]))
    assert torch.isfinite(kept).tolist() == [[True, True, True, True, False]]


def test_ties_beyond_the_widest_top_k_stay_too() -> None:
    scores = torch.tensor([[1.0, 2.0, 3.0, 2.0, 2.0], [5.0, 4.0, 3.0, 2.0, 1.0]])
    kept, ids = sampling.filtered(scores, settings(2, top_k=2))
    survivors = [set(row[torch.isfinite(left)].tolist()) for row, left in zip(ids, kept, strict=True)]
    assert survivors == [{1, 2, 3, 4}, {0, 1}]
