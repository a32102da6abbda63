"""DialogRPT's generator with its rankers: every reply that the search finished, and the order that mixing makes."""

from dataclasses import dataclass
from typing import Any

from bot.generator.decoder import Decoder
from bot.generator.dialects.base import Utterance
from bot.generator.dialects.dialogpt import DialoGPT
from bot.generator.errors import CheckpointError
from bot.generator.formats.registry import open_checkpoint
from bot.generator.models.base import Prompt
from bot.generator.ranking.combine import mix
from bot.generator.search.dialogrpt import Hypothesis, clean_up, dialogrpt_beam, dialogrpt_sampling
from bot.scoring.tasks import Judge

STEPS = 30
"""Most tokens of a reply in the original."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """The options of the original's generation script, under its names."""

    topk: int
    beam: int
    topp: float
    sampling: bool
    temperature: float
    n_hyp: int


class Generation:
    """A DialoGPT generator and how it searches."""

    def __init__(self, checkpoint: str, device: str, search: Search) -> None:
        """Raises CheckpointError."""
        decoder = Decoder.load(open_checkpoint(checkpoint), dialect="auto", device=device, dtype="float32")
        if not isinstance(decoder.dialect, DialoGPT):
            raise CheckpointError(
                f"{checkpoint}: this generator speaks {decoder.dialect.name}, DialogRPT's search needs one that speaks "
                f"{DialoGPT.name}."
            )
        self._dialect = decoder.dialect
        self._model = decoder.model
        self._search = search

    def answer(self, turns: list[str], judge: Judge, wt_ranker: float) -> dict[str, Any]:
        """The ids of the context, what the search finished, and `[score, probability, ranker's score, text]` each,
        best first; nothing finished gives empty lists."""
        utterances = [Utterance(1, turn.strip()) for turn in turns]
        ids = self._dialect.encode(utterances, max(1, self._model.room(STEPS - 1)))
        found = [(one.probability, clean_up(self._dialect.decode(one.token_ids))) for one in self._found(tuple(ids))]
        scores = judge.overall([(turns, text) for _, text in found]) if found else []
        ranked = [
            (mix(score, probability, wt_ranker), probability, score, text)
            for score, (probability, text) in zip(scores, found, strict=True)
        ]
        return {
            "turns": turns,
            "input_ids": ids,
            "finished": [list(one) for one in found],
            "ranked": [list(one) for one in sorted(ranked, reverse=True)],
        }

    def _found(self, ids: tuple[int, ...]) -> list[Hypothesis]:
        search, stop = self._search, min(self._dialect.stop_ids)
        if search.sampling:
            return dialogrpt_sampling(
                self._model,
                Prompt(ids),
                stop,
                temperature=search.temperature,
                count=search.n_hyp,
                max_new_tokens=STEPS,
            )
        return dialogrpt_beam(
            self._model,
            Prompt(ids),
            stop,
            top_k=search.topk,
            beams=search.beam,
            top_p=search.topp,
            max_new_tokens=STEPS,
        )
