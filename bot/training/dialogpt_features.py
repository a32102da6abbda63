"""DialoGPT's own training examples (Zhang et al. 2020, arXiv:1911.00536): which turns share one, what is learned.

Its labels are shifted already: the label of a token is the token after it, -1 is not learned.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from bot.generator.dialects.base import IGNORED, TrainingExample

UNLEARNED = -1
_MULTIPLE = 8
"""Features are padded to a multiple of this length."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One example. All lists have one length; `weights` are 0 where nothing is learned and scale nothing."""

    conv_id: int
    input_ids: list[int]
    token_type_ids: list[int]
    lm_labels: list[int]
    weights: list[float]

    @property
    def position_ids(self) -> list[int]:
        """0, 1, 2, ..."""
        return list(range(len(self.input_ids)))

    def example(self) -> TrainingExample:
        """The same for this project's training: padding left out, labels not shifted.

        The original leaves out the last token, which only the label before it knows; here it is read as well.
        """
        length = max(n for n, label in enumerate(self.lm_labels) if label != UNLEARNED) + 1
        labels = [label if label != UNLEARNED else IGNORED for label in self.lm_labels[:length]]
        return TrainingExample((*self.input_ids[:length], labels[-1]), (IGNORED, *labels))


def features(
    turns: Iterable[tuple[float, Sequence[int]]], max_seq_len: int, end: int, first_conv_id: int = 0
) -> list[Feature]:
    """The examples of one dialogue: weights and ids of its turns.

    Turns are gathered until they are longer than `max_seq_len`, which is noticed only before the next one is added;
    the last turn then opens the next example. A turn that is too long by itself ends one, and is left out.
    """
    made: list[Feature] = []
    for gathered in _gathered(turns, max_seq_len):
        if any(weight for weight, _ in gathered[1:]):
            made.append(_feature(first_conv_id + len(made), gathered, end))
    return made


def validation_feature(
    conv_id: int, context: Sequence[int], answer: Sequence[int], max_seq_len: int, end: int
) -> Feature | None:
    """A context and its answer, not padded. One that is too long loses the context's beginning, else the answer's
    end; None where not even that helps."""
    excess = len(context) + len(answer) + 2 - max_seq_len
    if excess > 0 and len(context) > excess:
        context = context[excess:]
    elif excess > 0:
        room = max_seq_len - len(context) - 2
        if room < 0:
            return None
        answer = answer[:room]
    ids = [*context, end, *answer, end]
    labels = [UNLEARNED] * len(context) + [*answer, end, UNLEARNED]
    weights = [float(label != UNLEARNED) for label in labels]
    return Feature(conv_id=conv_id, input_ids=ids, token_type_ids=[0] * len(ids), lm_labels=labels, weights=weights)


def _gathered(
    turns: Iterable[tuple[float, Sequence[int]]], max_seq_len: int
) -> Iterator[list[tuple[float, Sequence[int]]]]:
    gathered: list[tuple[float, Sequence[int]]] = []
    length = 0
    for weight, ids in turns:
        if len(ids) > max_seq_len:
            if len(gathered) > 1:
                yield gathered
            gathered, length = [], 0
            continue
        if length > max_seq_len:
            yield gathered
            gathered = gathered[-1:]
            length = len(gathered[0][1]) + 1
        length += len(ids) + 1
        gathered = [*gathered, (weight, ids)]
    if len(gathered) > 1:
        yield gathered


def _feature(conv_id: int, turns: Sequence[tuple[float, Sequence[int]]], end: int) -> Feature:
    ids = [token for _, turn in turns for token in (*turn, end)][:-1]
    types, labels, weights = list[int](), list[int](), list[float]()
    for number, (weight, turn) in enumerate(turns):
        # The first turn has no token before it that could know it; a later one is known from the end before it on.
        known = [*turn, end] if number else list(turn)
        learned = number > 0 and weight != 0
        labels += known if learned else [UNLEARNED] * len(known)
        weights += [weight if learned else 0.0] * len(known)
        types += [number] * len(known)
    length = max(n for n, label in enumerate(labels) if label != UNLEARNED) + 1
    pad = -length % _MULTIPLE
    return Feature(
        conv_id=conv_id,
        input_ids=ids[:length] + [0] * pad,
        token_type_ids=types[:length] + [0] * pad,
        lm_labels=labels[:length] + [UNLEARNED] * pad,
        weights=weights[:length] + [0.0] * pad,
    )
