"""A DialogRPT head: one number from the hidden state of the reply's last token (Gao et al. 2020, arXiv:2009.06978)."""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import GPT2ForSequenceClassification

from bot.generator.checkpoints import revision_of
from bot.generator.dialects.base import Utterance
from bot.generator.dialects.dialogpt import DialoGPT
from bot.generator.errors import CheckpointError
from bot.generator.formats.base import Checkpoint
from bot.generator.loading import (
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
        self._limit: int = model.config.n_positions

    @classmethod
    def load(cls, checkpoint: Checkpoint, *, name: str, device: str, dtype: str) -> "Head":
        """From a checkpoint. Raises CheckpointError."""
        dialect = DialoGPT(checkpoint.read_tokenizer())
        place = pick_device(device)
        model = load_model(GPT2ForSequenceClassification, checkpoint, place, pick_dtype(dtype, place))
        if model.num_labels != 1:
            raise CheckpointError(f"{checkpoint.path}: this head has {model.num_labels} outputs; a ranker has one.")
        if embedding_rows(model) < dialect.vocabulary_size:
            raise CheckpointError(
                f"{checkpoint.path}: the tokenizer knows more tokens than the model. Copy the right one."
            )
        return cls(model, dialect, name, revision_of(checkpoint.files))

    def score(self, pairs: Sequence[Pair]) -> list[float]:
        """See `Ranker.score`."""
        encoded = [self._encode(turns, reply) for turns, reply in pairs]
        scores = [0.0] * len(pairs)
        by_length = sorted(range(len(pairs)), key=lambda n: len(encoded[n]))
        for start in range(0, len(by_length), ROWS):
            batch = by_length[start : start + ROWS]
            for number, score in zip(batch, self._score_within_memory([encoded[n] for n in batch]), strict=True):
                scores[number] = score
        return scores

    def _encode(self, turns: Sequence[str], reply: str) -> list[int]:
        """Every turn with its end-of-text, then the reply without one."""
        utterances = [Utterance(1, text.strip()) for text in [*turns, reply]]
        ids = self._dialect.encode(utterances, self._limit + 1)[:-1]
        return ids or sorted(self._dialect.stop_ids)  # an empty reply to nothing is still a question to the head

    def _score_within_memory(self, batch: list[list[int]]) -> list[float]:
        try:
            return self._forward(batch)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or len(batch) == 1:
                raise
        middle = len(batch) // 2
        return self._score_within_memory(batch[:middle]) + self._score_within_memory(batch[middle:])

    @torch.inference_mode()
    def _forward(self, batch: list[list[int]]) -> list[float]:
        with threads_for(self._weights, len(batch)):
            return self._scores(batch)

    def _scores(self, batch: list[list[int]]) -> list[float]:
        longest = max(map(len, batch))
        pad = min(self._dialect.stop_ids)
        ids = torch.tensor([row + [pad] * (longest - len(row)) for row in batch], device=self._model.device)  # (B, T)
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in batch], device=ids.device)
        hidden: Tensor = self._model.transformer(
            ids, attention_mask=mask, use_cache=False
        ).last_hidden_state  # (B, T, D)
        last = torch.tensor([len(row) - 1 for row in batch], device=ids.device)
        logits = self._model.score(hidden[torch.arange(len(batch), device=ids.device), last])  # (B, 1)
        return [float(score) for score in logits.float().sigmoid().squeeze(-1).tolist()]
