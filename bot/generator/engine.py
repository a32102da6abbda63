"""The engine's face: what a generator can do, and how to get one. Imports torch only when one is loaded."""

from collections.abc import Sequence
from typing import Protocol

from bot.generator.candidates import Candidate, GenerationRequest
from bot.generator.checkpoints import locate
from bot.generator.dialects.base import Dialect


class Generator(Protocol):
    """Writes replies to contexts. One call at a time; calls block."""

    @property
    def dialect(self) -> Dialect:
        """How contexts are written for this model."""

    @property
    def revision(self) -> str:
        """A short name for exactly these weights, tokenizer and config."""

    @property
    def context_limit(self) -> int:
        """Positions of the model, in tokens: context and reply together never exceed it."""

    def generate(self, requests: Sequence[GenerationRequest]) -> list[list[Candidate]]:
        """Candidates for each request, in order, all decoded together.

        A request for which the model computed no finite numbers gets no candidate at all; its neighbours are not
        affected. Raises GenerationFailed if a request cannot be answered (no room for a reply, no memory).
        """


def load_generator(checkpoint: str, *, dialect: str = "auto", device: str = "auto", dtype: str = "auto") -> Generator:
    """Load a GPT-2 language model: "starter", a directory, or a hub id. Raises CheckpointError.

    `dialect` "auto" is the one recorded in the checkpoint's config, else DialoGPT's. `device`: auto, cpu, cuda,
    cuda:1, mps. `dtype`: auto (float32 on a CPU), float32, bfloat16, float16.
    """
    directory = locate(checkpoint, starter="generator")
    from bot.generator.decoder import Decoder

    return Decoder.load(directory, dialect=dialect, device=device, dtype=dtype)
