"""A generator as it is measured: it reads a talk as in a chat, writes replies, and says what a given reply costs it."""

import math
from collections.abc import Sequence

from bot.generator.candidates import Candidate, GenerationRequest
from bot.generator.decoder import Decoder
from bot.generator.decoding import Decoding
from bot.generator.dialects.base import IGNORED, TrainingExample, Utterance
from bot.generator.engine import load_generator
from bot.generator.models.causal import CausalModel
from bot.generator.ranking.likelihood import PERSON, Likelihood, learned_tokens, speaking
from bot.generator.ranking.mutual_information import MutualInformation, reply_ids
from bot.generator.ranking.ranker import MUTUAL_INFORMATION
from bot.guards import whole_sentences
from bot.training.errors import TrainingError
from bot.training.metrics.perplexity import RowLoss

TURNS = 8
CONTEXT_TOKENS = 256
"""What the bot reads of a talk where its configuration says nothing else."""

_NOBODY = (Utterance(PERSON, ""),)


class Talker:
    """One checkpoint. Calls block."""

    def __init__(self, name: str, generator: Decoder) -> None:
        self.name = name
        self.revision = generator.revision
        self._generator = generator
        model = generator.model
        self._likelihood = Likelihood(model, generator.dialect) if isinstance(model, CausalModel) else None

    @classmethod
    def load(cls, checkpoint: str) -> "Talker":
        """From "starter", a directory, or a hub id. Raises CheckpointError."""
        generator = load_generator(checkpoint)
        assert isinstance(generator, Decoder)
        return cls(checkpoint, generator)

    @property
    def why_no_likelihood(self) -> str | None:
        """Why it cannot say what a given reply costs it; None where it can."""
        if self._likelihood is not None:
            return None
        return f"not computed: a {type(self._generator.model).__name__} does not tell what a given text costs it"

    def candidates(self, context: Sequence[str], decoding: Decoding, seed: int) -> list[Candidate]:
        """Replies to a talk, none where the model's numbers are broken. Raises GenerationFailed."""
        dialect = self._generator.dialect
        newest = speaking(context)[-(dialect.habits.turns or TURNS) :]
        budget = min(CONTEXT_TOKENS, self._generator.context_budget(decoding.max_new_tokens))
        ids = tuple(dialect.encode(newest, max(1, budget)))
        return self._generator.generate([GenerationRequest(input_ids=ids, decoding=decoding, seed=seed)])[0]

    def losses(self, context: Sequence[str], replies: Sequence[str]) -> list[RowLoss] | None:
        """What each reply, its end included, costs after a talk; None: see `why_no_likelihood`."""
        if self._likelihood is None:
            return None
        examples = [self._example(self._likelihood, context, reply) for reply in replies]
        sums = self._likelihood.log_probs(examples)
        return [RowLoss(-sum_, learned_tokens(example)) for sum_, example in zip(sums, examples, strict=True)]

    def probabilities(self, context: Sequence[str], replies: Sequence[str]) -> list[float] | None:
        """The geometric mean of the probabilities of each reply's tokens."""
        losses = self.losses(context, replies)
        return None if losses is None else [math.exp(-loss.mean) for loss in losses]

    def mutual_information(self) -> MutualInformation:
        """The ranker that this generator is. Raises TrainingError where it is none."""
        if self._likelihood is None:
            raise TrainingError(f"{self.name}: no mutual information, {self.why_no_likelihood}. Leave out --mode mmi.")
        return MutualInformation(self._likelihood, MUTUAL_INFORMATION, self.revision)

    def _example(self, likelihood: Likelihood, context: Sequence[str], reply: str) -> TrainingExample:
        """The reply is what counts; a talk that is too long loses its oldest turns, never the reply its words,
        unless it alone is too long."""
        dialect = likelihood.dialect
        room = likelihood.limit - len(dialect.encode(_NOBODY, likelihood.limit))
        tokens = reply_ids(dialect, reply)[-room:]
        before = dialect.encode(speaking(context), likelihood.limit - len(tokens))
        types = dialect.type_ids(before)
        return TrainingExample(
            (*before, *tokens),
            (*[IGNORED] * len(before), *tokens),
            None if types is None else (*types, *types[-1:] * len(tokens)),
        )


def text_of(candidate: Candidate) -> str:
    """What would be posted: a reply that ran into its length limit ends with its last whole sentence, if it has one."""
    if candidate.finished:
        return candidate.text.strip()
    return whole_sentences(candidate.text) or candidate.text.strip()
