"""What a ranker learns from and is judged by, gathered once: writing replies with a generator takes long."""

import dataclasses
import hashlib
import json
import logging
import random
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from bot.generator.engine import Generator
from bot.training.contrast_batches import Group, encode_group
from bot.training.corpora import preferences
from bot.training.corpora.dialogue import Dialogue
from bot.training.corpora.preferences import MAX_TOKENS, preference_file
from bot.training.corpora.registry import corpus_named
from bot.training.errors import TrainingError
from bot.training.examples import Share
from bot.training.negatives import Contrast, among_ten, contrasts, reply_places, with_generated
from bot.training.settings import RunSettings

log = logging.getLogger(__name__)

FILE = "contrasts.json"


class Against(StrEnum):
    """What else than the right reply a ranker learns to tell from it."""

    RANDOM = "random"
    """Replies that people gave to something else."""
    MACHINE = "machine"
    """The generator's own replies."""


PREFERRED = "preferred"
"""Pairs that come with their judgement, of which somebody liked one better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContrastData:
    """Groups to learn from; groups aside by what is wrong in them; and real replies among ten, to be found."""

    groups: list[Group]
    aside_by_kind: dict[str, list[Group]]
    tens: list[Group]

    @property
    def aside(self) -> list[Group]:
        """All of them."""
        return [group for groups in self.aside_by_kind.values() for group in groups]


def gather(
    shares: Sequence[Share], against: frozenset[Against], generator: Generator, positions: int, settings: RunSettings
) -> ContrastData:
    """One epoch. What was gathered before for the same run is read from its directory. Raises TrainingError."""
    file = settings.out / FILE
    key = _key(shares, against, generator, positions, settings)
    known = _read(file, key)
    if known is not None:
        return known
    rng = random.Random(settings.seed)
    groups = [group for share in shares for group in _groups(share, against, generator, positions, rng)]
    aside, tens = _aside(shares[0], against, generator, positions)
    data = ContrastData(groups=groups, aside_by_kind=aside, tens=tens)
    if not data.groups or not data.aside:
        raise TrainingError(
            f"There is nothing to train on in {', '.join(share.corpus for share in shares)}: no dialogue has a reply "
            "of the bot's side, or everything is held out. Give a --corpus NAME=WEIGHT with a weight above 0."
        )
    _write(file, key, data)
    return data


def _groups(
    share: Share, against: frozenset[Against], generator: Generator, positions: int, rng: random.Random
) -> list[Group]:
    """One epoch of a corpus."""
    found: list[Contrast] = []
    preferred: list[Group] = []
    left = share.weight
    while left > 0:
        part = min(left, 1.0)
        if (file := preference_file(share.corpus)) is not None:
            groups = _preferred(file, generator, positions)
            preferred += rng.sample(groups, round(len(groups) * part))
        else:
            dialogues = _answered(corpus_named(share.corpus).training_pass(rng))
            found += contrasts(dialogues[: round(len(dialogues) * part)], rng)
        left -= 1.0
    if Against.MACHINE in against and found:
        log.info("generating_wrong_replies", extra={"contexts": len(found)})
        found = with_generated(found, generator, rng)
    return [*preferred, *_encoded(found, against, generator, positions)]


def _aside(
    share: Share, against: frozenset[Against], generator: Generator, positions: int
) -> tuple[dict[str, list[Group]], list[Group]]:
    """What the run is judged by: the corpus's held-out part, or the preferences themselves."""
    file = preference_file(share.corpus)
    if file is not None:
        return {PREFERRED: _preferred(file, generator, positions)}, []
    rng = random.Random(0)
    dialogues = _answered(corpus_named(share.corpus).held_out())
    found = contrasts(dialogues, rng)
    if Against.MACHINE in against:
        found = with_generated(found, generator, rng)
    kinds = {kind.value: _encoded(found, frozenset({kind}), generator, positions) for kind in sorted(against)}
    tens = [encode_group(ten, generator.dialect, positions) for ten in among_ten(dialogues, rng)]
    return {kind: groups for kind, groups in kinds.items() if groups}, tens


def _answered(dialogues: Iterable[Dialogue]) -> list[Dialogue]:
    return [dialogue for dialogue in dialogues if reply_places(dialogue)]


def _encoded(
    found: Sequence[Contrast], against: frozenset[Against], generator: Generator, positions: int
) -> list[Group]:
    chosen = [
        dataclasses.replace(
            one,
            wrong=one.wrong if Against.RANDOM in against else (),
            machine=one.machine if Against.MACHINE in against else (),
        )
        for one in found
    ]
    return [encode_group(one, generator.dialect, positions) for one in chosen if one.wrong or one.machine]


def _preferred(file: Path, generator: Generator, positions: int) -> list[Group]:
    end = min(generator.dialect.stop_ids)
    groups = [one.rows(end, min(MAX_TOKENS, positions)) for one in preferences.read(file)]
    largest = max((token for group in groups for row in group for token in row), default=0)
    if largest >= generator.dialect.vocabulary_size:
        raise TrainingError(f"{file}: it holds the token {largest}, which the generator does not know.")
    return groups


def _key(
    shares: Sequence[Share], against: frozenset[Against], generator: Generator, positions: int, settings: RunSettings
) -> str:
    """Another corpus, generator or seed gives other contrasts."""
    given = [generator.revision, positions, settings.seed, sorted(against), [asdict(share) for share in shares]]
    return hashlib.sha256(json.dumps(given).encode()).hexdigest()


def _read(file: Path, key: str) -> ContrastData | None:
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return ContrastData(**found["data"]) if found.get("key") == key else None


def _write(file: Path, key: str, data: ContrastData) -> None:
    part = file.with_suffix(".part")
    part.write_text(json.dumps({"key": key, "data": asdict(data)}), encoding="utf-8")
    part.replace(file)
