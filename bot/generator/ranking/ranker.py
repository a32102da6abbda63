"""Loads rankers. Imports torch only when one is loaded."""

from bot.generator.formats.registry import open_checkpoint
from bot.generator.ranking.base import Ranker

MUTUAL_INFORMATION = "mutual_information"
"""The ranker that every generator is: see `bot.generator.ranking.mutual_information`."""


def load_ranker(checkpoint: str, *, name: str, device: str = "auto", dtype: str = "auto") -> Ranker:
    """Load a ranker from "starter", a directory, or a hub id. Raises CheckpointError.

    The checkpoint is a GPT2ForSequenceClassification head; for the name `mutual_information` it is a generator.
    """
    if name == MUTUAL_INFORMATION:
        from bot.generator.ranking.mutual_information import MutualInformation

        return MutualInformation.load(open_checkpoint(checkpoint), name=name, device=device, dtype=dtype)
    found = open_checkpoint(checkpoint, starter="ranker")
    from bot.generator.ranking.head import Head

    return Head.load(found, name=name, device=device, dtype=dtype)
