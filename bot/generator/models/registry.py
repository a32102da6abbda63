"""From a checkpoint to the network that its weights belong to."""

import torch
from transformers import GPT2LMHeadModel, OpenAIGPTLMHeadModel

from bot.generator.errors import CheckpointError
from bot.generator.formats.base import Architecture, Checkpoint, Role
from bot.generator.loading import load_model
from bot.generator.models.base import LanguageModel
from bot.generator.models.causal import CausalModel
from bot.generator.models.native import causal_family
from bot.generator.models.openai_gpt import OpenAIGPTModel
from bot.generator.models.pingpong_gpt import PingPongGPTModel
from bot.generator.models.pingpong_meena import PingPongMeenaModel


def load_language_model(checkpoint: Checkpoint, device: torch.device, dtype: torch.dtype) -> LanguageModel:
    """Every weight comes from the checkpoint, or CheckpointError."""
    if checkpoint.role is not Role.GENERATOR:
        raise CheckpointError(
            f"{checkpoint.path}: this is a {checkpoint.role}, it cannot write replies. Name a generator."
        )
    if checkpoint.architecture is Architecture.GPT2:
        return CausalModel(load_model(GPT2LMHeadModel, checkpoint, device, dtype))
    if checkpoint.architecture is Architecture.CAUSAL:
        return CausalModel(load_model(causal_family(checkpoint), checkpoint, device, dtype))
    if checkpoint.architecture is Architecture.OPENAI_GPT:
        return OpenAIGPTModel(load_model(OpenAIGPTLMHeadModel, checkpoint, device, dtype))
    if checkpoint.architecture is Architecture.PINGPONG_GPT:
        return PingPongGPTModel.load(checkpoint, device, dtype)
    if checkpoint.architecture is Architecture.PINGPONG_MEENA:
        return PingPongMeenaModel.load(checkpoint, device, dtype)
    raise CheckpointError(f"{checkpoint.path}: there is no network for {checkpoint.architecture}.")
