"""The engine's face: what a generator can do, and how to get one. Imports torch only when one is loaded."""

from collections.abc import Sequence
from typing import Protocol

from bot.generator.candidates import Candidate, GenerationRequest
from bot.generator.damage import reported
from bot.generator.dialects.base import Dialect
from bot.generator.formats.registry import open_checkpoint


class Generator(Protocol):
    """Writes replies to contexts. One call at a time; calls block."""

    @property
    def dialect(self) -> Dialect:
        """How contexts are written for this model."""

    @property
    def revision(self) -> str:
        """A short name for exactly these weights, tokenizer and config."""

    @property
    def last_step(self) -> float:
        """When the model last computed a token, on time.monotonic's clock; 0.0 before the first."""

    def context_budget(self, reply_tokens: int, max_length: int = 0) -> int:
        """Longest context, in tokens, after which a reply of so many tokens still fits.

        `max_length` is that of the decoding settings; 0: there is none.
        """

    def generate(self, requests: Sequence[GenerationRequest]) -> list[list[Candidate]]:
        """Candidates for each request, in order, all decoded together.

        A request for which the model computed no finite numbers gets no candidate at all; its neighbours are not
        affected. Raises GenerationFailed if a request cannot be answered (no room for a reply, no memory).
        """


def load_generator(checkpoint: str, *, dialect: str = "auto", device: str = "auto", dtype: str = "auto") -> Generator:
    """Load a language model: "starter", a path, or a hub id. Raises CheckpointError.

    `dialect` "auto" is the one of the checkpoint's format. `device`: auto, cpu, cuda, cuda:1, mps. `dtype`: auto
    (float32 on a CPU), float32, bfloat16, float16.
    """
    with reported(checkpoint):
        found = open_checkpoint(checkpoint)
        from bot.generator.decoder import Decoder

        return Decoder.load(found, dialect=dialect, device=device, dtype=dtype)
