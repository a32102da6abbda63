"""Score a reply by how much the talk raises its probability (Li et al. 2016, arXiv:1510.03055: MMI-antiLM).

A language model likes "I'm glad." after anything. What the same model expects much more after these turns than after
none at all was said to the point. Needs no training: any generator is such a ranker.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import GPT2LMHeadModel

from bot.generator.checkpoints import revision_of
from bot.generator.dialects.base import BOT, Utterance
from bot.generator.dialects.dialogpt import DialoGPT
from bot.generator.errors import CheckpointError
from bot.generator.formats.base import Checkpoint
from bot.generator.loading import embedding_rows, load_model, pick_device, pick_dtype, threads_for, weights_of
from bot.generator.ranking.base import Pair

ROWS = 32


class MutualInformation:
    """See `bot.generator.ranking.ranker.Ranker`.

    With x the mean over the reply's tokens of log p(token | talk) - log p(token | nothing), the score is
    1 / (1 + e^-x): one half where the talk does not matter.
    """

    def __init__(self, model: GPT2LMHeadModel, dialect: DialoGPT, name: str, revision: str) -> None:
        self.name = name
        self.revision = revision
        self._model = model
        self._dialect = dialect
        self._limit: int = model.config.n_positions
        self._weights = weights_of(model)
        self._end = min(dialect.stop_ids)

    @classmethod
    def load(cls, checkpoint: Checkpoint, *, name: str, device: str, dtype: str) -> "MutualInformation":
        """From a generator. Raises CheckpointError."""
        dialect = DialoGPT(checkpoint.read_tokenizer())
        place = pick_device(device)
        model = load_model(GPT2LMHeadModel, checkpoint, place, pick_dtype(dtype, place))
        if embedding_rows(model) < dialect.vocabulary_size:
            raise CheckpointError(
                f"{checkpoint.path}: the tokenizer knows more tokens than the model. Copy the right one."
            )
        return cls(model, dialect, name, revision_of(checkpoint.files))

    def score(self, pairs: Sequence[Pair]) -> list[float]:
        """See `Ranker.score`."""
        scores: list[float] = []
        for start in range(0, len(pairs), ROWS):
            scores += self._score_batch(pairs[start : start + ROWS])
        return scores

    def _score_batch(self, pairs: Sequence[Pair]) -> list[float]:
        replies = [self._dialect.encode([Utterance(BOT, reply.strip())], self._limit - 1) for _, reply in pairs]
        contexts = [
            self._context(turns, self._limit - len(reply)) for (turns, _), reply in zip(pairs, replies, strict=True)
        ]
        given = self._log_probs(contexts, replies)
        alone = self._log_probs([[self._end]] * len(pairs), replies)
        lengths = torch.tensor([len(reply) for reply in replies])
        return [float(score) for score in ((given - alone) / lengths).sigmoid().tolist()]

    def _context(self, turns: Sequence[str], max_tokens: int) -> list[int]:
        utterances = [Utterance(1, text.strip()) for text in turns]
        return self._dialect.encode(utterances, max_tokens) if utterances else [self._end]

    @torch.inference_mode()
    def _log_probs(self, contexts: Sequence[list[int]], replies: Sequence[list[int]]) -> Tensor:
        """Of each reply, its end included, after its context: (B), on the CPU."""
        rows = [context + reply for context, reply in zip(contexts, replies, strict=True)]
        longest = max(map(len, rows))
        device = self._model.device
        ids = torch.tensor([row + [self._end] * (longest - len(row)) for row in rows], device=device)  # (B, T)
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows], device=device)
        reply = torch.zeros_like(ids, dtype=torch.bool)
        for number, (context, row) in enumerate(zip(contexts, rows, strict=True)):
            reply[number, len(context) : len(row)] = True
        with threads_for(self._weights, len(rows)):
            trunk: Any = self._model.transformer
            hidden: Tensor = trunk(ids, attention_mask=mask, use_cache=False).last_hidden_state[:, :-1]  # (B, T-1, D)
            logits = self._model.lm_head(hidden[reply[:, 1:]]).float()  # (N, V): only where the reply is
            chosen = logits.log_softmax(dim=-1).gather(1, ids[reply][:, None]).squeeze(1)  # (N)
        owner = reply.nonzero()[:, 0]  # (N)
        return torch.zeros(len(rows), device=device).index_add_(0, owner, chosen).cpu()
