"""What a checkpoint is, for people and for programs: everything that can be said without letting it talk."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bot.generator.checkpoints import revision_of
from bot.generator.damage import reported
from bot.generator.dialects.base import Dialect, Habits
from bot.generator.dialects.registry import dialect_named
from bot.generator.errors import CheckpointError
from bot.generator.formats.base import Architecture, Checkpoint, Role
from bot.generator.formats.chitchat import MMI_MODEL
from bot.generator.formats.registry import open_checkpoint
from bot.generator.formats.stored import Survey, shapes_in, survey, weight_files
from bot.generator.loading import check_fit, quiet
from bot.generator.models.families import OURS, family_of
from bot.generator.models.pingpong import matched
from bot.generator.ranking.ranker import REVERSE
from bot.generator.tokenization.base import TextTokenizer

_CHUNK_BYTES = 1 << 20
_PRIOR_HEADS = ("human_vs_rand", "human_vs_machine")
"""DialogRPT's heads that say whether a reply could be a person's; the others say how well people like it."""

_SIZES = {
    "layers": ("n_layer", "num_hidden_layers"),
    "width": ("n_embd", "hidden_size", "d_model"),
    "heads": ("n_head", "num_attention_heads"),
    "key_value_heads": ("num_key_value_heads",),
    "inner_width": ("n_inner", "intermediate_size"),
    "positions": ("n_positions", "max_position_embeddings"),
    "encoder_layers": ("encoder_layers",),
    "encoder_heads": ("encoder_attention_heads",),
    "encoder_inner_width": ("encoder_ffn_dim",),
    "encoder_positions": ("max_encoder_length",),
    "decoder_layers": ("decoder_layers",),
    "decoder_heads": ("decoder_attention_heads",),
    "decoder_inner_width": ("decoder_ffn_dim",),
}
_EMBEDDINGS = (
    "transformer.wte.weight",
    "wte.weight",
    "transformer.tokens_embed.weight",
    "tokens_embed.weight",
    "model.shared.weight",
    "model.embed_tokens.weight",
    "token_embd.weight",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """One file of a checkpoint."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """Ids as network and tokenizer count them. `controls` are all ids with a meaning of their own, by name."""

    embedding_rows: int
    tokenizer: int
    controls: dict[str, int]
    stop_ids: tuple[int, ...]
    banned_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What a checkpoint is. `stored` counts values by number format; `settings` is a piece of config.yaml."""

    path: str
    system: str
    role: str
    dialect: str
    architecture: str
    revision: str
    parameters: int
    sizes: dict[str, int]
    stored: dict[str, int]
    vocabulary: Vocabulary
    habits: dict[str, Any]
    files: tuple[StoredFile, ...]
    notes: tuple[str, ...]
    settings: str


def describe(name: str) -> Description:
    """Look at the checkpoint that a name stands for; what cannot be used raises CheckpointError as loading would.

    Only weights that are no finite numbers are told in the notes instead: the rest of the file can still be looked at.
    """
    return describe_checkpoint(open_checkpoint(name), name)


def describe_checkpoint(checkpoint: Checkpoint, name: str) -> Description:
    """See `describe`; `name` is what config.yaml shall say."""
    with reported(checkpoint.path), quiet():
        tokenizer = checkpoint.read_tokenizer()
        dialect = spoken_by(checkpoint, tokenizer)
        check_weights(checkpoint)
        found = survey(weight_files(checkpoint))
        vocabulary = _vocabulary(checkpoint, tokenizer, dialect)
        return Description(
            path=str(checkpoint.path),
            system=checkpoint.system,
            role=checkpoint.role.value,
            dialect=checkpoint.dialect,
            architecture=checkpoint.architecture.value,
            revision=revision_of(checkpoint.files),
            parameters=found.parameters,
            sizes=sizes_of(checkpoint),
            stored=found.numbers,
            vocabulary=vocabulary,
            habits=_habits(dialect.habits) if checkpoint.role is Role.GENERATOR else {},
            files=tuple(_stored(file) for file in checkpoint.files),
            notes=(*checkpoint.notes, *_notes(vocabulary, found)),
            settings=_settings(checkpoint, name),
        )


def spoken_by(checkpoint: Checkpoint, tokenizer: TextTokenizer) -> Dialect:
    """The checkpoint's dialect. Raises CheckpointError if tokenizer, dialect and embedding do not belong together."""
    try:
        dialect = dialect_named(checkpoint.dialect, tokenizer)
    except CheckpointError as error:
        raise CheckpointError(f"{checkpoint.path}: {error}") from error
    rows = _rows(checkpoint)
    if rows < dialect.vocabulary_size:
        raise CheckpointError(
            f"{checkpoint.path}: the tokenizer knows {dialect.vocabulary_size} tokens, the model only {rows}. The two "
            "come from different checkpoints; copy the tokenizer that belongs to the model."
        )
    return dialect


def check_weights(checkpoint: Checkpoint) -> None:
    """Raises CheckpointError where the weights are not those of the network that is configured."""
    family = family_of(checkpoint)
    if family is None:
        matched(OURS[checkpoint.architecture], checkpoint)
    elif checkpoint.read_weights is not None:
        check_fit(family, checkpoint, {name: tuple(value.shape) for name, value in checkpoint.read_weights().items()})
    else:
        check_fit(family, checkpoint, shapes_in(weight_files(checkpoint)))


def sizes_of(checkpoint: Checkpoint) -> dict[str, int]:
    """The network's sizes in our words, as far as its configuration gives them."""
    sizes = {}
    for name, keys in _SIZES.items():
        value = next((checkpoint.config[key] for key in keys if isinstance(checkpoint.config.get(key), int)), None)
        if value is not None:
            sizes[name] = int(value)
    if "inner_width" not in sizes and checkpoint.architecture in (Architecture.GPT2, Architecture.OPENAI_GPT):
        sizes["inner_width"] = 4 * sizes.get("width", 0)
    return sizes


def _rows(checkpoint: Checkpoint) -> int:
    shapes = shapes_in(weight_files(checkpoint))
    rows = next((shapes[name][0] for name in _EMBEDDINGS if shapes.get(name)), checkpoint.config.get("vocab_size"))
    return int(rows) if isinstance(rows, int) else 0


def _vocabulary(checkpoint: Checkpoint, tokenizer: TextTokenizer, dialect: Dialect) -> Vocabulary:
    controls = dialect.control_ids | dialect.stop_ids | dialect.banned_ids
    return Vocabulary(
        embedding_rows=_rows(checkpoint),
        tokenizer=dialect.vocabulary_size,
        controls={tokenizer.piece(token_id) or f"#{token_id}": token_id for token_id in sorted(controls)},
        stop_ids=tuple(sorted(dialect.stop_ids)),
        banned_ids=tuple(sorted(dialect.banned_ids)),
    )


def _habits(habits: Habits) -> dict[str, Any]:
    manner = habits.manner
    return {
        "turns": habits.turns,
        "decoding": habits.decoding.model_dump(exclude={"preset"}),
        "manner": {name: getattr(manner, name) for name in type(manner).__dataclass_fields__},
    }


def _stored(file: Path) -> StoredFile:
    digest = hashlib.sha256()
    with reported(file), file.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return StoredFile(name=file.name, bytes=file.stat().st_size, sha256=digest.hexdigest())


def _notes(vocabulary: Vocabulary, found: Survey) -> list[str]:
    notes = []
    padding = vocabulary.embedding_rows - vocabulary.tokenizer
    if padding > 0:
        notes.append(f"{padding} rows of the embedding stand for no token; they are never generated")
    if found.broken:
        notes.append(
            f"{len(found.broken)} weights hold values that are no finite numbers, first {found.broken[0]}: "
            "this checkpoint cannot be used"
        )
    return notes


def _settings(checkpoint: Checkpoint, name: str) -> str:
    quoted = json.dumps(name, ensure_ascii=False)
    if checkpoint.role is Role.RANKER:
        head = checkpoint.path.stem if checkpoint.path.is_file() else checkpoint.path.name
        group = "prior" if head in _PRIOR_HEADS else "cond"
        return f"ranking:\n  {group}:\n    - {{name: {json.dumps(head)}, checkpoint: {quoted}, weight: 1.0}}\n"
    if checkpoint.path.name == MMI_MODEL:
        return f"ranking:\n  cond:\n    - {{name: {REVERSE}, checkpoint: {quoted}, weight: 1.0}}\n"
    return (
        f"model: {{checkpoint: {quoted}, dialect: auto}}\n"
        "decoding:\n  default: {preset: original}  # as its authors chat; leave out for Banter's own way\n"
    )
