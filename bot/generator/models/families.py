"""Which network a checkpoint's weights belong to, as a class: one of transformers, or one of ours."""

from typing import Any

from transformers import GPT2ForSequenceClassification, GPT2LMHeadModel, OpenAIGPTLMHeadModel

from bot.generator.formats.base import Architecture, Checkpoint, Role
from bot.generator.models.native import causal_family
from bot.generator.models.pingpong_gpt import PingPongGPTNetwork
from bot.generator.models.pingpong_meena import PingPongMeenaNetwork

_FAMILIES: dict[tuple[Architecture, Role], Any] = {
    (Architecture.GPT2, Role.GENERATOR): GPT2LMHeadModel,
    (Architecture.GPT2, Role.RANKER): GPT2ForSequenceClassification,
    (Architecture.OPENAI_GPT, Role.GENERATOR): OpenAIGPTLMHeadModel,
}

OURS: dict[Architecture, Any] = {
    Architecture.PINGPONG_GPT: PingPongGPTNetwork,
    Architecture.PINGPONG_MEENA: PingPongMeenaNetwork,
}
"""Networks that transformers lacks."""


def family_of(checkpoint: Checkpoint) -> Any:
    """The class of transformers, or None where the network is one of `OURS`. Raises CheckpointError."""
    if checkpoint.architecture is Architecture.CAUSAL:
        return causal_family(checkpoint)
    return _FAMILIES.get((checkpoint.architecture, checkpoint.role))
