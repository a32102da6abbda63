"""`banter corpus merge`: the training files of gpt2-dialogue-generation-pytorch. Imports no torch."""

import json
from collections.abc import Callable
from pathlib import Path

import click

from bot.generator.errors import GeneratorError
from bot.generator.formats.registry import open_checkpoint
from bot.generator.tokenization.hub import HubTokenizer
from bot.training.corpora.english_cleanup import cleaned
from bot.training.corpora.four_sets import merged
from bot.training.errors import TrainingError

_FOLDER = click.Path(path_type=Path)


@click.command("merge")
@click.option("--daily-dialog", type=_FOLDER, help="Folder with dialogues_train.txt and its like.")
@click.option("--empathetic-dialogues", type=_FOLDER, help="Folder with train.csv, valid.csv, test.csv.")
@click.option("--persona-chat", type=_FOLDER, help="personachat_self_original.json, or its folder.")
@click.option("--blended-skill-talk", type=_FOLDER, help="Folder with train.json, valid.json, test.json.")
@click.option("--tokenizer", required=True, help="A checkpoint with GPT-2's tokenizer, on which the clean-up works.")
@click.option("--train-frac", type=click.FloatRange(0, 1), default=0.85, show_default=True, help="Part for training.")
@click.option("--out", type=_FOLDER, required=True, help="Folder for train_utters.json and valid_utters.json.")
def merge(tokenizer: str, train_frac: float, out: Path, **sets: Path | None) -> None:
    """Clean and merge the sets that gpt2-dialogue-generation-pytorch trains on.

    \b
    Example:
      banter corpus merge --daily-dialog daily/ --persona-chat personachat_self_original.json \\
          --tokenizer microsoft/DialoGPT-small --out data/
      banter train --corpus data/train_utters.json:devjwsong --held-out data/valid_utters.json:devjwsong ...
    """
    folders = {name.replace("_", "-"): path for name, path in sets.items() if path is not None}
    if not folders:
        raise click.UsageError("Name at least one data set, for example --daily-dialog FOLDER.")
    try:
        parts = merged(folders, _cleaner(tokenizer), train_frac)
        out.mkdir(parents=True, exist_ok=True)
        for name, dialogues in zip(("train", "valid"), parts, strict=True):
            file = out / f"{name}_utters.json"
            file.write_text(json.dumps(dialogues, ensure_ascii=False), encoding="utf-8")
            utterances = sum(map(len, dialogues))
            click.echo(f"{file}: {len(dialogues)} dialogues, {utterances} utterances")
    except (TrainingError, GeneratorError) as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{error.filename or out} cannot be written: {error.strerror}.") from error


def _cleaner(checkpoint: str) -> Callable[[str], str]:
    tokenizer = open_checkpoint(checkpoint).read_tokenizer()
    if not isinstance(tokenizer, HubTokenizer):
        raise TrainingError(f"{checkpoint}: the clean-up needs GPT-2's tokenizer. Name a checkpoint that has it.")
    backend = tokenizer.backend

    def clean(text: str) -> str:
        tokens = backend.encode(text, add_special_tokens=False).tokens
        return str(backend.decoder.decode(cleaned(tokens)))

    return clean
