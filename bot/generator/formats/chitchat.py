"""GPT2-chitchat's folders: `dialogue_model/` and `mmi_model/` in the hub layout, and `vocab/vocab.txt` beside them.

The folders of the models hold no tokenizer, and the bos and eos ids of their config.json mean nothing.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bot.generator.checkpoints import check_directory, files_of, read_config
from bot.generator.errors import CheckpointError
from bot.generator.formats.base import Architecture, Checkpoint, Role
from bot.generator.tokenization.wordpiece import BEGIN, VOCABULARY, WordPieceTokenizer, read_vocabulary

SYSTEM = "gpt2-chitchat"
DIALOGUE_MODEL, MMI_MODEL = "dialogue_model", "mmi_model"

_OTHER_TOKENIZERS = ("tokenizer.json", "vocab.json")


def recognise(path: Path) -> Checkpoint | None:
    """The project folder (which stands for its dialogue model), or the folder of one of its models.

    Raises CheckpointError where it must be one, but lacks a part.
    """
    model = path if (path / "config.json").is_file() else path / DIALOGUE_MODEL
    if not model.is_dir() or not _may_be_ours(model):
        return None
    check_directory(model)
    config = read_config(model)
    if config.get("model_type", "gpt2") != "gpt2":
        return None
    vocabulary = _vocabulary_of(model, config)
    if vocabulary is None:
        return None
    return Checkpoint(
        system=str(config.get("banter_system", SYSTEM)),
        dialect=str(config.get("banter_dialect", SYSTEM)),
        role=Role.GENERATOR,
        architecture=Architecture.GPT2,
        path=model,
        files=tuple(sorted({*files_of(model), vocabulary})),
        config=config,
        read_tokenizer=lambda: WordPieceTokenizer.from_file(vocabulary),
        notes=_notes(model, vocabulary),
    )


def reverse_model(checkpoint: str) -> str:
    """The MMI model of a project folder; every other checkpoint stands for itself.

    Raises CheckpointError for a project without one.
    """
    project = Path(checkpoint).expanduser()
    if (project / MMI_MODEL).is_dir():
        return str(project / MMI_MODEL)
    if (project / DIALOGUE_MODEL).is_dir():
        raise CheckpointError(f"{checkpoint}: there is no {MMI_MODEL} in it, and its dialogue model reads forwards.")
    return checkpoint


def _may_be_ours(model: Path) -> bool:
    return (model / VOCABULARY).is_file() or not any((model / name).is_file() for name in _OTHER_TOKENIZERS)


def _vocabulary_of(model: Path, config: dict[str, Any]) -> Path | None:
    """The vocabulary with as many lines as the model has rows; None where nothing points to this system."""
    sizes = {file: len(lines) for file, lines in _vocabularies(model)}
    rows = config.get("vocab_size")
    for file, size in sizes.items():
        if size == rows:
            return file
    if sizes:
        found = " and ".join(f"{file} has {size}" for file, size in sizes.items())
        raise CheckpointError(
            f"{model / 'config.json'}: vocab_size is {rows}, but {found} lines. "
            f"Copy the {VOCABULARY} that belongs to this model into its folder."
        )
    if "Bert" in str(config.get("tokenizer_class")) or config.get("banter_dialect") == SYSTEM:
        raise CheckpointError(
            f"{model}: there is no vocabulary. Put the {VOCABULARY} that belongs to this model ({rows} lines) into "
            f"this folder, or into {model.parent / 'vocab'}."
        )
    return None


def _vocabularies(model: Path) -> Iterator[tuple[Path, list[str]]]:
    """A vocabulary in the model's own folder is the model's; else all that lie where the project keeps them."""
    own = model / VOCABULARY
    if own.is_file():
        yield own, _lines(own)
        return
    home = model.absolute().parent  # training writes to model/epoch40, so the project may be one folder further up
    around = [*home.glob("vocab/*.txt"), *home.glob("vocab*.txt"), *home.parent.glob("vocab/*.txt")]
    for file in sorted(around, key=lambda file: (file.name != VOCABULARY, around.index(file))):
        lines = _lines(file)
        if BEGIN in lines:
            yield file, lines


def _lines(file: Path) -> list[str]:
    try:
        return read_vocabulary(file)
    except CheckpointError as error:
        raise CheckpointError(f"{file}: {error}") from error


def _notes(model: Path, vocabulary: Path) -> tuple[str, ...]:
    notes = [] if vocabulary.parent == model else [f"tokenizer: {vocabulary}"]
    if model.name == MMI_MODEL:
        notes.append("an MMI model: it scores replies (ranker reverse), it is not meant to write them")
    return tuple(notes)
