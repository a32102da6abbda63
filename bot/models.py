"""The models as the worker uses them: loaded once, called through one batch, replaced never while it runs.

The door between plain asyncio and the generator package; importing this module imports no torch.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from bot.config import ChannelSettings, Config, RankerHead
from bot.context import Context
from bot.generator.batching import Batcher
from bot.generator.candidates import Candidate, GenerationRequest
from bot.generator.engine import Generator, load_generator
from bot.generator.errors import GeneratorError
from bot.generator.ranking.base import Ranker
from bot.generator.ranking.ranker import load_ranker

log = logging.getLogger(__name__)

TURNS, TOKENS = 8, 256
"""How much of a talk is read where neither config.yaml nor the checkpoint's own chat program says."""

MOST_TURNS = 100
"""Turns that are read at most, where the checkpoint's own chat program knows no limit."""

_ROOM = 48
"""Tokens kept free for a reply; a reply that may be longer takes them where the context leaves them."""


class Models:
    """Generator and rankers of one worker. `load` blocks for seconds and raises CheckpointError."""

    def __init__(self, generator: Generator, device: str, dtype: str) -> None:
        self.generator = generator
        self.batcher = Batcher(generator)
        self._device = device
        self._dtype = dtype
        self._rankers: dict[tuple[str, str], Ranker | None] = {}  # by name and checkpoint

    @classmethod
    def load(cls, config: Config) -> "Models":
        model = config.model
        with _told_of("model.checkpoint"):
            generator = load_generator(model.checkpoint, dialect=model.dialect, device=model.device, dtype=model.dtype)
        models = cls(generator, model.device, model.dtype)
        for group, heads in (("prior", config.ranking.prior), ("cond", config.ranking.cond)):
            for number, head in enumerate(heads):
                with _told_of(f"ranking.{group}[{number}].checkpoint"):
                    models._rankers[head.name, head.checkpoint] = models._load_ranker(head)
        return models

    @property
    def one_line(self) -> bool:
        """Whether the model reads a line break as a space."""
        return self.generator.dialect.habits.one_line

    @property
    def ranker_revisions(self) -> dict[str, str]:
        return {name: ranker.revision for (name, _), ranker in self._rankers.items() if ranker is not None}

    def settled(self, settings: ChannelSettings) -> ChannelSettings:
        """The settings, with what they leave to the model filled in: decoding, and how much of a talk is read."""
        habits, history = self.generator.dialect.habits, settings.history
        original = settings.decoding.preset == "original"
        limits = {
            "turns": history.turns or habits.turns or (MOST_TURNS if original else TURNS),
            "tokens": history.tokens or (self.generator.context_budget(0) if original else TOKENS),
        }
        return settings.model_copy(
            update={
                "decoding": settings.decoding.over(habits.decoding),
                "history": history.model_copy(update=limits),
            }
        )

    def encode(self, context: Context, settings: ChannelSettings) -> tuple[int, ...]:
        """The context as token ids, within the budget of settled settings and with room for the reply."""
        decoding = settings.decoding
        room = min(decoding.max_new_tokens, _ROOM)
        if decoding.max_length:  # where both together are short, most of it is the talk's
            room = min(room, max(1, decoding.max_length // 4))
        budget = min(settings.history.tokens or TOKENS, self.generator.context_budget(room, decoding.max_length))
        return tuple(self.generator.dialect.encode(context.utterances, max(1, budget), context.persona))

    async def generate(self, request: GenerationRequest) -> Sequence[Candidate]:
        return await self.batcher.generate(request)

    async def score(self, head: RankerHead, turns: Sequence[str], replies: Sequence[str]) -> Sequence[float] | None:
        """One head's scores; None, once reported, where the head cannot be loaded or fails."""
        key = head.name, head.checkpoint
        if key not in self._rankers:
            self._rankers[key] = await self.batcher.run(self._load_or_report, head)
        ranker = self._rankers[key]
        if ranker is None:
            return None
        try:
            return await self.batcher.score(ranker, turns, replies)
        except Exception:
            log.exception("ranker_failed", extra={"ranker": head.name})
            return None

    def _load_ranker(self, head: RankerHead) -> Ranker:
        return load_ranker(head.checkpoint, name=head.name, device=self._device, dtype=self._dtype)

    def _load_or_report(self, head: RankerHead) -> Ranker | None:
        try:
            return self._load_ranker(head)
        except GeneratorError as error:
            log.error("ranker_unusable", extra={"ranker": head.name, "error": str(error)})
            return None

    def close(self) -> None:
        self.batcher.close()


@contextmanager
def _told_of(key: str) -> Iterator[None]:
    """Say which key of config.yaml named the checkpoint that cannot be used."""
    try:
        yield
    except GeneratorError as error:
        raise type(error)(f"{key}: {error}") from error
