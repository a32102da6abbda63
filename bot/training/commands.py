"""The training commands of the command line. Torch is imported only when one of them runs."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from bot.generator.errors import GeneratorError
from bot.training.errors import TrainingError
from bot.training.options import run_options
from bot.training.processes import is_first

if TYPE_CHECKING:
    from bot.training.examples import Share
    from bot.training.options import Settings

T = TypeVar("T")

CORPUS_HELP = (
    "NAME=WEIGHT, repeatable: everyday, smalltalk, chitchat, chatterbot, or PATH:FORMAT for a file of yours ("
    "'banter corpus --help' lists the formats); 2 reads it twice an epoch, 0.5 half of it."
)
RANKER_CORPUS_HELP = f"{CORPUS_HELP} PATH:dialogrpt: pairs of a better and a worse answer, as DialogRPT trains on them."


@click.command("train")
@click.option("--from-scratch", is_flag=True, help="Start with random weights and a tokenizer of its own.")
@click.option("--checkpoint", help='Go on from this one: "starter", "smollm2", a directory, or a hub id.')
@click.option("--dialect", default="auto", show_default=True, help="How talks are written; auto: the checkpoint's way.")
@click.option(
    "--lora-rank", type=click.IntRange(1, 256), help="Train an adapter of this rank beside the checkpoint's weights."
)
@click.option(
    "--persona",
    multiple=True,
    help="A sentence that the model is told about itself, repeatable; where the dialect has a place for it.",
)
@click.option("--layers", type=click.IntRange(1), default=6, show_default=True, help="From scratch: depth.")
@click.option("--width", type=click.IntRange(16), default=256, show_default=True, help="From scratch: width.")
@click.option("--vocab-size", type=click.IntRange(300), default=6000, show_default=True, help="From scratch: tokens.")
@click.option("--corpus", "corpora", multiple=True, default=("everyday=1",), show_default=True, help=CORPUS_HELP)
@click.option("--held-out", help="PATH:FORMAT of a file to judge the run by.  [default: part of the first corpus]")
@click.option(
    "--learn",
    type=click.Choice(["corpus", "replies", "dialogue"]),
    default="corpus",
    show_default=True,
    help="Learn the bot's replies, the whole dialogue, or what each corpus is made for.",
)
@click.option("--reverse", is_flag=True, help="Tell dialogues backwards, for a ranker by mutual information (MMI).")
@click.option("--max-turns", type=click.IntRange(2), help="Turns of an example, where each reply is one.")
@click.option(
    "--max-tokens", type=click.IntRange(8), help="Longest example.  [default: what the model reads; an adapter: 256]"
)
@click.option("--dropout", type=click.FloatRange(0, 0.9), help="[default: 0.1; an adapter: 0]")
@run_options(learning_rate=2e-3)
def train(
    *,
    settings: "Settings",
    from_scratch: bool,
    checkpoint: str | None,
    dialect: str,
    lora_rank: int | None,
    persona: tuple[str, ...],
    layers: int,
    width: int,
    vocab_size: int,
    corpora: tuple[str, ...],
    held_out: str | None,
    learn: str,
    reverse: bool,
    max_turns: int | None,
    max_tokens: int | None,
    dropout: float | None,
) -> None:
    """Train a generator. Started again with the same --out, it goes on where it stopped.

    On several GPUs: torchrun --nproc-per-node 4 -m bot train ...
    """

    def work() -> Path:
        from bot.training.examples import Learn, Lesson
        from bot.training.finetune import Plan
        from bot.training.finetune import train as carry_out
        from bot.training.networks import Shape

        shape = Shape(layers=layers, width=width, vocabulary_size=vocab_size) if from_scratch else None
        plan = Plan(
            settings=settings(for_adapter=lora_rank is not None),
            shares=_shares(corpora),
            shape=shape,
            checkpoint=checkpoint,
            adapter_rank=lora_rank,
            dialect=dialect,
            persona=persona,
            lesson=Lesson(learn=Learn(learn), reverse=reverse, max_turns=max_turns),
            held_out=held_out,
            dropout=dropout,
            max_tokens=max_tokens,
        )
        carry_out(plan)
        return plan.settings.out

    _say(f"The generator is in {_reported(work)}.")


@click.command("train-ranker")
@click.option("--generator", default="starter", show_default=True, help="Its trunk is the start; it also errs for us.")
@click.option("--corpus", "corpora", multiple=True, default=("everyday=1",), show_default=True, help=RANKER_CORPUS_HELP)
@click.option(
    "--against",
    type=click.Choice(["random", "machine"]),
    multiple=True,
    default=("random", "machine"),
    show_default=True,
    help="Tell real replies from those to something else, or from the generator's own; repeatable.",
)
@run_options(learning_rate=3e-4)
def train_ranker(*, settings: "Settings", generator: str, corpora: tuple[str, ...], against: tuple[str, ...]) -> None:
    """Train a ranker that tells a fitting reply from others. Started again, it goes on where it stopped."""

    def work() -> Path:
        from bot.training.contrast_data import Against
        from bot.training.ranker import RankerPlan
        from bot.training.ranker import train_ranker as carry_out

        plan = RankerPlan(
            settings=settings(),
            generator=generator,
            shares=_shares(corpora, for_ranker=True),
            against=frozenset(map(Against, against)),
        )
        for name, value in carry_out(plan).items():
            _say(f"{name.replace('_', ' ')}: {value:.4g}")
        return plan.settings.out

    _say(f"The ranker is in {_reported(work)}.")


def _reported(work: Callable[[], T]) -> T:
    """A user's mistake ends in one line, not in a traceback."""
    # Read by OpenMP when torch is imported: threads that spin while they wait slow a shared machine tenfold.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        return work()
    except (TrainingError, GeneratorError) as error:
        raise click.ClickException(str(error)) from error
    except ImportError as error:
        raise click.ClickException(f"Training needs more packages ({error}): pip install 'banter[train]'.") from error


def _say(line: str) -> None:
    """Once, whatever number of processes there are."""
    if is_first():
        click.echo(line)


def _shares(corpora: tuple[str, ...], *, for_ranker: bool = False) -> list["Share"]:
    from bot.training.corpora.preferences import preference_file
    from bot.training.corpora.registry import corpus_named
    from bot.training.examples import Share

    shares = []
    for given in corpora:
        name, equals, weight = given.rpartition("=")
        if not equals or ":" in weight:  # the sign stands in a path
            name, weight = given, "1"
        if not for_ranker or preference_file(name) is None:
            corpus_named(name)
        try:
            shares.append(Share(name, float(weight or 1)))
        except ValueError:
            raise TrainingError(
                f"--corpus {given}: {weight!r} is no number. Write NAME=WEIGHT, as everyday=2."
            ) from None
    return shares
