"""Whether a configuration describes a network that can be built at all. Imports no torch.

Wrong sizes would otherwise surface deep in a library, or take all memory before anything is compared with the weights.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from bot.generator.errors import CheckpointError
from bot.generator.formats.base import Architecture, Checkpoint

_LAYERS = 1_000
_HEADS = 10_000
_WIDTH = 1_000_000
_IDS = 100_000_000
"""Far above any model of these families, far below what exhausts a machine before the weights are compared."""


@dataclass(frozen=True, slots=True)
class _Sizes:
    """Most that each size may be, and which sizes must be a multiple of which number of heads."""

    most: Mapping[str, int]
    multiples: tuple[tuple[str, str], ...]
    optional: frozenset[str] = frozenset()


_GPT2 = _Sizes(
    most={
        "n_layer": _LAYERS,
        "n_head": _HEADS,
        "n_embd": _WIDTH,
        "n_inner": _WIDTH,
        "n_positions": _IDS,
        "n_ctx": _IDS,
        "vocab_size": _IDS,
        "num_labels": _HEADS,
    },
    multiples=(("n_embd", "n_head"),),
    optional=frozenset({"n_inner", "n_ctx"}),
)
_MEENA = _Sizes(
    most={
        "encoder_layers": _LAYERS,
        "decoder_layers": _LAYERS,
        "encoder_attention_heads": _HEADS,
        "decoder_attention_heads": _HEADS,
        "d_model": _WIDTH,
        "encoder_ffn_dim": _WIDTH,
        "decoder_ffn_dim": _WIDTH,
        "max_position_embeddings": _IDS,
        "max_encoder_length": _IDS,
        "vocab_size": _IDS,
    },
    multiples=(("d_model", "encoder_attention_heads"), ("d_model", "decoder_attention_heads")),
)
_BY_ARCHITECTURE = {
    Architecture.GPT2: _GPT2,
    Architecture.OPENAI_GPT: _GPT2,
    Architecture.PINGPONG_GPT: _GPT2,
    Architecture.PINGPONG_MEENA: _MEENA,
}


def check_sizes(checkpoint: Checkpoint) -> None:
    """Raises CheckpointError for sizes that no network has. A size that is not given has its class's default."""
    sizes = _BY_ARCHITECTURE.get(checkpoint.architecture)
    if sizes is None:
        return
    given = {name: checkpoint.config[name] for name in sizes.most if name in checkpoint.config}
    for name, value in given.items():
        if value is None and name in sizes.optional:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= sizes.most[name]:
            raise CheckpointError(
                f"{checkpoint.path}: its configuration says {name} is {value!r:.40}; it must be a whole number from 1 "
                f"to {sizes.most[name]}. Take the config.json that belongs to these weights."
            )
    for width, heads in sizes.multiples:
        if width in given and heads in given and given[width] % given[heads]:
            raise CheckpointError(
                f"{checkpoint.path}: its configuration says {width} is {given[width]} and {heads} is {given[heads]}; "
                "the first must be a multiple of the second. Take the config.json that belongs to these weights."
            )
