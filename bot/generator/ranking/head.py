"""A DialogRPT head: one number from the hidden state of the reply's last token (Gao et al. 2020, arXiv:2009.06978)."""

import sys
from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import GPT2ForSequenceClassification

from bot.generator.checkpoints import revision_of
from bot.generator.dialects.base import Utterance
from bot.generator.dialects.dialogpt import DialoGPT
from bot.generator.errors import CheckpointError
from bot.generator.formats.base import Checkpoint, Role
from bot.generator.formats.microsoft import as_head
from bot.generator.loading import (
    check_vocabulary,
    embedding_rows,
    is_out_of_memory,
    load_model,
    pick_device,
    pick_dtype,
    threads_for,
    weights_of,
)
from bot.generator.ranking.base import Pair

ROWS = 32


class Head:
    """See `bot.generator.ranking.ranker.Ranker`."""

    def __init__(self, model: GPT2ForSequenceClassification, dialect: DialoGPT, name: str, revision: str) -> None:
        self.name = name
        self.revision = revision
        self._model = model
        self._dialect = dialect
        self._weights = weights_of(model)
        self.end_id = min(dialect.stop_ids)
        self.limit: int = model.config.n_positions
        """Most tokens of context and reply together."""
        self.vocabulary = embedding_rows(model)

    @classmethod
    def load(cls, checkpoint: Checkpoint, *, name: str, device: str, dtype: str) -> "Head":
        """From a ranker, or from a DialoGPT generator in Microsoft's own file. Raises CheckpointError."""
        dialect = DialoGPT(checkpoint.read_tokenizer())
        if checkpoint.role is Role.GENERATOR:
            checkpoint = as_head(checkpoint, min(dialect.stop_ids))
        place = pick_device(device)
        model = load_model(GPT2ForSequenceClassification, checkpoint, place, pick_dtype(dtype, place))
        if model.num_labels != 1:
            raise CheckpointError(f"{checkpoint.path}: this head has {model.num_labels} outputs; a ranker has one.")
        check_vocabulary(checkpoint, dialect.vocabulary_size, embedding_rows(model))
        return cls(model, dialect, name, revision_of(checkpoint.files))

    def score(self, pairs: Sequence[Pair]) -> list[float]:
        """See `Ranker.score`."""
        return scores_of(self.logits([self.encode(turns, reply) for turns, reply in pairs]))

    def encode(self, turns: Sequence[str], reply: str) -> list[int]:
        """Every turn with its end-of-text, then the reply without one; the oldest turns go where all is too long."""
        ids = self._dialect.encode(self._utterances(turns, reply), self.limit + 1)[:-1]
        return ids or [self.end_id]  # an empty reply to nothing is still a question to the head

    def is_too_long(self, turns: Sequence[str], reply: str) -> bool:
        """Whether `encode` leaves out a part of this pair."""
        utterances = self._utterances(turns, reply)
        return sum(len(self._dialect.encode([one], sys.maxsize)) for one in utterances) - 1 > self.limit

    def logits(self, rows: Sequence[list[int]]) -> list[float]:
        """What the head says of each row of token ids (1 to `limit` of them), before it becomes a score."""
        logits = [0.0] * len(rows)
        by_length = sorted(range(len(rows)), key=lambda n: len(rows[n]))
        for start in range(0, len(by_length), ROWS):
            batch = by_length[start : start + ROWS]
            for number, logit in zip(batch, self._logits_within_memory([rows[n] for n in batch]), strict=True):
                logits[number] = logit
        return logits

    def _utterances(self, turns: Sequence[str], reply: str) -> list[Utterance]:
        return [Utterance(1, text.strip()) for text in [*turns, reply]]

    def _logits_within_memory(self, batch: list[list[int]]) -> list[float]:
        try:
            return self._forward(batch)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or len(batch) == 1:
                raise
        middle = len(batch) // 2
        return self._logits_within_memory(batch[:middle]) + self._logits_within_memory(batch[middle:])

    @torch.inference_mode()
    def _forward(self, batch: list[list[int]]) -> list[float]:
        with threads_for(self._weights, len(batch)):
            return self._read(batch)

    def _read(self, batch: list[list[int]]) -> list[float]:
        longest = max(map(len, batch))
        ids = torch.tensor(
            [row + [self.end_id] * (longest - len(row)) for row in batch], device=self._model.device
        )  # (B, T)
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in batch], device=ids.device)
        hidden: Tensor = self._model.transformer(
            ids, attention_mask=mask, use_cache=False
        ).last_hidden_state  # (B, T, D)
        last = torch.tensor([len(row) - 1 for row in batch], device=ids.device)
        logits = self._model.score(hidden[torch.arange(len(batch), device=ids.device), last])  # (B, 1)
        return [float(logit) for logit in logits.float().squeeze(-1).tolist()]


def scores_of(logits: Sequence[float]) -> list[float]:
    """A head's scores, 0 to 1."""
    return [float(score) for score in torch.tensor(logits, dtype=torch.float32).sigmoid().tolist()]
