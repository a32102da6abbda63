"""Score a reply by how much the talk raises its probability (Li et al. 2016, arXiv:1510.03055: MMI-antiLM).

A language model likes "I'm glad." after anything. What the same model expects much more after these turns than after
none at all was said to the point. Needs no training: any generator is such a ranker.
"""

import math
from collections.abc import Sequence

from bot.generator.checkpoints import revision_of
from bot.generator.dialects.base import BOT, IGNORED, Dialect, TrainingExample, Utterance
from bot.generator.formats.base import Checkpoint
from bot.generator.ranking.base import Pair
from bot.generator.ranking.likelihood import PERSON, WHOLE, Likelihood, learned_tokens, speaking

_NOTHING = (Utterance(PERSON, ""),)
"""The talk before which nothing was said: one empty turn."""


class MutualInformation:
    """See `bot.generator.ranking.base.Ranker`.

    With x the mean over the reply's tokens of log p(token | talk) - log p(token | nothing), the score is
    1 / (1 + e^-x): one half where the talk does not matter.
    """

    def __init__(self, model: Likelihood, name: str, revision: str) -> None:
        self.name = name
        self.revision = revision
        self._model = model

    @classmethod
    def load(cls, checkpoint: Checkpoint, *, name: str, device: str, dtype: str) -> "MutualInformation":
        """From a generator. Raises CheckpointError."""
        return cls(Likelihood.load(checkpoint, device=device, dtype=dtype), name, revision_of(checkpoint.files))

    def score(self, pairs: Sequence[Pair]) -> list[float]:
        """See `Ranker.score`."""
        given = [self._example(speaking(turns) or _NOTHING, reply) for turns, reply in pairs]
        alone = [self._example(_NOTHING, reply) for _, reply in pairs]
        gains = zip(self._model.log_probs(given), self._model.log_probs(alone), given, strict=True)
        return [_sigmoid((after - before) / learned_tokens(example)) for after, before, example in gains]

    def _example(self, talk: Sequence[Utterance], reply: str) -> TrainingExample:
        """The reply is learned, the talk is not; a talk that is too long loses its oldest turns."""
        dialect, limit = self._model.dialect, self._model.limit
        tokens = reply_ids(dialect, reply)[-(limit - len(dialect.encode(_NOTHING, limit))) :]
        context = dialect.encode(talk, limit - len(tokens))
        types = dialect.type_ids(context)
        return TrainingExample(
            (*context, *tokens),
            (*[IGNORED] * len(context), *tokens),
            None if types is None else (*types, *types[-1:] * len(tokens)),
        )


def reply_ids(dialect: Dialect, reply: str) -> list[int]:
    """What a model writes after a context to give this reply, the end included."""
    whole = dialect.example((*_NOTHING, Utterance(BOT, reply.strip())), {BOT}, WHOLE).input_ids
    return list(whole[len(dialect.encode(_NOTHING, WHOLE)) :])


def _sigmoid(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x)) if x >= 0 else math.exp(x) / (1.0 + math.exp(x))
