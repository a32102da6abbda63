"""What may come next in a reply, by a family's own manner: shared by sampling and beam search."""

from collections.abc import Sequence

import torch
from torch import Tensor

from bot.generator import sampling
from bot.generator.decoding import Decoding
from bot.generator.dialects.base import Manner


def penalised(scores: Tensor, seen: Tensor, penalty: Tensor, manner: Manner) -> Tensor:
    """Scores (B, V) after the family's repetition penalty (B, 1) on the tokens that `seen` (B, V) marks."""
    if manner.penalty == "divide":
        return torch.where(seen, scores / penalty, scores)
    return sampling.penalise_repeats(scores, seen, penalty)


def unwanted_ids(
    tokens: Sequence[int], before: Sequence[int], decoding: Decoding, manner: Manner, stop_ids: Sequence[int]
) -> set[int]:
    """What may not come next: an end that is too early, and the last token of an n-gram that was there."""
    written = [*before, *tokens] if manner.ngrams == "sequence" else tokens
    unwanted = sampling.repeating_ids(written, decoding.no_repeat_ngram)
    if len(tokens) < decoding.min_new_tokens or len(before) + len(tokens) < decoding.min_length:
        unwanted |= set(stop_ids)
    return unwanted


def said_before(before: Sequence[int], manner: Manner, stop_ids: Sequence[int], vocabulary: int) -> Tensor:
    """A mask (V) of the tokens that the repetition penalty takes for said when the reply begins."""
    seen = torch.zeros(vocabulary, dtype=torch.bool)
    if manner.penalised == "sequence":
        seen[list(before)] = True
    if manner.spares_stops:  # every turn of the context ended: that must not keep the reply from ending
        seen[list(stop_ids)] = False
    return seen


def forbidden(never: Sequence[int], banned: Sequence[int], vocabulary: int) -> Tensor:
    """A mask (V) of the tokens that may not be written at all; ids that the model lacks are passed over."""
    mask = torch.zeros(vocabulary, dtype=torch.bool)
    mask[[*never, *(i for i in banned if 0 <= i < vocabulary)]] = True
    return mask
