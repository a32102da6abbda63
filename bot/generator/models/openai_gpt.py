"""The first GPT (Radford et al. 2018) as the decode loop uses it; TransferTransfo's published checkpoint is one.

transformers' class keeps no keys and values, so here a layer's keys and values are kept beside it: the same modules,
the same arithmetic, but a token is computed once. Contexts are padded on the right, where causal attention does not
look; what a row writes takes the place of its padding.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import OpenAIGPTLMHeadModel

from bot.generator.loading import embedding_rows, weights_of
from bot.generator.models.base import Prompt


class OpenAIGPTModel:
    """See `bot.generator.models.base.LanguageModel`."""

    def __init__(self, model: OpenAIGPTLMHeadModel) -> None:
        self.network: Any = model
        self.weights = weights_of(model)
        self.vocabulary = embedding_rows(model)
        self._positions = int(self.network.config.n_positions)
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

    def read(self, prompts: Sequence[Prompt]) -> tuple[Tensor, "OpenAIGPTReading"]:
        """See `LanguageModel.read`."""
        longest = max(len(prompt.ids) for prompt in prompts)
        ids = self._padded([prompt.ids for prompt in prompts], longest)  # (B, T)
        typed = any(prompt.types for prompt in prompts)
        types = self._padded([prompt.types or () for prompt in prompts], longest) if typed else None  # (B, T)
        lengths = torch.tensor([len(prompt.ids) for prompt in prompts], device=self.device)
        places = torch.arange(longest, device=self.device)
        reading = OpenAIGPTReading(self.network, places < lengths[:, None])
        hidden = reading.compute(ids, places.expand_as(ids), types)  # (B, T, D)
        rows = torch.arange(len(prompts), device=self.device)
        if types is not None:
            reading.types = types[rows, lengths - 1][:, None]
        return self.network.lm_head(hidden[rows, lengths - 1]).float(), reading

    def _padded(self, rows: Sequence[Sequence[int]], longest: int) -> Tensor:
        return torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows], device=self.device)


class OpenAIGPTReading:
    """Keys and values of every row so far. See `bot.generator.models.base.Reading`."""

    def __init__(self, network: Any, mask: Tensor) -> None:
        self.types: Tensor | None = None  # (B, 1): the next token's
        self._network = network
        self._mask = mask  # (B, S): where a row's own tokens are
        self._cache: list[tuple[Tensor, Tensor]] = []  # of each layer (B, H, S, D/H)

    def feed(self, tokens: Tensor) -> Tensor:
        """See `Reading.feed`."""
        positions = self._mask.sum(dim=1, keepdim=True)  # (B, 1)
        self._mask = torch.cat([self._mask, self._mask.new_ones(len(tokens), 1)], dim=1)
        hidden = self.compute(tokens[:, None], positions, self.types)  # (B, 1, D)
        return torch.as_tensor(self._network.lm_head(hidden[:, 0])).float()

    def select(self, index: Tensor) -> None:
        """See `Reading.select`."""
        self._cache = [(keys[index], values[index]) for keys, values in self._cache]
        self._mask = self._mask[index]
        if self.types is not None:
            self.types = self.types[index]

    def compute(self, ids: Tensor, positions: Tensor, types: Tensor | None) -> Tensor:
        """The last layer's states (B, T, D) of more tokens, all (B, T); their keys and values are kept."""
        trunk = self._network.transformer
        hidden: Tensor = trunk.tokens_embed(ids) + trunk.positions_embed(positions)
        if types is not None:
            hidden = hidden + trunk.tokens_embed(types)
        before, self._cache = self._cache, []
        for number, block in enumerate(trunk.h):
            attended = self._attend(block.attn, hidden, before[number] if before else None)
            normed = block.ln_1(hidden + attended)  # the norm comes after the sum, as in the first Transformer
            hidden = block.ln_2(normed + block.mlp(normed))
        return hidden

    def _attend(self, attention: Any, hidden: Tensor, before: tuple[Tensor, Tensor] | None) -> Tensor:
        rows, tokens, width = hidden.shape
        query, keys, values = (
            part.view(rows, tokens, attention.n_head, -1).transpose(1, 2)  # (B, H, T, D/H)
            for part in attention.c_attn(hidden).split(width, dim=2)
        )
        if before is not None:
            keys, values = torch.cat([before[0], keys], dim=2), torch.cat([before[1], values], dim=2)
        self._cache.append((keys, values))
        mask = None if before is None else self._mask[:, None, None, :]
        mixed = scaled_dot_product_attention(query, keys, values, attn_mask=mask, is_causal=before is None)
        return torch.as_tensor(attention.c_proj(mixed.transpose(1, 2).reshape(rows, tokens, width)))
