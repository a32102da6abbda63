"""PingPong's Meena: an encoder reads the talk, a decoder writes the reply; norms after the residuals, none at the end.

Encoder and decoder share one table of tokens and one of positions, in which the decoder begins at
`max_encoder_length`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bot.generator.formats.base import Checkpoint
from bot.generator.models.base import Prompt
from bot.generator.models.pingpong import KeyValues, causal, fitted, join_heads, split_heads

_EPSILON = 1e-6


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.q_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def keys_values(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """(B, S, E) to what it is found by and what it says, (B, H, S, D) both."""
        return split_heads(self.k_proj(hidden), self.heads), split_heads(self.v_proj(hidden), self.heads)

    def forward(self, hidden: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        queries = split_heads(self.q_proj(hidden), self.heads)
        seen = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
        joined: Tensor = self.out_proj(join_heads(seen))
        return joined


class _FeedForward(nn.Module):
    """The part that all layers have."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, inner)
        self.fc2 = nn.Linear(inner, width)
        self.final_layer_norm = nn.LayerNorm(width, eps=_EPSILON)

    def changed(self, hidden: Tensor) -> Tensor:
        result: Tensor = self.final_layer_norm(hidden + self.fc2(F.gelu(self.fc1(hidden), approximate="tanh")))
        return result


class _EncoderLayer(_FeedForward):
    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__(width, inner)
        self.self_attn = _Attention(width, heads)
        self.self_attn_layer_norm = nn.LayerNorm(width, eps=_EPSILON)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        seen = self.self_attn(hidden, *self.self_attn.keys_values(hidden), mask)
        return self.changed(self.self_attn_layer_norm(hidden + seen))


@dataclass(slots=True)
class LayerPast:
    """What one decoder layer has before it: the encoder's keys and values, computed once, and its own."""

    read_keys: Tensor  # (B, H, S, D)
    read_values: Tensor  # (B, H, S, D)
    written: KeyValues = field(default_factory=KeyValues)

    def select(self, index: Tensor) -> None:
        """Go on with these rows."""
        self.read_keys, self.read_values = self.read_keys[index], self.read_values[index]
        self.written.select(index)


class _DecoderLayer(_FeedForward):
    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__(width, inner)
        self.self_attn = _Attention(width, heads)
        self.self_attn_layer_norm = nn.LayerNorm(width, eps=_EPSILON)
        self.encoder_attn = _Attention(width, heads)
        self.encoder_attn_layer_norm = nn.LayerNorm(width, eps=_EPSILON)

    def begin(self, read: Tensor) -> LayerPast:
        """The past of a new batch over the encoder's output (B, S, E)."""
        return LayerPast(*self.encoder_attn.keys_values(read))

    def forward(self, hidden: Tensor, mask: Tensor, past: LayerPast, read_mask: Tensor) -> Tensor:
        keys, values = past.written.extend(*self.self_attn.keys_values(hidden))
        hidden = self.self_attn_layer_norm(hidden + self.self_attn(hidden, keys, values, mask))
        read = self.encoder_attn(hidden, past.read_keys, past.read_values, read_mask)
        return self.changed(self.encoder_attn_layer_norm(hidden + read))


class _Encoder(nn.Module):
    def __init__(self, layers: int, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_EncoderLayer(width, heads, inner) for _ in range(layers))

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        for layer in self.layers:
            hidden = layer(hidden, mask)
        return hidden


class _Decoder(nn.Module):
    def __init__(self, layers: int, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_DecoderLayer(width, heads, inner) for _ in range(layers))

    def begin(self, read: Tensor) -> list[LayerPast]:
        return [cast(_DecoderLayer, layer).begin(read) for layer in self.layers]

    def forward(self, hidden: Tensor, mask: Tensor, past: Sequence[LayerPast], read_mask: Tensor) -> Tensor:
        for layer, layer_past in zip(self.layers, past, strict=True):
            hidden = layer(hidden, mask, layer_past, read_mask)
        return hidden


class _Body(nn.Module):
    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        width = config["d_model"]
        self.shared = nn.Embedding(config["vocab_size"], width)
        self.position = nn.Embedding(config["max_position_embeddings"], width)
        self.encoder = _Encoder(
            config["encoder_layers"], width, config["encoder_attention_heads"], config["encoder_ffn_dim"]
        )
        self.decoder = _Decoder(
            config["decoder_layers"], width, config["decoder_attention_heads"], config["decoder_ffn_dim"]
        )


class PingPongMeenaNetwork(nn.Module):
    """The network under the original's names, its output tied to the token embeddings."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.decoder_start: int = config["max_encoder_length"]
        self.model = _Body(config)

    def encode(self, ids: Tensor, present: Tensor) -> Tensor:
        """Read contexts (B, S) that are padded on the right, where `present` (B, S) is False: (B, S, E)."""
        hidden: Tensor = self.model.encoder(self._embedded(ids, 0), present[:, None, None, :])
        return hidden

    def begin(self, read: Tensor) -> list[LayerPast]:
        """The decoder's past over the encoder's output, nothing written yet."""
        return self.model.decoder.begin(read)

    def decode(self, ids: Tensor, present: Tensor, past: Sequence[LayerPast], read_present: Tensor) -> Tensor:
        """Hidden states (B, T, E) of the tokens (B, T) that come after `past`, which is extended in place.

        `present` (B, S), over past and new tokens, and `read_present`, over the context, are False at padding.
        """
        total = present.shape[1]
        before, _ = causal(ids.shape[1], total, ids.device)
        mask = before & present[:, None, None, :]  # (B, 1, T, S)
        embedded = self._embedded(ids, self.decoder_start + total - ids.shape[1])
        hidden: Tensor = self.model.decoder(embedded, mask, past, read_present[:, None, None, :])
        return hidden

    def scores(self, hidden: Tensor) -> Tensor:
        """Scores of the token that follows, (..., E) to (..., V)."""
        return F.linear(hidden, self.model.shared.weight)

    def _embedded(self, ids: Tensor, start: int) -> Tensor:
        tokens, places = self.model.shared, self.model.position
        positions = torch.arange(start, start + ids.shape[1], device=ids.device)
        embedded: Tensor = tokens(ids) * math.sqrt(tokens.embedding_dim) + places(positions)
        return embedded


class PingPongMeenaModel:
    """See `bot.generator.models.base.LanguageModel`."""

    def __init__(self, network: PingPongMeenaNetwork, bos_token_id: int) -> None:
        self.network = network
        self.weights = sum(parameter.numel() for parameter in network.parameters())
        self.vocabulary = network.model.shared.num_embeddings
        self._bos = bos_token_id
        # Contexts beyond `max_encoder_length` run into the positions that the decoder was trained with; the original
        # reads them all the same.
        self.context_limit = network.model.position.num_embeddings

    @classmethod
    def load(cls, checkpoint: Checkpoint, device: torch.device, dtype: torch.dtype) -> "PingPongMeenaModel":
        """From a checkpoint. Raises CheckpointError."""
        return cls(fitted(PingPongMeenaNetwork, checkpoint, device, dtype), checkpoint.config["bos_token_id"])

    @property
    def device(self) -> torch.device:
        """See `LanguageModel.device`."""
        return self.network.model.shared.weight.device

    def sequence(self, ids: Sequence[int]) -> tuple[int, ...]:
        """See `LanguageModel.sequence`: what the decoder begins with."""
        return (self._bos,)

    def room(self, context_tokens: int) -> int:
        """See `LanguageModel.room`: the decoder has positions of its own, one for each token but the last."""
        return self.network.model.position.num_embeddings - self.network.decoder_start

    def read(self, prompts: Sequence[Prompt]) -> tuple[Tensor, "PingPongMeenaReading"]:
        """See `LanguageModel.read`."""
        longest = max(len(prompt.ids) for prompt in prompts)
        pads = [longest - len(prompt.ids) for prompt in prompts]
        ids = torch.tensor(
            [list(prompt.ids) + [0] * pad for pad, prompt in zip(pads, prompts, strict=True)], device=self.device
        )  # (B, S)
        present = torch.tensor([[True] * (longest - pad) + [False] * pad for pad in pads], device=self.device)  # (B, S)
        reading = PingPongMeenaReading(self.network, self.network.encode(ids, present), present)
        return reading.feed(torch.full((len(prompts),), self._bos, device=self.device)), reading


class PingPongMeenaReading:
    """Keys and values of every row so far. See `bot.generator.models.base.Reading`."""

    def __init__(self, network: PingPongMeenaNetwork, read: Tensor, read_present: Tensor) -> None:
        self._network = network
        self._past = network.begin(read)
        self._read_present = read_present  # (B, S)
        self._written = 0  # tokens a row

    def feed(self, tokens: Tensor) -> Tensor:
        """See `Reading.feed`."""
        self._written += 1
        present = self._read_present.new_ones(len(tokens), self._written)
        hidden = self._network.decode(tokens[:, None], present, self._past, self._read_present)
        return self._network.scores(hidden[:, -1]).float()

    def select(self, index: Tensor) -> None:
        """See `Reading.select`."""
        self._read_present = self._read_present[index]
        for layer in self._past:
            layer.select(index)
