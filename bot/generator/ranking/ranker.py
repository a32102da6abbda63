"""Loads rankers. Imports torch only when one is loaded."""

from bot.generator.damage import reported
from bot.generator.formats.chitchat import reverse_model
from bot.generator.formats.registry import open_checkpoint
from bot.generator.ranking.base import Ranker

CANDIDATE_HEAD = "candidate_head"
"""The ranker that TransferTransfo's second head is: see `bot.generator.ranking.candidate_head`."""

MUTUAL_INFORMATION = "mutual_information"
"""The ranker that every generator is: see `bot.generator.ranking.mutual_information`."""

REVERSE = "reverse"
"""The ranker that a model of reversed dialogues is: see `bot.generator.ranking.reverse`."""


def load_ranker(checkpoint: str, *, name: str, device: str = "auto", dtype: str = "auto") -> Ranker:
    """Load a ranker from "starter", a directory, or a hub id. Raises CheckpointError.

    The checkpoint is a GPT2ForSequenceClassification head; for the name `mutual_information` it is a generator,
    for `reverse` a generator that was trained on reversed dialogues, or a GPT2-chitchat project that has one; for
    `candidate_head` a TransferTransfo generator that kept its second head.
    """
    with reported(checkpoint):
        return _loaded(checkpoint, name, device, dtype)


def _loaded(checkpoint: str, name: str, device: str, dtype: str) -> Ranker:
    if name == MUTUAL_INFORMATION:
        from bot.generator.ranking.mutual_information import MutualInformation

        return MutualInformation.load(open_checkpoint(checkpoint), name=name, device=device, dtype=dtype)
    if name == REVERSE:
        from bot.generator.ranking.reverse import Reverse

        return Reverse.load(open_checkpoint(reverse_model(checkpoint)), name=name, device=device, dtype=dtype)
    if name == CANDIDATE_HEAD:
        from bot.generator.ranking.candidate_head import CandidateHead

        return CandidateHead.load(open_checkpoint(checkpoint), name=name, device=device, dtype=dtype)
    from bot.generator.ranking.ensemble import ensemble_file, load_ensemble

    ensemble = ensemble_file(checkpoint)
    if ensemble is not None:
        return load_ensemble(ensemble, name=name, device=device, dtype=dtype)
    from bot.generator.ranking.head import Head

    found = open_checkpoint(checkpoint, starter="ranker")
    return Head.load(found, name=name, device=device, dtype=dtype)
