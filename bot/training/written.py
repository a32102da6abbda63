"""Replies of a generator to many talks, each by itself: what a ranker learns to refuse and a small model to imitate."""

import random
from collections.abc import Iterator, Sequence

from bot.generator.candidates import Candidate, GenerationRequest
from bot.generator.decoding import Decoding
from bot.generator.dialects.base import Utterance
from bot.generator.engine import Generator

ROWS = 64
"""Talks that are answered together."""


def written(
    talks: Sequence[Sequence[Utterance]],
    generator: Generator,
    decoding: Decoding,
    rng: random.Random,
    *,
    most_tokens: int,
    persona: Sequence[str] = (),
) -> Iterator[tuple[int, list[Candidate]]]:
    """The number of each talk with its candidates, shortest talks first. Raises GenerationFailed.

    `most_tokens` of a talk are read, its newest.
    """
    longest = min(most_tokens, generator.context_budget(decoding.max_new_tokens))
    contexts = [tuple(generator.dialect.encode(talk, longest, persona)) for talk in talks]
    by_length = sorted(range(len(talks)), key=lambda number: len(contexts[number]))
    for start in range(0, len(talks), ROWS):
        part = by_length[start : start + ROWS]  # of about equal length, or the short ones are mostly padding
        requests = [
            GenerationRequest(input_ids=contexts[number], decoding=decoding, seed=rng.getrandbits(63))
            for number in part
        ]
        yield from zip(part, generator.generate(requests), strict=True)
