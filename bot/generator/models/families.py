"""Which class of transformers a checkpoint's weights belong to."""

from typing import Any

from transformers import GPT2ForSequenceClassification, GPT2LMHeadModel, OpenAIGPTLMHeadModel

from bot.generator.formats.base import Architecture, Checkpoint, Role
from bot.generator.models.native import causal_family

_FAMILIES: dict[tuple[Architecture, Role], Any] = {
    (Architecture.GPT2, Role.GENERATOR): GPT2LMHeadModel,
    (Architecture.GPT2, Role.RANKER): GPT2ForSequenceClassification,
    (Architecture.OPENAI_GPT, Role.GENERATOR): OpenAIGPTLMHeadModel,
}


def family_of(checkpoint: Checkpoint) -> Any:
    """The class, or None where the network is one of our own. Raises CheckpointError for an unknown one."""
    if checkpoint.architecture is Architecture.CAUSAL:
        return causal_family(checkpoint)
    return _FAMILIES.get((checkpoint.architecture, checkpoint.role))
