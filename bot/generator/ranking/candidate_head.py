"""TransferTransfo's second head: is this the reply that belongs here? (Wolf et al. 2019, arXiv:1901.08149)

It was trained to tell the true reply among candidates by a softmax over their logits. A score must not depend on who
else is in the list, so here it is the logistic function of one logit, which ranks candidates in the same order.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import GPT2DoubleHeadsModel, OpenAIGPTDoubleHeadsModel

from bot.generator.checkpoints import revision_of
from bot.generator.dialects.transfertransfo import TransferTransfo
from bot.generator.errors import CheckpointError
from bot.generator.formats.base import Architecture, Checkpoint
from bot.generator.formats.transfertransfo import HEAD, read_all_weights
from bot.generator.loading import (
    check_vocabulary,
    embedding_rows,
    load_model,
    pick_device,
    pick_dtype,
    threads_for,
    weights_of,
)
from bot.generator.ranking.base import Pair
from bot.generator.ranking.likelihood import speaking

ROWS = 32

DoubleHeads = GPT2DoubleHeadsModel | OpenAIGPTDoubleHeadsModel


class CandidateHead:
    """See `bot.generator.ranking.base.Ranker`. The turns of a pair are taken to alternate, the last one a person's."""

    def __init__(self, model: DoubleHeads, dialect: TransferTransfo, name: str, revision: str) -> None:
        self.name = name
        self.revision = revision
        self._network: Any = model
        self._dialect = dialect
        self._weights = weights_of(model)
        self._limit = int(self._network.config.n_positions)

    @classmethod
    def load(cls, checkpoint: Checkpoint, *, name: str, device: str, dtype: str) -> "CandidateHead":
        """From a TransferTransfo checkpoint. Raises CheckpointError, also where it has no such head."""
        if checkpoint.system != TransferTransfo.name:
            raise CheckpointError(
                f"{checkpoint.path}: this is a checkpoint of {checkpoint.system}, which has no candidate head. "
                "Name a TransferTransfo checkpoint."
            )
        dialect = TransferTransfo(checkpoint.read_tokenizer())
        weights = read_all_weights(checkpoint.path, checkpoint.architecture)
        if not any(weight.startswith(HEAD) for weight in weights):
            raise CheckpointError(
                f"{checkpoint.path}: the candidate head is not among the weights (no {HEAD}*), so this checkpoint can "
                "write replies but not rank them. Use another ranker, or the double-heads model it was made from."
            )
        place = pick_device(device)
        family: type[Any] = (
            GPT2DoubleHeadsModel if checkpoint.architecture is Architecture.GPT2 else OpenAIGPTDoubleHeadsModel
        )
        whole = dataclasses.replace(checkpoint, read_weights=lambda: weights)
        model = load_model(family, whole, place, pick_dtype(dtype, place))
        check_vocabulary(checkpoint, dialect.vocabulary_size, embedding_rows(model))
        return cls(model, dialect, name, revision_of(checkpoint.files))

    def score(self, pairs: Sequence[Pair], persona: Sequence[str] = ()) -> list[float]:
        """See `Ranker.score`; `persona` are sentences about the bot, as the generator reads them."""
        encoded = [self._encode(turns, reply, persona) for turns, reply in pairs]
        scores = [0.0] * len(pairs)
        by_length = sorted(range(len(pairs)), key=lambda n: len(encoded[n]))
        for start in range(0, len(by_length), ROWS):
            batch = by_length[start : start + ROWS]
            for number, score in zip(batch, self._forward([encoded[n] for n in batch]), strict=True):
                scores[number] = score
        return scores

    def _encode(self, turns: Sequence[str], reply: str, persona: Sequence[str]) -> list[int]:
        return self._dialect.answered(speaking(turns), reply.strip(), self._limit, persona)

    @torch.inference_mode()
    def _forward(self, batch: list[list[int]]) -> list[float]:
        longest = max(map(len, batch))
        device = self._network.device
        # Padding stands on the right, where causal attention does not look.
        ids = torch.tensor([row + [0] * (longest - len(row)) for row in batch], device=device)  # (B, T)
        types = torch.tensor(
            [self._dialect.type_ids(row) + [0] * (longest - len(row)) for row in batch], device=device
        )  # (B, T)
        last = torch.tensor([len(row) - 1 for row in batch], device=device)  # (B)
        with threads_for(self._weights, len(batch)):
            hidden: Tensor = self._network.transformer(ids, token_type_ids=types)[0]  # (B, T, D)
            logits: Tensor = self._network.multiple_choice_head(hidden, last)  # (B, 1)
        return [float(score) for score in logits.float().sigmoid().squeeze(-1).tolist()]
