"""`banter corpus`: look at, convert, divide and clean what models are trained on. Imports no torch."""

import json
import random
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import click

from bot.config.values import parse_duration
from bot.corpus.merge import merge
from bot.exits import Exit
from bot.generator.errors import GeneratorError
from bot.training.corpora import discord_export
from bot.training.corpora.dialogue import Dialogue
from bot.training.corpora.files import FORMATS, located
from bot.training.corpora.posts import GAP
from bot.training.corpora.registry import CORPORA, every_dialogue
from bot.training.errors import TrainingError

STORE = "store"
DUPLICATES, NEAR_DUPLICATES = "duplicates", "near-duplicates"
_RULES = click.Choice(["length", "personal-data", "links", "profanity", DUPLICATES, NEAR_DUPLICATES])
_FILE = click.Path(path_type=Path)


class _Duration(click.ParamType[timedelta]):
    """As in config.yaml: 90s, 10m, 1h, 2d."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        try:
            return parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.group(
    epilog=f"SRC is a file or folder, its format guessed or said as PATH:FORMAT ({', '.join(FORMATS)}), or one of the "
    f"corpora that ship with the project ({', '.join(sorted(CORPORA))})."
)
def corpus() -> None:
    """Look at, convert, divide and clean what models are trained on."""


corpus.add_command(merge)


@corpus.command("convert")
@click.argument("source", metavar="SRC")
@click.argument("out", type=_FILE)
@click.option("--speaker", help="In an export: whose replies are learned, by name or id. Needed for groups.")
@click.option(
    "--gap", type=_Duration(), default=GAP, help="In an export: a longer pause ends a dialogue.  [default: 1h]"
)
@click.option("--consent", "consent_list", type=_FILE, help="For SRC store: who agreed, as: telegram:123456 yes")
@click.option("--without-consent", is_flag=True, help="For SRC store: also people who did not agree.")
@click.option("--discord", is_flag=True, help="For SRC store: also what was written on Discord.")
@click.pass_context
def convert(
    context: click.Context,
    *,
    source: str,
    out: Path,
    speaker: str | None,
    gap: timedelta,
    consent_list: Path | None,
    without_consent: bool,
    discord: bool,
) -> None:
    """Write a corpus as JSONL, the format that every other command reads fastest.

    SRC is PATH, PATH:FORMAT, the name of a corpus, or store: the bot's own conversations, of people who agreed.

    \b
    Examples:
      banter corpus convert result.json rosie.jsonl --speaker Rosie --gap 30m
      banter corpus convert train.tsv:dialogpt train.jsonl
      banter corpus convert store own.jsonl --consent consent.txt
    """
    from bot.training.corpora.jsonl import line_of
    from bot.training.corpora.output import whole_file

    with _reported():
        if source == STORE:
            dialogues, after = _stored(context, consent_list, everybody=without_consent, discord=discord)
        elif consent_list or without_consent or discord:
            raise click.UsageError("--consent, --without-consent and --discord are about the SRC store.")
        else:
            dialogues, after = every_dialogue(source, speaker=speaker, gap=gap), _nothing
            _warn_of_discord(source)
        written = turns = too_short = 0
        with whole_file(out) as file:
            for dialogue in _progress(dialogues):
                pieces = list(dialogue.pieces([bool(turn.strip()) for turn in dialogue.turns]))
                too_short += not pieces
                for piece in pieces:
                    file.write(line_of(piece))
                    written += 1
                    turns += len(piece.turns)
            if not written:
                after()
                raise TrainingError(f"{source}: there is no dialogue with an answer in it, so {out} is not written.")
    click.echo(f"{out}: {written:,} dialogues, {turns:,} turns")
    if too_short:
        click.echo(f"  left out, without an answer: {too_short:,}")
    after()


@corpus.command("stats")
@click.argument("source", metavar="SRC")
@click.option("--speaker", help="In an export: whose replies are learned.")
@click.option("--tokenizer", help="A checkpoint in whose tokens to count too.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def stats(source: str, speaker: str | None, tokenizer: str | None, as_json: bool) -> None:
    """Sizes, languages, repetitions, longest turns.

    \b
    Examples:
      banter corpus stats rosie.jsonl
      banter corpus stats everyday --tokenizer starter --json
    """
    from bot.training.corpora.stats import CorpusStats

    with _reported():
        collected = CorpusStats(None if tokenizer is None else _token_counter(tokenizer))
        report = collected.add_all(_progress(every_dialogue(source, speaker=speaker))).report()
    click.echo(json.dumps(report, ensure_ascii=False, indent=2) if as_json else "\n".join(_table(report)))


@corpus.command("split")
@click.argument("source", metavar="SRC")
@click.option("--out", type=_FILE, required=True, help="Folder for train.jsonl, valid.jsonl and test.jsonl.")
@click.option(
    "--valid", type=click.FloatRange(0, 0.9), default=0.05, show_default=True, help="Share to judge a run by."
)
@click.option("--test", type=click.FloatRange(0, 0.9), default=0.05, show_default=True, help="Share to report on.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def split(source: str, out: Path, valid: float, test: float, seed: int, as_json: bool) -> None:
    """Divide by dialogue; copies, near-duplicates and dialogues of one situation stay on one side.

    \b
    Example:
      banter corpus split rosie.jsonl --out rosie/ --valid 0.05 --test 0.05
    """
    from bot.training.corpora.split import split as carry_out

    held_out = {name: share for name, share in (("test", test), ("valid", valid)) if share}
    if sum(held_out.values()) >= 1:
        raise click.UsageError("Nothing would be left for training: --valid and --test together must be below 1.")
    with _reported():
        made = carry_out(lambda: _progress(every_dialogue(source)), out, held_out, seed)
    if as_json:
        click.echo(json.dumps(asdict(made), indent=2))
        return
    for name, number in made.dialogues.items():
        click.echo(f"{out / name}.jsonl: {number:,} dialogues")
    click.echo(f"groups of alike dialogues: {made.groups:,}, the largest of {made.largest_group:,}")
    for name, leak in made.leakage.items():
        click.echo(
            f"of {name}, also in training: {leak.exact:,} dialogues word for word, {leak.near:,} nearly, "
            f"{leak.situations:,} by situation, {leak.shared_exchanges:,} of {leak.exchanges:,} turns with their reply"
        )


@corpus.command("clean")
@click.argument("source", metavar="SRC")
@click.argument("out", type=_FILE, required=False)
@click.option("--language", "languages", multiple=True, help="Keep dialogues in it (en, de, ...), repeatable.")
@click.option("--max-words", type=click.IntRange(1), default=60, show_default=True, help="Longest turn.")
@click.option("--skip", "skipped", type=_RULES, multiple=True, help="Leave a rule out, repeatable.")
@click.option("--dry-run", is_flag=True, help="Only count.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def clean(
    *,
    source: str,
    out: Path | None,
    languages: tuple[str, ...],
    max_words: int,
    skipped: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
) -> None:
    """Leave out what shall not be learned, and say what went and why.

    A turn that is too long, has personal data, links or profanity is cut out; what stands before and after it remains.
    Of dialogues that are alike the first remains.

    \b
    Examples:
      banter corpus clean rosie.jsonl clean.jsonl --language en
      banter corpus clean rosie.jsonl --dry-run
    """
    from bot.corpus.rules import moderation_rules
    from bot.training.corpora.clean import clean as carry_out
    from bot.training.corpora.clean import length_rule

    if out is None and not dry_run:
        raise click.UsageError("Name the file to write, or add --dry-run to only count.")
    rules = [] if "length" in skipped else [length_rule(max_words)]
    with _reported():
        done = carry_out(
            _progress(every_dialogue(source)),
            None if dry_run else out,
            rules=[*rules, *moderation_rules(skipped, languages)],
            languages=languages,
            duplicates=DUPLICATES not in skipped,
            near_duplicates=NEAR_DUPLICATES not in skipped,
        )
    if as_json:
        click.echo(json.dumps(done.report(), indent=2))
        return
    click.echo("\n".join(_table(done.report())))


@corpus.command("answer")
@click.argument("source", metavar="SRC")
@click.argument("out", type=_FILE)
@click.option("--checkpoint", default="smollm2", show_default=True, help="Who answers.")
@click.option("--dialogues", type=click.IntRange(1), help="So many of them at most.  [default: all]")
@click.option("--turns", type=click.IntRange(1), default=4, show_default=True, help="What is read of a dialogue.")
@click.option("--temperature", type=click.FloatRange(0.01, 5), default=0.7, show_default=True)
@click.option("--persona", multiple=True, help="A sentence that the model is told about itself, repeatable.")
@click.option("--dtype", default="auto", show_default=True, help="float32, bfloat16 or float16.")
@click.option("--seed", type=int, default=0, show_default=True)
def answer(
    *,
    source: str,
    out: Path,
    checkpoint: str,
    dialogues: int | None,
    turns: int,
    temperature: float,
    persona: tuple[str, ...],
    dtype: str,
    seed: int,
) -> None:
    """Let a model answer what people wrote in a corpus, for a smaller one to learn from.

    Of every dialogue of the training part one turn is answered; what stood behind it goes. Only the answer is learned
    in training, its context is not. Look at the result, and let 'banter corpus clean' take out what must not be said.

    \b
    Examples:
      banter corpus answer chitchat taught.jsonl --persona "My name is Banter." --dialogues 8000
      banter corpus clean taught.jsonl clean.jsonl --language en --max-words 30
    """
    from bot.generator.engine import load_generator
    from bot.training.corpora.jsonl import line_of
    from bot.training.corpora.output import whole_file
    from bot.training.corpora.registry import corpus_named
    from bot.training.teacher import Teaching, answered

    teaching = Teaching(turns=turns, temperature=temperature, persona=persona, seed=seed)
    with _reported(), whole_file(out) as file:
        corpus = corpus_named(source)
        teacher = load_generator(checkpoint, dtype=dtype)
        asked = islice(corpus.training_pass(random.Random(seed)), dialogues)
        try:
            for made in _progress(answered(asked, teacher, teaching, corpus.answered_speakers)):
                file.write(line_of(made))
        except KeyboardInterrupt as error:
            raise TrainingError("Stopped.") from error


def _stored(
    context: click.Context, consent_list: Path | None, *, everybody: bool, discord: bool
) -> tuple[Iterator[Dialogue], Callable[[], None]]:
    """The bot's own conversations, and what is to be said when they have been read."""
    from bot.config import ConfigError, load_config
    from bot.corpus.store import consent_from, stored_dialogues

    config_path: Path = context.find_root().obj
    try:
        config = load_config(config_path)
    except ConfigError as error:
        click.echo(str(error), err=True)
        sys.exit(Exit.CONFIG)
    consent = consent_from(config, consent_list, everybody=everybody, discord=discord)

    def say_left_out() -> None:
        for reason, number in consent.left_out.most_common():
            click.echo(f"  left out, {reason}: {number:,} messages")

    return stored_dialogues(config, config_path, consent), say_left_out


def _nothing() -> None:
    pass


def _warn_of_discord(source: str) -> None:
    if source not in CORPORA and located(source)[1] == discord_export.SOURCE:
        click.echo(
            "Discord's developer terms allow no training on messages without permission: make sure that you have the "
            "channel's, and its people's.",
            err=True,
        )


def _token_counter(checkpoint: str) -> Callable[[str], int]:
    from bot.generator.formats.registry import open_checkpoint

    tokenizer = open_checkpoint(checkpoint).read_tokenizer()
    return lambda text: len(tokenizer.encode(text))


def _progress(dialogues: Iterable[Dialogue]) -> Iterator[Dialogue]:
    """On a terminal, with a counter."""
    if not sys.stderr.isatty():
        yield from dialogues
        return
    from tqdm import tqdm

    bar: Any = tqdm
    yield from bar(dialogues, unit=" dialogues", unit_scale=True, leave=False)


def _table(report: dict[str, Any], indent: str = "") -> Iterator[str]:
    """Names and values in two columns; what has parts is followed by them."""
    width = max((len(str(name)) for name in report), default=0) + 2
    for name, value in report.items():
        label = f"{indent}{str(name).replace('_', ' '):<{width}}"
        if isinstance(value, dict):
            yield f"{label}{'' if value else '-'}".rstrip()
            yield from _table(value, indent + "  ")
        elif isinstance(value, list):
            yield label.rstrip()
            yield from (f"{indent}  {', '.join(f'{key} {shown}' for key, shown in row.items())}" for row in value)
        else:
            yield f"{label}{value:,}" if isinstance(value, int | float) else f"{label}{value}"


@contextmanager
def _reported() -> Iterator[None]:
    """A mistake ends in a message, an interruption too, neither in a traceback."""
    from storage.errors import StoreError

    try:
        yield
    except (TrainingError, GeneratorError) as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        place = error.filename or "A scratch file beside the output"
        raise click.ClickException(f"{place} cannot be written: {error.strerror}.") from error
    except StoreError as error:
        click.echo(str(error), err=True)
        sys.exit(Exit.STORE)
    except KeyboardInterrupt:
        click.echo("Stopped; no file was left half written.", err=True)
        sys.exit(Exit.INTERRUPTED)
