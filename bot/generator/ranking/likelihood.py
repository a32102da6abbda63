"""How probable a causal model finds tokens that it did not write: the base of the rankers that need no head."""

from collections.abc import Sequence

import torch
from torch import Tensor

from bot.generator.dialects.base import BOT, IGNORED, Dialect, TrainingExample, Utterance
from bot.generator.dialects.registry import dialect_named
from bot.generator.errors import CheckpointError
from bot.generator.formats.base import Checkpoint
from bot.generator.loading import check_vocabulary, is_out_of_memory, pick_device, pick_dtype, threads_for
from bot.generator.models.causal import CausalModel
from bot.generator.models.registry import load_language_model

ROWS = 32

PERSON = 1
"""The speaker of every turn that is not the bot's."""

WHOLE = 1 << 30
"""A limit in tokens that cuts nothing off."""


class Likelihood:
    """A causal model with its dialect. Calls block, one at a time."""

    def __init__(self, model: CausalModel, dialect: Dialect) -> None:
        self.dialect = dialect
        self.limit = model.room(0)
        """Most tokens that it reads."""
        self._model = model

    @classmethod
    def load(cls, checkpoint: Checkpoint, *, device: str, dtype: str) -> "Likelihood":
        """From a generator. Raises CheckpointError."""
        dialect = dialect_named(checkpoint.dialect, checkpoint.read_tokenizer())
        place = pick_device(device)
        model = load_language_model(checkpoint, place, pick_dtype(dtype, place))
        if not isinstance(model, CausalModel):
            raise CheckpointError(
                f"{checkpoint.path}: a {checkpoint.architecture} cannot judge replies. Use a GPT-2 for this ranker."
            )
        check_vocabulary(checkpoint, dialect.vocabulary_size, model.vocabulary)
        return cls(model, dialect)

    def log_probs(self, examples: Sequence[TrainingExample]) -> list[float]:
        """The sum over each example's labels, in order (natural logarithm). The first token has nothing before it,
        so its label does not count. No example may be longer than `limit`."""
        return [
            log_prob
            for start in range(0, len(examples), ROWS)
            for log_prob in self._within_memory(examples[start : start + ROWS])
        ]

    def _within_memory(self, examples: Sequence[TrainingExample]) -> list[float]:
        try:
            return self._sums(examples).tolist()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or len(examples) == 1:
                raise
        middle = len(examples) // 2
        return self._within_memory(examples[:middle]) + self._within_memory(examples[middle:])

    @torch.inference_mode()
    def _sums(self, examples: Sequence[TrainingExample]) -> Tensor:
        """(B), on the CPU."""
        network = self._model.network
        ids = self._padded([example.input_ids for example in examples], 0)  # (B, T)
        mask = self._padded([[1] * len(example.input_ids) for example in examples], 0)  # (B, T)
        labels = self._padded([example.labels for example in examples], IGNORED)[:, 1:]  # (B, T-1)
        types = {}
        if any(example.type_ids for example in examples):
            types["token_type_ids"] = self._padded([example.type_ids or () for example in examples], 0)  # (B, T)
        with threads_for(self._model.weights, len(examples)):
            trunk = network.base_model(input_ids=ids, attention_mask=mask, use_cache=False, **types)
            learned = labels != IGNORED  # (B, T-1)
            hidden = trunk.last_hidden_state[:, :-1][learned]  # (N, D): only where there is something to predict
            logits: Tensor = network.get_output_embeddings()(hidden).float()  # (N, V)
            chosen = logits.log_softmax(dim=-1).gather(1, labels[learned][:, None]).squeeze(1)  # (N)
        owner = learned.nonzero()[:, 0]  # (N)
        return torch.zeros(len(examples), device=ids.device).index_add_(0, owner, chosen).cpu()

    def _padded(self, rows: Sequence[Sequence[int]], filler: int) -> Tensor:
        """On the right, where a causal model does not look."""
        longest = max(map(len, rows))
        return torch.tensor(
            [[*row, *[filler] * (longest - len(row))] for row in rows], dtype=torch.int64, device=self._model.device
        )


def learned_tokens(example: TrainingExample) -> int:
    """How many labels `Likelihood.log_probs` sums up."""
    return sum(label != IGNORED for label in example.labels[1:])


def speaking(turns: Sequence[str]) -> tuple[Utterance, ...]:
    """Who said which turn before a reply of the bot: the last is a person's, and sides take turns."""
    last = len(turns) - 1
    return tuple(Utterance(PERSON if (last - n) % 2 == 0 else BOT, text.strip()) for n, text in enumerate(turns))
