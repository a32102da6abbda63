"""When the model last did something: a slow model must not be taken for one that hangs."""

import time
from collections.abc import Sequence

import torch
from torch import Tensor

from bot.generator.models.base import LanguageModel, Prompt, Reading


class Pulse:
    """A language model that notes the time of each step. See `bot.generator.models.base.LanguageModel`.

    `last_step` is on time.monotonic's clock, in seconds; 0.0 before the first.
    """

    def __init__(self, model: LanguageModel) -> None:
        self._model = model
        self.device: torch.device = model.device
        self.weights: int = model.weights
        self.vocabulary: int = model.vocabulary
        self.context_limit: int = model.context_limit
        self.last_step = 0.0

    def sequence(self, ids: Sequence[int]) -> tuple[int, ...]:
        """See `LanguageModel.sequence`."""
        return self._model.sequence(ids)

    def room(self, context_tokens: int) -> int:
        """See `LanguageModel.room`."""
        return self._model.room(context_tokens)

    def read(self, prompts: Sequence[Prompt]) -> tuple[Tensor, Reading]:
        """See `LanguageModel.read`."""
        logits, reading = self._model.read(prompts)
        self.last_step = time.monotonic()
        return logits, _PulseReading(self, reading)


class _PulseReading:
    def __init__(self, pulse: Pulse, reading: Reading) -> None:
        self._pulse = pulse
        self._reading = reading

    def feed(self, tokens: Tensor) -> Tensor:
        """See `Reading.feed`."""
        logits = self._reading.feed(tokens)
        self._pulse.last_step = time.monotonic()
        return logits

    def select(self, index: Tensor) -> None:
        """See `Reading.select`."""
        self._reading.select(index)
