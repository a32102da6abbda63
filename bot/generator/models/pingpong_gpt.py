"""PingPong's GPT: named like GPT-2, but with scaled embeddings, norms after the residuals, and none at the end."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bot.generator.formats.base import Checkpoint
from bot.generator.models.base import Prompt
from bot.generator.models.pingpong import KeyValues, causal, fitted, join_heads, split_heads

_MASK_SIZE = 256
"""Longest sequence that the original's causal mask covers where the configuration has no `n_ctx`; published
configurations misspell it as `n_ctxt`, which changes nothing."""


class _Linear(nn.Module):
    """A linear layer whose weight lies the other way round than torch's, (inputs, outputs), as in GPT-2's files."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(inputs, outputs))
        self.bias = nn.Parameter(torch.empty(outputs))

    def forward(self, hidden: Tensor) -> Tensor:
        return F.linear(hidden, self.weight.t(), self.bias)


class _Attention(nn.Module):
    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        width = config["n_embd"]
        self.heads: int = config["n_head"]
        self.c_attn = _Linear(width, 3 * width)
        self.c_proj = _Linear(width, width)

    def forward(self, hidden: Tensor, mask: Tensor, past: KeyValues) -> Tensor:
        queries, keys, values = (split_heads(part, self.heads) for part in self.c_attn(hidden).chunk(3, dim=-1))
        keys, values = past.extend(keys, values)
        seen = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
        joined: Tensor = self.c_proj(join_heads(seen))
        return joined


class _FeedForward(nn.Module):
    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        width = config["n_embd"]
        inner = config["n_inner"] or 4 * width
        self.c_fc = _Linear(width, inner)
        self.c_proj = _Linear(inner, width)

    def forward(self, hidden: Tensor) -> Tensor:
        result: Tensor = self.c_proj(F.gelu(self.c_fc(hidden), approximate="tanh"))
        return result


class _Block(nn.Module):
    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        epsilon = config.get("layer_norm_epsilon", 1e-5)
        self.ln_1 = nn.LayerNorm(config["n_embd"], eps=epsilon)
        self.attn = _Attention(config)
        self.ln_2 = nn.LayerNorm(config["n_embd"], eps=epsilon)
        self.mlp = _FeedForward(config)

    def forward(self, hidden: Tensor, mask: Tensor, past: KeyValues) -> Tensor:
        hidden = self.ln_1(hidden + self.attn(hidden, mask, past))
        result: Tensor = self.ln_2(hidden + self.mlp(hidden))
        return result


class _Transformer(nn.Module):
    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.wte = nn.Embedding(config["vocab_size"], config["n_embd"])
        self.wpe = nn.Embedding(config["n_positions"], config["n_embd"])
        self.h = nn.ModuleList(_Block(config) for _ in range(config["n_layer"]))


class PingPongGPTNetwork(nn.Module):
    """The network under the original's names, its output tied to the token embeddings."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.transformer = _Transformer(config)

    def forward(self, ids: Tensor, present: Tensor, past: Sequence[KeyValues]) -> Tensor:
        """Hidden states (B, T, E) of the tokens (B, T) that come after `past` (one a layer; extended in place).

        `present` (B, S) is False where a token, past or new, is padding on the left.
        """
        new = ids.shape[1]
        positions = (present.cumsum(dim=1) - 1).clamp(min=0)[:, -new:]  # (B, T)
        before, itself = causal(new, present.shape[1], ids.device)
        # Padding sees itself, or it would see nothing and its softmax would be no number.
        mask = before & (present[:, None, None, :] | itself)  # (B, 1, T, S)
        body = self.transformer
        hidden: Tensor = body.wte(ids) * math.sqrt(body.wte.embedding_dim) + body.wpe(positions)
        for block, layer in zip(body.h, past, strict=True):
            hidden = block(hidden, mask, layer)
        return hidden

    def scores(self, hidden: Tensor) -> Tensor:
        """Scores of the token that follows, (..., E) to (..., V)."""
        return F.linear(hidden, self.transformer.wte.weight)

    def nothing_read(self) -> list[KeyValues]:
        """A past for a new batch."""
        return [KeyValues() for _ in self.transformer.h]


class PingPongGPTModel:
    """See `bot.generator.models.base.LanguageModel`."""

    def __init__(self, network: PingPongGPTNetwork, config: Mapping[str, Any]) -> None:
        self.network = network
        self.weights = sum(parameter.numel() for parameter in network.parameters())
        self.vocabulary = network.transformer.wte.num_embeddings
        self._positions = min(network.transformer.wpe.num_embeddings, config.get("n_ctx") or _MASK_SIZE)
        self.context_limit = self._positions

    @classmethod
    def load(cls, checkpoint: Checkpoint, device: torch.device, dtype: torch.dtype) -> "PingPongGPTModel":
        """From a checkpoint. Raises CheckpointError."""
        return cls(fitted(PingPongGPTNetwork, checkpoint, device, dtype), checkpoint.config)

    @property
    def device(self) -> torch.device:
        """See `LanguageModel.device`."""
        return self.network.transformer.wte.weight.device

    def sequence(self, ids: Sequence[int]) -> tuple[int, ...]:
        """See `LanguageModel.sequence`."""
        return tuple(ids)

    def room(self, context_tokens: int) -> int:
        """See `LanguageModel.room`: the last token is never read, so it needs no position."""
        return self._positions - context_tokens + 1

    def read(self, prompts: Sequence[Prompt]) -> tuple[Tensor, "PingPongGPTReading"]:
        """See `LanguageModel.read`: padded on the left, so that the last position is the last token."""
        longest = max(len(prompt.ids) for prompt in prompts)
        pads = [longest - len(prompt.ids) for prompt in prompts]
        ids = torch.tensor(
            [[0] * pad + list(prompt.ids) for pad, prompt in zip(pads, prompts, strict=True)], device=self.device
        )  # (B, T)
        present = torch.tensor([[False] * pad + [True] * (longest - pad) for pad in pads], device=self.device)  # (B, T)
        reading = PingPongGPTReading(self.network, present)
        return reading.advance(ids), reading


class PingPongGPTReading:
    """Keys and values of every row so far. See `bot.generator.models.base.Reading`."""

    def __init__(self, network: PingPongGPTNetwork, present: Tensor) -> None:
        self._network = network
        self._present = present  # (B, S)
        self._past = network.nothing_read()

    def advance(self, ids: Tensor) -> Tensor:
        """Read tokens (B, T) that `present` already counts: the scores (B, V) of what follows the last."""
        hidden = self._network(ids, self._present, self._past)
        return self._network.scores(hidden[:, -1]).float()

    def feed(self, tokens: Tensor) -> Tensor:
        """See `Reading.feed`."""
        self._present = torch.cat([self._present, self._present.new_ones(len(tokens), 1)], dim=1)
        return self.advance(tokens[:, None])

    def select(self, index: Tensor) -> None:
        """See `Reading.select`."""
        self._present = self._present[index]
        for layer in self._past:
            layer.select(index)
