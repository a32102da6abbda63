"""Causal models of transformers (GPT-2 and the like) as the decode loop uses them: a context is read once."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from bot.generator.errors import CheckpointError
from bot.generator.loading import embedding_rows, weights_of
from bot.generator.models.base import Prompt


class CausalModel:
    """See `bot.generator.models.base.LanguageModel`."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.network: Any = model
        self.weights = weights_of(model)
        self.vocabulary = embedding_rows(model)
        positions = getattr(model.config, "max_position_embeddings", None)
        if not isinstance(positions, int) or positions < 1:
            raise CheckpointError(
                f"config.json does not say how long a text the {type(model).__name__} reads: it needs "
                "max_position_embeddings."
            )
        # Where the older n_ctx is smaller, the family's own code stops there.
        self._positions = min(positions, getattr(model.config, "n_ctx", None) or positions)
        self.context_limit = self._positions - 1

    @property
    def device(self) -> torch.device:
        """See `LanguageModel.device`."""
        return torch.device(self.network.device)

    def sequence(self, ids: Sequence[int]) -> tuple[int, ...]:
        """See `LanguageModel.sequence`."""
        return tuple(ids)

    def room(self, context_tokens: int) -> int:
        """See `LanguageModel.room`."""
        return self._positions - context_tokens

    def read(self, prompts: Sequence[Prompt]) -> tuple[Tensor, "CausalReading"]:
        """See `LanguageModel.read`: padded on the left, or the last position would not be the last token."""
        longest = max(len(prompt.ids) for prompt in prompts)
        pads = [longest - len(prompt.ids) for prompt in prompts]
        ids = torch.tensor(
            [[0] * pad + list(prompt.ids) for pad, prompt in zip(pads, prompts, strict=True)], device=self.device
        )  # (B, T)
        mask = torch.tensor([[0] * pad + [1] * (longest - pad) for pad in pads], device=self.device)  # (B, T)
        types = None
        if any(prompt.types for prompt in prompts):
            types = torch.tensor(
                [[0] * pad + list(prompt.types or ()) for pad, prompt in zip(pads, prompts, strict=True)],
                device=self.device,
            )  # (B, T)
        output = self.network(
            input_ids=ids,
            attention_mask=mask,
            position_ids=(mask.cumsum(dim=1) - 1).clamp(min=0),
            use_cache=True,
            logits_to_keep=1,
            **({} if types is None else {"token_type_ids": types}),
        )
        last_types = None if types is None else types[:, -1:]
        return output.logits[:, -1].float(), CausalReading(self.network, output.past_key_values, mask, last_types)


class CausalReading:
    """Keys and values of every row so far. See `bot.generator.models.base.Reading`."""

    def __init__(self, network: Any, cache: DynamicCache, mask: Tensor, types: Tensor | None) -> None:
        self._network = network
        self._cache = cache
        self._mask = mask  # (B, T)
        self._positions = mask.sum(dim=1, keepdim=True)  # (B, 1): the next token's
        self._types = types  # (B, 1): the next token's

    def feed(self, tokens: Tensor) -> Tensor:
        """See `Reading.feed`."""
        self._mask = torch.cat([self._mask, self._mask.new_ones(len(tokens), 1)], dim=1)
        output = self._network(
            input_ids=tokens[:, None],
            attention_mask=self._mask,
            position_ids=self._positions,
            past_key_values=self._cache,
            use_cache=True,
            **({} if self._types is None else {"token_type_ids": self._types}),
        )
        self._positions = self._positions + 1
        return torch.as_tensor(output.logits[:, -1]).float()

    def select(self, index: Tensor) -> None:
        """See `Reading.select`."""
        self._cache.batch_select_indices(index)
        self._mask, self._positions = self._mask[index], self._positions[index]
        if self._types is not None:
            self._types = self._types[index]
