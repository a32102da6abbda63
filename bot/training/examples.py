"""From dialogues to batches of token ids, written by the same dialect that inference uses."""

import random
import sys
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import torch
from torch.utils.data import Dataset

from bot.generator.dialects.base import BOT, IGNORED, Dialect, TrainingExample, Utterance
from bot.generator.dialects.devjwsong import Devjwsong
from bot.generator.dialects.dialogpt import DialoGPT
from bot.generator.dialects.transfertransfo import TransferTransfo
from bot.training.corpora.dialogpt_tsv import PAIRS
from bot.training.corpora.dialogue import Dialogue
from bot.training.corpora.registry import PERSON, Corpus, corpus_named
from bot.training.dialogpt_features import Feature, features, validation_feature

_EARLY_EXPONENT = 1.6
"""Where early corpora lie in a run: position = uniform ** exponent, so their share falls from above to below even."""

MAX_TURNS = {Devjwsong.name: 5, TransferTransfo.name: 6}
"""Turns of one example of the families that make one a reply, the reply included (devjwsong's --max_turns 5,
transfer-learning-conv-ai's --max_history 2)."""

_EVERYBODY = frozenset({BOT, PERSON})

_STRETCH = 2048
"""Examples that are sorted by length together; a batch holds examples of one stretch only."""


@dataclass(frozen=True, slots=True)
class Share:
    """How often a corpus is read in one epoch: 2 is twice, each time varied; 0.5 is half of it."""

    corpus: str
    weight: float


class Learn(StrEnum):
    """Which tokens of a dialogue are learned."""

    CORPUS = "corpus"
    """The turns of the corpus's learned speakers: the bot's alone, or both sides'."""
    REPLIES = "replies"
    """The bot's turns."""
    DIALOGUE = "dialogue"
    """Every token after the first, whoever said it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """How a dialogue becomes examples. `reverse`: told backwards, for models that choose by mutual information.

    `max_turns` limits an example of the families that make one a reply; None: as their authors do.
    """

    learn: Learn = Learn.CORPUS
    reverse: bool = False
    max_turns: int | None = None


AS_USUAL = Lesson()


@dataclass(frozen=True, slots=True)
class EncodedDialogue:
    """Ids, labels and (where the family has them) token types of a dialogue, and its place in the run, 0 to 1."""

    input_ids: np.ndarray
    labels: np.ndarray
    place: float
    type_ids: np.ndarray | None = None


def utterances_of(dialogue: Dialogue) -> list[Utterance]:
    """Speakers alternate, the person first unless the bot opens."""
    first, second = (BOT, PERSON) if dialogue.bot_opens else (PERSON, BOT)
    return [Utterance(second if n % 2 else first, text) for n, text in enumerate(dialogue.turns)]


def encode_dialogues(
    dialect: Dialect,
    dialogues: Iterable[Dialogue],
    corpus: Corpus,
    max_tokens: int,
    rng: random.Random,
    persona: Sequence[str] = (),
    lesson: Lesson = AS_USUAL,
) -> list[EncodedDialogue]:
    """Write dialogues as examples; those from which nothing can be learned are left out.

    `persona` are sentences about the bot in every dialogue, before those that a dialogue brings along.
    """
    encoded = []
    learned = frozenset({BOT}) if lesson.learn is Learn.REPLIES else corpus.learned_speakers
    for dialogue in dialogues:
        for example in examples_of(dialect, dialogue, learned, max_tokens, (*persona, *dialogue.persona), lesson):
            if all(label == IGNORED for label in example.labels):
                continue
            place = rng.random() ** (_EARLY_EXPONENT if corpus.early else 1.0)
            ids, labels = np.array(example.input_ids, np.int32), np.array(example.labels, np.int32)
            types = None if example.type_ids is None else np.array(example.type_ids, np.int32)
            encoded.append(EncodedDialogue(ids, labels, place, types))
    return encoded


def examples_of(
    dialect: Dialect,
    dialogue: Dialogue,
    learned_speakers: Container[int],
    max_tokens: int,
    persona: Sequence[str] = (),
    lesson: Lesson = AS_USUAL,
) -> Sequence[TrainingExample]:
    """What the family's own training makes of a dialogue: one example, one a reply, or what the weights ask for."""
    utterances = utterances_of(dialogue)
    if lesson.reverse:
        utterances, learned_speakers = utterances[::-1], _EVERYBODY
    if isinstance(dialect, Devjwsong):
        made = dialect.examples(utterances, lesson.max_turns or MAX_TURNS[dialect.name], max_tokens)
    elif isinstance(dialect, TransferTransfo):
        made = dialect.examples(utterances, lesson.max_turns or MAX_TURNS[dialect.name], max_tokens, persona)
    elif isinstance(dialect, DialoGPT):
        made = _dialogpt_examples(dialect, dialogue, utterances, learned_speakers, max_tokens)
    else:
        made = [dialect.example(utterances, learned_speakers, max_tokens, persona)]
    return [_whole(example) for example in made] if lesson.learn is Learn.DIALOGUE else made


def _whole(example: TrainingExample) -> TrainingExample:
    return TrainingExample(example.input_ids, example.input_ids, example.type_ids)


def _dialogpt_examples(
    dialect: DialoGPT,
    dialogue: Dialogue,
    utterances: Sequence[Utterance],
    learned_speakers: Container[int],
    max_tokens: int,
) -> list[TrainingExample]:
    """Weighted dialogues as DialoGPT's own code reads them, others whole or in parts that fit."""
    # Features count no last token, which only a label knows; here it is read as well.
    if dialogue.weights or dialogue.source == PAIRS:
        backwards = utterances[0] != utterances_of(dialogue)[0]
        weights = dialogue.weights[::-1] if dialogue.weights and backwards else dialogue.weights
        made = [feature.example() for feature in _features(dialect, utterances, weights, max_tokens)]
        return [example for example in made if len(example.input_ids) <= max_tokens]
    return _divided(dialect, utterances, learned_speakers, max_tokens)


def _divided(
    dialect: DialoGPT, utterances: Sequence[Utterance], learned_speakers: Container[int], max_tokens: int
) -> list[TrainingExample]:
    """As many whole turns as fit; what is left opens with the last of them, as in DialoGPT's rule."""
    end = min(dialect.stop_ids)
    made = []
    first = 0
    while first < len(utterances):
        example = dialect.example(utterances[first:], learned_speakers, max_tokens)
        made.append(example)
        after = first + example.input_ids.count(end)
        if after == len(utterances):
            break
        first = max(first + 1, after - 1)
    return made


def features_of(dialect: DialoGPT, dialogue: Dialogue, max_tokens: int) -> list[Feature]:
    """A dialogue of DialoGPT's own files as its own code reads it."""
    return _features(dialect, utterances_of(dialogue), dialogue.weights, max_tokens)


def _features(
    dialect: DialoGPT, utterances: Sequence[Utterance], weights: Sequence[float] | None, max_tokens: int
) -> list[Feature]:
    end = min(dialect.stop_ids)
    turns = [dialect.encode([utterance], sys.maxsize)[:-1] for utterance in utterances]
    if weights is None:
        context, answer = turns
        pair = validation_feature(0, context, answer, max_tokens, end)
        return [] if pair is None else [pair]
    made = features(zip(weights, turns, strict=True), max_tokens, end)
    # Features may be longer than was asked for; the original's loader drops them.
    return [feature for feature in made if len(feature.input_ids) <= max_tokens]


def training_examples(
    dialect: Dialect,
    shares: Sequence[Share],
    max_tokens: int,
    rng: random.Random,
    persona: Sequence[str] = (),
    lesson: Lesson = AS_USUAL,
) -> list[EncodedDialogue]:
    """Every dialogue of one epoch. A share of 2.5 is two whole passes and half of a third."""
    examples: list[EncodedDialogue] = []
    for share in shares:
        corpus = corpus_named(share.corpus)
        left = share.weight
        while left > 0:
            dialogues = list(corpus.training_pass(rng))
            part = dialogues[: round(len(dialogues) * min(left, 1.0))]
            examples += encode_dialogues(dialect, part, corpus, max_tokens, rng, persona, lesson)
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

    @property
    def tokens(self) -> int:
        """How many there are, padding left out."""
        return sum(len(example.input_ids) for batch in self._batches for example in batch)

    @property
    def padding(self) -> float:
        """The share of padding in what is computed."""
        computed = sum(len(batch) * max(len(example.input_ids) for example in batch) for batch in self._batches)
        return 1 - self.tokens / max(1, computed)

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        batch = self._batches[number]
        longest = max(len(example.input_ids) for example in batch)
        ids = np.full((len(batch), longest), self._pad_id, np.int64)  # (B, T)
        labels = np.full((len(batch), longest), IGNORED, np.int64)  # (B, T)
        for row, example in enumerate(batch):
            ids[row, : len(example.input_ids)] = example.input_ids
            labels[row, : len(example.labels)] = example.labels
        made = {"input_ids": torch.from_numpy(ids), "labels": torch.from_numpy(labels)}
        if any(example.type_ids is not None for example in batch):
            types = np.full((len(batch), longest), self._pad_id, np.int64)  # (B, T)
            for row, example in enumerate(batch):
                if example.type_ids is not None:
                    types[row, : len(example.type_ids)] = example.type_ids
            made["token_type_ids"] = torch.from_numpy(types)
        return made


def _cut(examples: Sequence[EncodedDialogue], tokens_per_batch: int) -> Iterable[list[EncodedDialogue]]:
    batch: list[EncodedDialogue] = []
    for example in examples:  # ascending lengths, so the newest is the longest
        if batch and (len(batch) + 1) * len(example.input_ids) > tokens_per_batch:
            yield batch
            batch = []
        batch.append(example)
    if batch:
        yield batch
