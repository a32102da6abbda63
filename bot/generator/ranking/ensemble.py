"""DialogRPT's ensembles: a .yml file that names heads, in two groups and with weights, for one score out of them."""

import difflib
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from bot.generator.errors import CheckpointError
from bot.generator.formats.registry import open_checkpoint
from bot.generator.ranking.base import Pair
from bot.generator.ranking.combine import combine, weighted_mean
from bot.generator.ranking.head import Head

SUFFIXES = (".yml", ".yaml")
GROUPS = ("prior", "cond")
FINAL = "final"
"""The name of the combined score beside those of the heads."""


@dataclass(frozen=True, slots=True)
class Member:
    """One line of an ensemble file: which head, and how much it counts; below 0 it counts against a reply."""

    group: str
    name: str
    weight: float
    path: Path


class Ensemble:
    """Heads that judge together. See `bot.generator.ranking.base.Ranker`; `score` is the combined one."""

    def __init__(self, members: Sequence[Member], heads: Mapping[str, Head], name: str) -> None:
        self.name = name
        self.heads = heads
        self._members = members
        parts = [f"{m.group} {m.name} {m.weight} {heads[m.name].revision}" for m in members]
        self.revision = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]

    def score(self, pairs: Sequence[Pair]) -> list[float]:
        """See `Ranker.score`. Between 0 and 1 only as long as no weight is negative."""
        return self.score_all(pairs)[FINAL]

    def score_all(self, pairs: Sequence[Pair]) -> dict[str, list[float]]:
        """The scores of every head by its name, and the combined ones as `final`."""
        scores = {name: head.score(pairs) for name, head in self.heads.items()}
        return {**scores, FINAL: self.combined(scores)}

    def combined(self, scores: Mapping[str, Sequence[float]]) -> list[float]:
        """One score a reply out of the heads' scores."""
        count = min(len(values) for values in scores.values())
        return [combine(*(self._weighted(group, scores, number) for group in GROUPS)) for number in range(count)]

    def _weighted(self, group: str, scores: Mapping[str, Sequence[float]], number: int) -> list[tuple[float, float]]:
        return [(scores[m.name][number], m.weight) for m in self._members if m.group == group]


def load_ensemble(path: Path, *, name: str = FINAL, device: str = "auto", dtype: str = "auto") -> Ensemble:
    """Load every head that an ensemble file names. Raises CheckpointError."""
    members = read_ensemble(path)
    heads = {}
    for member in members:
        found = open_checkpoint(str(member.path))
        heads[member.name] = Head.load(found, name=member.name, device=device, dtype=dtype)
    return Ensemble(members, heads, name)


def ensemble_file(checkpoint: str) -> Path | None:
    """The ensemble file that a name stands for: itself, or the only one in that directory or in its restore/."""
    path = Path(checkpoint).expanduser()
    if path.suffix in SUFFIXES:
        return path
    if not path.is_dir() or any(path.glob("*.safetensors")) or any(path.glob("pytorch_model*.bin")):
        return None
    for place in (path, path / "restore"):
        found = sorted(file for suffix in SUFFIXES for file in place.glob(f"*{suffix}"))
        if len(found) == 1:
            return found[0]
    return None


def read_ensemble(path: Path) -> tuple[Member, ...]:
    """The lines of an ensemble file, every path found. Raises CheckpointError."""
    try:
        content = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror}). Check the path.") from error
    except (YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{path}: this is no YAML ({reason}). Write it as the example in the manual.") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: an ensemble has the keys prior and cond, each with a list of heads. Add them.")
    for key in content:
        if key not in GROUPS:
            near = difflib.get_close_matches(str(key), GROUPS, n=1)
            hint = f"Did you mean {near[0]}?" if near else "Known: prior, cond."
            raise CheckpointError(f"{path}: there is no key {key!r} in an ensemble. {hint}")
    members = tuple(
        _member(path, group, number, entry)
        for group in GROUPS
        for number, entry in enumerate(_entries(path, group, content.get(group)))
    )
    _check(path, members)
    return members


def _entries(path: Path, group: str, entries: object) -> list[Any]:
    if entries is None:
        return []
    if not isinstance(entries, list):
        raise CheckpointError(f"{path}: {group} is no list. Write one entry a head, each with name, wt and path.")
    return entries


def _member(path: Path, group: str, number: int, entry: object) -> Member:
    where = f"{path}: {group}[{number}]"
    if not isinstance(entry, dict):
        raise CheckpointError(f"{where} is no entry. Give it the keys name, wt and path.")
    missing = [key for key in ("name", "wt", "path") if key not in entry]
    if missing:
        raise CheckpointError(f"{where} has no {missing[0]}. Give it the keys name, wt and path.")
    name, weight, file = entry["name"], entry["wt"], entry["path"]
    if not isinstance(name, str) or not name or name == FINAL:
        raise CheckpointError(f"{where}.name is {name!r}. Name the head, for example updown.")
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not math.isfinite(weight):
        raise CheckpointError(f"{where}.wt is {weight!r}. Give a number; a negative one counts against a reply.")
    if not isinstance(file, str) or not file:
        raise CheckpointError(f"{where}.path is {file!r}. Give the path of the head's file.")
    return Member(group, name, float(weight), _resolved(path, where, file))


def _resolved(path: Path, where: str, file: str) -> Path:
    """The original is started in the directory above restore/, where its ensemble file and heads lie."""
    folder = path.absolute().parent
    choices = [place / Path(file).expanduser() for place in (folder, folder.parent)]
    for choice in choices:
        if choice.exists():
            return choice
    names = " nor ".join(str(choice) for choice in dict.fromkeys(choices))
    raise CheckpointError(f"{where}.path is {file!r}, but there is neither {names}. Correct the path.")


def _check(path: Path, members: Sequence[Member]) -> None:
    if not members:
        raise CheckpointError(f"{path}: the ensemble names no head. Add one under prior or cond.")
    for group in GROUPS:
        try:
            weighted_mean([(0.0, member.weight) for member in members if member.group == group])
        except ValueError as error:
            raise CheckpointError(f"{path}: {group}: {error}.") from error
    names = [member.name for member in members]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise CheckpointError(f"{path}: there are two heads of the name {twice!r}. Give each its own name.")
