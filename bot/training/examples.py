"""From dialogues to batches of token ids, written by the same dialect that inference uses."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import Dataset

from bot.generator.dialects.base import BOT, IGNORED, Dialect, Utterance
from bot.training.corpora.dialogue import Dialogue
from bot.training.corpora.registry import PERSON, Corpus, corpus_named

_EARLY_EXPONENT = 1.6
"""Where early corpora lie in a run: position = uniform ** exponent, so their share falls from above to below even."""

_STRETCH = 2048
"""Examples that are sorted by length together; a batch holds examples of one stretch only."""


@dataclass(frozen=True, slots=True)
class Share:
    """How often a corpus is read in one epoch: 2 is twice, each time varied; 0.5 is half of it."""

    corpus: str
    weight: float


@dataclass(frozen=True, slots=True)
class EncodedDialogue:
    """Ids and labels of a whole dialogue, and its place in the run between 0 and 1."""

    input_ids: np.ndarray
    labels: np.ndarray
    place: float


def utterances_of(dialogue: Dialogue) -> list[Utterance]:
    """Speakers alternate, the person first."""
    return [Utterance(PERSON if n % 2 == 0 else BOT, text) for n, text in enumerate(dialogue.turns)]


def encode_dialogues(
    dialect: Dialect, dialogues: Iterable[Dialogue], corpus: Corpus, max_tokens: int, rng: random.Random
) -> list[EncodedDialogue]:
    """Write dialogues as examples; those from which nothing can be learned are left out."""
    encoded = []
    for dialogue in dialogues:
        example = dialect.example(utterances_of(dialogue), corpus.learned_speakers, max_tokens)
        if all(label == IGNORED for label in example.labels):
            continue
        place = rng.random() ** (_EARLY_EXPONENT if corpus.early else 1.0)
        ids, labels = np.array(example.input_ids, np.int32), np.array(example.labels, np.int32)
        encoded.append(EncodedDialogue(ids, labels, place))
    return encoded


def training_examples(
    dialect: Dialect, shares: Sequence[Share], max_tokens: int, rng: random.Random
) -> list[EncodedDialogue]:
    """Every dialogue of one epoch. A share of 2.5 is two whole passes and half of a third."""
    examples: list[EncodedDialogue] = []
    for share in shares:
        corpus = corpus_named(share.corpus)
        left = share.weight
        while left > 0:
            dialogues = list(corpus.training_pass(rng))
            part = dialogues[: round(len(dialogues) * min(left, 1.0))]
            examples += encode_dialogues(dialect, part, corpus, max_tokens, rng)
            left -= 1.0
    return examples


class Batches(Dataset[dict[str, torch.Tensor]]):
    """Padded batches of about equal size and of dialogues of about equal length, in the order of their places.

    No mask is needed: padding stands on the right, where causal attention does not look, and has no label.
    Dialogues never share a row, so none attends to another.
    """

    def __init__(self, examples: Sequence[EncodedDialogue], tokens_per_batch: int, pad_id: int, seed: int) -> None:
        self._pad_id = pad_id
        self._batches: list[list[EncodedDialogue]] = []
        rng = random.Random(seed)
        ordered = sorted(examples, key=lambda example: example.place)
        for start in range(0, len(ordered), _STRETCH):
            stretch = sorted(ordered[start : start + _STRETCH], key=lambda example: len(example.input_ids))
            batches = list(_cut(stretch, tokens_per_batch))
            rng.shuffle(batches)
            self._batches += batches

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        batch = self._batches[number]
        longest = max(len(example.input_ids) for example in batch)
        ids = np.full((len(batch), longest), self._pad_id, np.int64)  # (B, T)
        labels = np.full((len(batch), longest), IGNORED, np.int64)  # (B, T)
        for row, example in enumerate(batch):
            ids[row, : len(example.input_ids)] = example.input_ids
            labels[row, : len(example.labels)] = example.labels
        return {"input_ids": torch.from_numpy(ids), "labels": torch.from_numpy(labels)}


def _cut(examples: Sequence[EncodedDialogue], tokens_per_batch: int) -> Iterable[list[EncodedDialogue]]:
    batch: list[EncodedDialogue] = []
    for example in examples:  # ascending lengths, so the newest is the longest
        if batch and (len(batch) + 1) * len(example.input_ids) > tokens_per_batch:
            yield batch
            batch = []
        batch.append(example)
    if batch:
        yield batch
