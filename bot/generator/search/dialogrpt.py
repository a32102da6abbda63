"""The two searches of DialogRPT's generation script (Gao et al. 2020, arXiv:2009.06978), on any language model.

Both give every reply that came to its end within the allowed tokens, in the order in which they were found. They keep
what the original does, oddities included, so that its answers come out again.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from bot.generator.models.base import LanguageModel, Prompt
from bot.generator.tokenization.spacing import BEFORE_VERSION_3, english_spacing

SEED = 2020
"""The original starts its random numbers anew with this for every context."""


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A reply that ended: its ids without the stop token, the sum of its log probabilities with it, and what the
    search calls its probability (0 to 1)."""

    token_ids: tuple[int, ...]
    log_prob: float
    probability: float


def clean_up(text: str) -> str:
    """English spacing as the original's tokenizer leaves it."""
    return english_spacing(text, BEFORE_VERSION_3)


@torch.inference_mode()
def dialogrpt_beam(
    model: LanguageModel,
    prompt: Prompt,
    stop_id: int,
    *,
    top_k: int,
    beams: int,
    top_p: float,
    max_new_tokens: int,
) -> list[Hypothesis]:
    """Grow the `beams` likeliest beginnings by their `top_k` next tokens; an end takes no beginning's place.

    The original means to stop at `top_p` of the probability, but adds up those of the tokens numbered 0, 1, 2, ...
    over all beginnings of a step, so it seldom acts.
    """
    finished: list[Hypothesis] = []
    logits, reading = model.read([prompt])
    live: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
    steps = _steps(model, prompt, max_new_tokens)
    for step in range(steps):
        log_probs = logits.log_softmax(dim=-1)  # (B, V)
        values, tokens = (part.tolist() for part in log_probs.topk(min(top_k, log_probs.shape[-1]), dim=-1))  # (B, K)
        counted = log_probs[:, :top_k].tolist()  # (B, K): by token id, which is the oddity
        candidates: list[tuple[float, int, int]] = []
        mass = 0.0
        for i, (before, written) in enumerate(live):
            for j, (value, token) in enumerate(zip(values[i], tokens[i], strict=True)):
                mass += math.exp(counted[i][j])
                if mass > top_p:
                    break
                total = before + value
                if token == stop_id:
                    finished.append(_ended(written, total, len(written) + 1))
                else:
                    candidates.append((total, i, j))
        if not candidates or step == steps - 1:
            break
        kept = sorted(candidates, reverse=True)[:beams]
        live = [(total, (*live[i][1], tokens[i][j])) for total, i, j in kept]
        device = logits.device
        reading.select(torch.tensor([i for _, i, _ in kept], device=device))
        logits = reading.feed(torch.tensor([tokens[i][j] for _, i, j in kept], device=device))
    return finished


@torch.inference_mode()
def dialogrpt_sampling(
    model: LanguageModel,
    prompt: Prompt,
    stop_id: int,
    *,
    temperature: float,
    count: int,
    max_new_tokens: int,
    seed: int = SEED,
) -> list[Hypothesis]:
    """Draw `count` replies side by side at a `temperature` above 0. One that ended goes on
    drawing, so that the others draw the same."""
    random = np.random.RandomState(seed)  # numpy's legacy generator: the draws of the original
    logits, reading = model.read([prompt])
    reading.select(torch.zeros(count, dtype=torch.int64, device=logits.device))
    logits = logits.expand(count, -1)
    sums = [0.0] * count
    rows: list[list[int]] = [[] for _ in range(count)]
    ended: dict[int, Hypothesis] = {}
    steps = _steps(model, prompt, max_new_tokens)
    for step in range(steps):
        probabilities = (logits / temperature).softmax(dim=-1).cpu().numpy()  # (B, V)
        drawn = [int(random.choice(len(row), p=row)) for row in probabilities]
        for number, token in enumerate(drawn):
            if number in ended:
                continue
            sums[number] += math.log(probabilities[number][token])
            if token == stop_id:
                ended[number] = _ended(rows[number], sums[number], len(rows[number]) + 2)
            rows[number].append(token)
        if len(ended) == count or step == steps - 1:
            break
        logits = reading.feed(torch.tensor(drawn, device=logits.device))
    return [ended[number] for number in sorted(ended)]


def _steps(model: LanguageModel, prompt: Prompt, max_new_tokens: int) -> int:
    """How many tokens can be written: the last one is never read, so it needs no position."""
    return min(max_new_tokens, model.room(len(prompt.ids)) + 1)


def _ended(tokens: Sequence[int], log_prob: float, length: int) -> Hypothesis:
    return Hypothesis(tuple(tokens), log_prob, math.exp(log_prob / length))
