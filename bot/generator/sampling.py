"""How the next token is chosen: small functions over a batch in which every row has its own settings.

Scores are (B, V): one row a candidate, one column a token; settings are (B, 1). Nothing here uses a global random
number generator.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_MULTIPLIERS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)


@dataclass(frozen=True, slots=True)
class Settings:
    """The decoding settings of every row, each (B, 1)."""

    temperature: Tensor
    top_k: Tensor
    top_p: Tensor
    repetition_penalty: Tensor

    def rows(self, index: Tensor) -> "Settings":
        """The settings of some rows."""
        return Settings(self.temperature[index], self.top_k[index], self.top_p[index], self.repetition_penalty[index])


def penalise_repeats(scores: Tensor, seen: Tensor, penalty: Tensor) -> Tensor:
    """Make tokens that occurred less likely (Keskar et al. 2019, CTRL, arXiv:1909.05858). Neutral: 1.

    `seen` (B, V) marks them. A negative score is multiplied, or dividing would reward the repeat.
    """
    penalised = torch.where(scores < 0, scores * penalty, scores / penalty)
    return torch.where(seen, penalised, scores)


def repeating_ids(tokens: Sequence[int], size: int) -> set[int]:
    """Tokens that would complete an n-gram of `size` that `tokens` has already (Paulus et al. 2017). Neutral: 0."""
    if size < 1 or len(tokens) < size:
        return set()
    open_gram = tuple(tokens[len(tokens) - size + 1 :])
    return {tokens[i + size - 1] for i in range(len(tokens) - size + 1) if tuple(tokens[i : i + size - 1]) == open_gram}


def apply_temperature(scores: Tensor, temperature: Tensor) -> Tensor:
    """Flatten (above 1) or sharpen the distribution. Neutral: 1; rows at 0 are left alone, they take the maximum."""
    return scores / torch.where(temperature > 0, temperature, 1.0)


def keep_top_k(ranked: Tensor, top_k: Tensor) -> Tensor:
    """Only the k likeliest tokens stay (Fan et al. 2018), and what equals the last of them. Neutral: 0.

    `ranked` (B, K) is in descending order.
    """
    last = ranked.gather(-1, (top_k - 1).clamp(0, ranked.shape[1] - 1))
    return ranked.masked_fill((top_k > 0) & (ranked < last), -torch.inf)


def keep_top_p(ranked: Tensor, top_p: Tensor) -> Tensor:
    """The likeliest tokens stay until their probability exceeds p (Holtzman et al. 2020, nucleus). Neutral: 1.

    `ranked` (B, K) is in descending order. The token that crosses the limit stays.
    """
    reached = ranked.softmax(dim=-1).cumsum(dim=-1)
    cut = torch.zeros_like(reached, dtype=torch.bool)
    cut[:, 1:] = (reached[:, :-1] > top_p) & (top_p < 1)
    return ranked.masked_fill(cut, -torch.inf)


def filtered(scores: Tensor, settings: Settings) -> tuple[Tensor, Tensor]:
    """What temperature, top-k and top-p leave, likeliest first: scores (B, K), -inf where cut, and ids (B, K).

    Only the tokens that top-k can keep are looked at: the k likeliest, and what equals the last of them.
    """
    vocabulary = scores.shape[-1]
    widest = int(settings.top_k.max())
    unlimited = bool((settings.top_k <= 0).any())
    width = vocabulary if unlimited else min(vocabulary, max(1, widest))
    tempered = apply_temperature(scores, settings.temperature)
    ranked, ids = tempered.topk(width, dim=-1)  # both (B, K)
    last = ranked.gather(-1, (settings.top_k - 1).clamp(0, width - 1))  # (B, 1)
    equal = int(((tempered >= last) & torch.isfinite(last)).sum(dim=-1).max())
    if equal > width:
        ranked, ids = tempered.topk(equal, dim=-1)
    return keep_top_p(keep_top_k(ranked, settings.top_k), settings.top_p), ids


def draw(ranked: Tensor, ids: Tensor, wild: Tensor, keys: Tensor) -> Tensor:
    """One token a row, (B): the best of score plus noise (Gumbel-max), or of the score alone where not `wild` (B, 1).

    `keys` (B, 1) are the rows' `noise_key`.
    """
    noise = torch.where(wild, gumbel_noise(keys, ids), 0.0)
    best = (ranked + noise).argmax(dim=-1, keepdim=True)
    return ids.gather(-1, best).squeeze(-1)


def noise_key(seed: int, candidate: int, step: int) -> int:
    """What one token's noise hangs on: a signed 64-bit number, the same on every machine and in every batch."""
    key = seed & _MASK
    for part in (candidate, step):
        key = _mixed((key + _GOLDEN * (part + 1)) & _MASK)
    return key - (1 << 64) if key >> 63 else key


def gumbel_noise(keys: Tensor, ids: Tensor) -> Tensor:
    """Standard Gumbel noise (B, K) from keys (B, 1) and token ids (B, K): SplitMix64 (Steele et al. 2014)."""
    bits = _mixed_tensor(keys + ids * _signed(_GOLDEN))
    uniform = (_shift(bits, 41).to(torch.float32) + 0.5) * 2.0**-23  # 23 bits: never 0 and never 1 in float32
    return -torch.log(-torch.log(uniform))


def _mixed(value: int) -> int:
    value = ((value ^ (value >> 30)) * _MULTIPLIERS[0]) & _MASK
    value = ((value ^ (value >> 27)) * _MULTIPLIERS[1]) & _MASK
    return value ^ (value >> 31)


def _mixed_tensor(value: Tensor) -> Tensor:
    """`_mixed` on int64, whose products wrap around as the unsigned ones do."""
    value = (value ^ _shift(value, 30)) * _signed(_MULTIPLIERS[0])
    value = (value ^ _shift(value, 27)) * _signed(_MULTIPLIERS[1])
    return value ^ _shift(value, 31)


def _shift(value: Tensor, bits: int) -> Tensor:
    """Logical shift to the right; torch's own keeps the sign."""
    return (value >> bits) & ((1 << (64 - bits)) - 1)


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value
