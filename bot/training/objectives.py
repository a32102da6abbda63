"""What a generator learns: the next token, wherever the dialect labels one."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from bot.generator.dialects.base import IGNORED
from bot.training.trainer import Batch

_READ = ("input_ids", "token_type_ids")


class LearnedTokens:
    """Cross entropy over the tokens that have a label. See `bot.training.trainer.Objective`.

    The head computes only the positions that are learned, which saves a fifth of the time of a small model.
    """

    of_tokens = True

    def total_loss(self, model: Any, batch: Batch) -> Tensor:
        """See `Objective.total_loss`. No mask is needed: see `bot.training.examples.Batches`."""
        network = model.get_base_model() if hasattr(model, "get_base_model") else model
        read = {name: batch[name] for name in _READ if name in batch}
        hidden = network.base_model(**read).last_hidden_state[:, :-1]  # (B, T-1, D)
        targets = batch["labels"][:, 1:]  # (B, T-1)
        learned = targets != IGNORED
        logits = network.get_output_embeddings()(hidden[learned]).float()  # (N, V)
        return F.cross_entropy(logits, targets[learned], reduction="sum")

    def items(self, batch: Batch) -> int:
        """See `Objective.items`."""
        return max(1, int((batch["labels"][:, 1:] != IGNORED).sum()))

    def halves(self, batch: Batch) -> tuple[Batch, ...]:
        """See `Objective.halves`: by rows."""
        rows = len(batch["input_ids"])
        if rows < 2:
            return (batch,)
        middle = rows // 2
        return tuple(
            {name: values[part] for name, values in batch.items()} for part in (slice(middle), slice(middle, None))
        )


@torch.no_grad()
def has_plain_head(network: Any) -> bool:
    """Whether the scores are the head's product and nothing else; some families scale or cap them afterwards."""
    context = torch.arange(1, 5, device=network.device)[None]  # (1, T)
    hidden = network.base_model(context).last_hidden_state
    scores = network.get_output_embeddings()(hidden)
    return torch.allclose(network(context).logits.float(), scores.float(), rtol=1e-2, atol=1e-2)
