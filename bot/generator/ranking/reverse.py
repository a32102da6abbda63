"""Score a reply by how well a model that was trained backwards tells from it what was said before.

Two families have such models: DialoGPT's gives P(source | reply) (Zhang et al. 2020, arXiv:1911.00536, section 3.2),
GPT2-chitchat's MMI model the mean loss over the reply and the talk behind it.
"""

import math
from collections.abc import Sequence

from bot.generator.checkpoints import revision_of
from bot.generator.dialects.base import BOT, TrainingExample, Utterance
from bot.generator.dialects.chitchat import Chitchat
from bot.generator.formats.base import Checkpoint
from bot.generator.ranking.base import Pair
from bot.generator.ranking.likelihood import PERSON, WHOLE, Likelihood, learned_tokens, speaking

TURNS = {Chitchat.name: 5}
"""How many turns of the talk, the newest, a family's own program tells backwards; every turn where it sets no limit."""

_EVERYBODY = frozenset({BOT, PERSON})


class Reverse:
    """See `bot.generator.ranking.base.Ranker`. The dialect decides what of the reversed talk is predicted.

    With x the mean loss (cross entropy) over what is predicted, the score is e^-x, the geometric mean of its
    probabilities: the lowest loss wins, as in the originals. To no talk at all every reply fits, with score 1.
    """

    def __init__(self, model: Likelihood, name: str, revision: str) -> None:
        self.name = name
        self.revision = revision
        self.limit = model.limit
        """Most tokens of a reply and the talk together."""
        self._model = model

    @classmethod
    def load(cls, checkpoint: Checkpoint, *, name: str, device: str, dtype: str) -> "Reverse":
        """From a model that was trained on reversed dialogues. Raises CheckpointError."""
        return cls(Likelihood.load(checkpoint, device=device, dtype=dtype), name, revision_of(checkpoint.files))

    def score(self, pairs: Sequence[Pair]) -> list[float]:
        """See `Ranker.score`."""
        losses = self.losses([self.example(turns, reply) for turns, reply in pairs])
        return [math.exp(-loss) if turns else 1.0 for (turns, _), loss in zip(pairs, losses, strict=True)]

    def losses(self, examples: Sequence[TrainingExample]) -> list[float]:
        """The mean cross entropy over each example's labels; infinite where there are none."""
        log_probs = self._model.log_probs(examples)
        return [
            -log_prob / learned_tokens(example) if learned_tokens(example) else math.inf
            for example, log_prob in zip(examples, log_probs, strict=True)
        ]

    def example(self, turns: Sequence[str], reply: str) -> TrainingExample:
        """The reply, then the talk from its newest turn to its oldest; what is too long is cut off at the old end."""
        dialect, limit = self._model.dialect, self._model.limit
        newest = speaking(turns)[-TURNS.get(dialect.name, len(turns)) :]
        talk = (Utterance(BOT, reply.strip()), *reversed(newest))
        example = dialect.example(talk, _EVERYBODY, WHOLE)
        return TrainingExample(
            example.input_ids[:limit],
            example.labels[:limit],
            None if example.type_ids is None else example.type_ids[:limit],
        )
