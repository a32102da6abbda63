"""Write any checkpoint anew: safetensors in the hub layout, with tokenizer, settings and a card.

What was written is read back and compared with the source before it gets its name; a process that dies on the way
leaves nothing under that name.
"""

import dataclasses
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor
from transformers import (
    GenerationConfig,
    GPT2DoubleHeadsModel,
    GPT2ForSequenceClassification,
    OpenAIGPTDoubleHeadsModel,
)

from bot.generator.conversion.card import model_card
from bot.generator.conversion.describe import Description, describe_checkpoint, spoken_by
from bot.generator.damage import in_one_line, reported
from bot.generator.dialects.base import Dialect, Utterance
from bot.generator.dialects.transfertransfo import TransferTransfo
from bot.generator.errors import CheckpointError
from bot.generator.formats import transfertransfo
from bot.generator.formats.base import Architecture, Checkpoint, Role
from bot.generator.formats.registry import open_checkpoint
from bot.generator.loading import DTYPES, load_model, quiet
from bot.generator.models.base import Prompt
from bot.generator.models.families import family_of
from bot.generator.models.registry import load_language_model
from bot.generator.ranking.ensemble import ensemble_file, read_ensemble

CPU = torch.device("cpu")
EXACT = 2e-4
"""Largest difference of a logit between two computations of the same numbers in float32."""

_TALK = (Utterance(1, "Hello there."), Utterance(0, "Hi."), Utterance(1, "How are you?"))
_TALK_TOKENS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A finished conversion. `difference` is the largest one of a logit, `allowed` what it might have been."""

    path: Path
    source: Description
    bytes: int
    difference: float
    allowed: float


def convert(name: str, out: Path, *, dtype: str, shard_size: str, force: bool) -> Written:
    """Write the checkpoint `name` into the directory `out`. Raises CheckpointError; then `out` is as it was."""
    ensemble = ensemble_file(name)
    if ensemble is not None:
        heads = ", ".join(str(member.path) for member in read_ensemble(ensemble))
        raise CheckpointError(f"{ensemble}: this is an ensemble. Convert its heads one by one: {heads}.")
    checkpoint = open_checkpoint(name)
    _check_place(checkpoint, out, force=force)
    source = describe_checkpoint(checkpoint, name)
    dialect = spoken_by(checkpoint, checkpoint.read_tokenizer())
    expected = _answer(checkpoint, dialect)
    with _beside(out) as part, quiet():
        with _room_for(out, source.parameters * DTYPES[dtype].itemsize):
            _write(checkpoint, source, dialect, part, dtype=dtype, shard_size=shard_size)
        difference = _compare(checkpoint, dialect, part, expected)
        allowed = _allowed(source, expected, DTYPES[dtype])
        if not difference <= allowed:
            raise CheckpointError(
                f"{out}: what was written differs from {checkpoint.path} by {difference:.2g} in a logit, more than "
                f"{allowed:.2g}. Nothing is kept; convert with --dtype float32."
            )
        written = sum(file.stat().st_size for file in part.iterdir())
        _name(part, out)
    return Written(path=out, source=source, bytes=written, difference=difference, allowed=allowed)


def _check_place(checkpoint: Checkpoint, out: Path, *, force: bool) -> None:
    place = out.resolve()
    if place.is_dir() and any(place.iterdir()) and not force:
        raise CheckpointError(f"{out}: the directory is not empty. Choose another one, or overwrite it with --force.")
    if place.exists() and not place.is_dir():
        raise CheckpointError(
            f"{out}: this is a file; the checkpoint is written into a directory. Choose another name."
        )
    if any(file.resolve().is_relative_to(place) for file in checkpoint.files):
        raise CheckpointError(f"{out}: the source lies in this directory and would be lost. Choose another one.")
    if Path.cwd().is_relative_to(place):
        raise CheckpointError(f"{out}: you are in this directory, and all of it would be replaced. Choose another one.")


@contextmanager
def _beside(out: Path) -> Iterator[Path]:
    """A directory that becomes `out` by one renaming; one that a killed process left is replaced."""
    place = out.resolve()  # where a link leads to, so that it stays one
    part = place.with_name(f".{place.name}.part")
    try:
        with reported(out):
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
        yield part
    finally:
        shutil.rmtree(part, ignore_errors=True)


@contextmanager
def _room_for(out: Path, needed_bytes: int) -> Iterator[None]:
    """A disk that is full, in words."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{out}: cannot be written ({in_one_line(error)}). It needs about {needed_bytes / 1e6:.0f} MB: make room, "
            "or choose another place. Nothing is kept."
        ) from error


def _write(
    checkpoint: Checkpoint, source: Description, dialect: Dialect, part: Path, *, dtype: str, shard_size: str
) -> None:
    family = _whole_family(checkpoint)
    tokens = _special_ids(checkpoint, dialect)
    if family is None:
        _write_own(checkpoint, part, DTYPES[dtype], tokens)
    else:
        network: Any = load_model(family, _whole(checkpoint, family), CPU, DTYPES[dtype])
        network.config.update({**tokens, **_record(checkpoint)})
        network.save_pretrained(part, max_shard_size=shard_size)
    (part / "generation_config.json").unlink(missing_ok=True)
    if checkpoint.role is Role.GENERATOR:
        make_settings: Any = GenerationConfig
        make_settings(**generation_settings(dialect), **tokens).save_pretrained(part)
    checkpoint.read_tokenizer().save(part)
    _describe_tokenizer(part, source, tokens)
    name = None if family is None else family_of(checkpoint).__name__
    card = model_card(checkpoint, source, dialect, dtype=dtype, family=name)
    (part / "README.md").write_text(card, encoding="utf-8")
    for file in part.iterdir():  # the library that writes the weights lets nobody else read them
        file.chmod((part / "README.md").stat().st_mode)


def _write_own(checkpoint: Checkpoint, part: Path, dtype: torch.dtype, tokens: dict[str, Any]) -> None:
    """A network that transformers lacks, always as one file."""
    assert checkpoint.read_weights is not None
    weights = {name: value.to(dtype).contiguous() for name, value in checkpoint.read_weights().items()}
    save_file(weights, str(part / "model.safetensors"), metadata={"format": "pt"})
    config = {**checkpoint.config, **tokens, "model_type": checkpoint.architecture.value, **_record(checkpoint)}
    text = json.dumps({**config, "dtype": str(dtype).removeprefix("torch.")}, indent=2, sort_keys=True)
    (part / "config.json").write_text(text + "\n", encoding="utf-8")


def _record(checkpoint: Checkpoint) -> dict[str, str]:
    return {"banter_system": checkpoint.system, "banter_dialect": checkpoint.dialect}


def _whole_family(checkpoint: Checkpoint) -> Any:
    """The class of transformers that holds all weights, the candidate head of TransferTransfo included."""
    if checkpoint.system != TransferTransfo.name:
        return family_of(checkpoint)
    weights = transfertransfo.read_all_weights(checkpoint.path, checkpoint.architecture)
    if not any(name.startswith(transfertransfo.HEAD) for name in weights):
        return family_of(checkpoint)
    return GPT2DoubleHeadsModel if checkpoint.architecture is Architecture.GPT2 else OpenAIGPTDoubleHeadsModel


def _whole(checkpoint: Checkpoint, family: Any) -> Checkpoint:
    if family not in (GPT2DoubleHeadsModel, OpenAIGPTDoubleHeadsModel):
        return checkpoint
    path, architecture = checkpoint.path, checkpoint.architecture
    return dataclasses.replace(checkpoint, read_weights=lambda: transfertransfo.read_all_weights(path, architecture))


def _special_ids(checkpoint: Checkpoint, dialect: Dialect) -> dict[str, Any]:
    """What transformers calls the ids of beginning, end and padding. Those of many sources mean nothing."""
    stops = sorted(dialect.stop_ids)
    known = checkpoint.config.get("bos_token_id")
    first = dialect.encode(_TALK[-1:], _TALK_TOKENS)[0]
    begins = first in dialect.control_ids  # what opens every context, else what the source says, else the end
    begin = first if begins else known if isinstance(known, int) and 0 <= known < dialect.vocabulary_size else stops[0]
    padding = checkpoint.config.get("pad_token_id")
    known_padding = isinstance(padding, int) and 0 <= padding < dialect.vocabulary_size
    return {
        "bos_token_id": begin,
        "eos_token_id": stops[0] if len(stops) == 1 else stops,
        "pad_token_id": padding if known_padding else stops[0],
    }


def generation_settings(dialect: Dialect) -> dict[str, Any]:
    """How the family's own program decodes, in the words of transformers' GenerationConfig."""
    decoding, manner = dialect.habits.decoding, dialect.habits.manner
    draws = decoding.search == "sampling" and decoding.temperature > 0
    settings: dict[str, Any] = {"do_sample": draws}
    if draws:
        settings |= {"temperature": decoding.temperature, "top_k": decoding.top_k, "top_p": decoding.top_p}
    if decoding.search == "beam":
        settings |= {"num_beams": decoding.beams, "length_penalty": decoding.length_penalty}
    if decoding.candidates > 1 and (draws or decoding.search == "beam"):
        settings["num_return_sequences"] = decoding.candidates
    if manner.penalty == "ctrl" and manner.penalised == "sequence":
        settings["repetition_penalty"] = decoding.repetition_penalty
    settings["no_repeat_ngram_size"] = decoding.no_repeat_ngram
    if decoding.max_length:
        settings["max_length"] = decoding.max_length
    else:
        settings["max_new_tokens"] = decoding.max_new_tokens
    if decoding.min_length:
        settings["min_length"] = decoding.min_length
    if decoding.min_new_tokens:
        settings["min_new_tokens"] = decoding.min_new_tokens
    if dialect.banned_ids:
        settings["suppress_tokens"] = sorted(dialect.banned_ids)
    return settings


def _describe_tokenizer(part: Path, source: Description, tokens: dict[str, Any]) -> None:
    """For transformers: which class reads tokenizer.json, and what its special tokens are called."""
    file = part / "tokenizer_config.json"
    if file.exists() or not (part / "tokenizer.json").is_file():
        return
    names = {token_id: name for name, token_id in source.vocabulary.controls.items()}
    settings: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    for key in ("bos", "eos", "pad"):
        name = names.get(tokens[f"{key}_token_id"]) if isinstance(tokens[f"{key}_token_id"], int) else None
        if name is not None and not name.startswith("#"):
            settings[f"{key}_token"] = name
    file.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a network says after a short talk: logits (V), or (1) of a head, and the size of the sums they are."""

    logits: Tensor
    size: float


@torch.inference_mode()
def _answer(checkpoint: Checkpoint, dialect: Dialect) -> _Answer:
    """Computed in float32, whatever the weights are stored as."""
    ids = dialect.encode(_TALK, _TALK_TOKENS)
    if checkpoint.role is Role.RANKER:
        head: Any = load_model(GPT2ForSequenceClassification, checkpoint, CPU, torch.float32)
        context = torch.tensor([ids])  # (1, T)
        states = head.transformer(context, attention_mask=torch.ones_like(context)).last_hidden_state  # (1, T, D)
        # One logit may be small because its terms cancel; what is rounded are the terms.
        return _Answer(head.score(states[0, -1]), float(states[0, -1].norm() * head.score.weight.norm()))
    types = dialect.type_ids(ids)
    prompt = Prompt(tuple(ids), None if types is None else tuple(types))
    logits, _ = load_language_model(checkpoint, CPU, torch.float32).read([prompt])
    return _Answer(logits[0], float(logits.abs().max()))


def _compare(checkpoint: Checkpoint, dialect: Dialect, part: Path, expected: _Answer) -> float:
    """The largest difference between what was written and its source, or CheckpointError where it is another thing."""
    again = open_checkpoint(str(part))
    spoken = spoken_by(again, again.read_tokenizer())
    same = (
        (again.system, again.dialect, again.role, again.architecture)
        == (checkpoint.system, checkpoint.dialect, checkpoint.role, checkpoint.architecture)
        and spoken.encode(_TALK, _TALK_TOKENS) == dialect.encode(_TALK, _TALK_TOKENS)
        and (spoken.stop_ids, spoken.banned_ids) == (dialect.stop_ids, dialect.banned_ids)
    )
    if not same:
        raise CheckpointError(
            f"{checkpoint.path}: what was written from it is read as {again.system} with the dialect {again.dialect} "
            "and other tokens. Nothing is kept; please report this."
        )
    return float((_answer(again, spoken).logits - expected.logits).abs().max())


def _allowed(source: Description, expected: _Answer, dtype: torch.dtype) -> float:
    """The largest difference of a logit that rounding the weights to `dtype` explains.

    Rounding changes a weight by at most half a unit in the last place, u times its size. A layer has four products
    with rounded weights, and the embedding and the head are two more; where all errors add up and none cancel, the
    logits change by the sum of their shares, u each, of the logits' own size.
    """
    if dtype is torch.float32:
        return EXACT
    layers = sum(source.sizes.get(name, 0) for name in ("layers", "encoder_layers", "decoder_layers"))
    unit = torch.finfo(dtype).eps / 2
    return EXACT + (4 * layers + 2) * unit * expected.size


def _name(part: Path, out: Path) -> None:
    """Give the finished directory its name; what had it before goes only then."""
    place = out.resolve()
    old = place.with_name(f".{place.name}.old")
    with reported(out):
        shutil.rmtree(old, ignore_errors=True)
        if place.exists():
            place.rename(old)
        part.rename(place)
        shutil.rmtree(old, ignore_errors=True)
