"""A right reply and wrong ones after their context, as token ids in padded batches."""

import random
from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Dataset

from bot.generator.dialects.base import BOT, Dialect, Utterance
from bot.training.negatives import Contrast

TOKENS_PER_BATCH = 4096
_STRETCH = 2048

Group = list[list[int]]
"""Token ids of one context with each of several replies, the right one first."""


class ContrastBatches(Dataset[dict[str, torch.Tensor]]):
    """Groups of a right reply and wrong ones after their context, of about equal length, in padded batches.

    `labels` (B) is the row of the real reply for a wrong one, and -1 for a real one; `last` (B) is the last token.
    """

    def __init__(
        self, groups: Sequence[Group], pad_id: int, seed: int, tokens_per_batch: int = TOKENS_PER_BATCH
    ) -> None:
        self._pad_id = pad_id
        rng = random.Random(seed)
        groups = list(groups)
        rng.shuffle(groups)
        self._batches: list[list[Group]] = []
        for start in range(0, len(groups), _STRETCH):
            stretch = sorted(groups[start : start + _STRETCH], key=_width)
            batches = list(_cut(stretch, tokens_per_batch))
            rng.shuffle(batches)
            self._batches += batches

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        rows: list[list[int]] = []
        right: list[int] = []
        for group in self._batches[number]:
            right += [-1, *([len(rows)] * (len(group) - 1))]
            rows += group
        longest = max(map(len, rows))
        return {
            "input_ids": torch.tensor([row + [self._pad_id] * (longest - len(row)) for row in rows]),
            "last": torch.tensor([len(row) - 1 for row in rows]),
            "labels": torch.tensor(right),
        }


def encode_group(contrast: Contrast, dialect: Dialect, max_tokens: int) -> Group:
    """The context with every reply, as a ranker reads it: no end after the reply."""
    return [
        dialect.encode([*contrast.context, Utterance(BOT, reply)], max_tokens + 1)[:-1]
        for reply in (contrast.reply, *contrast.wrong, *contrast.machine)
    ]


def _width(group: Group) -> int:
    return max(map(len, group))


def _cut(groups: Sequence[Group], tokens_per_batch: int) -> Iterator[list[Group]]:
    batch: list[Group] = []
    rows = 0
    for group in groups:  # ascending widths, so the newest is the widest
        if batch and (rows + len(group)) * _width(group) > tokens_per_batch:
            yield batch
            batch, rows = [], 0
        batch.append(group)
        rows += len(group)
    if batch:
        yield batch
