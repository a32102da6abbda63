"""The training commands of the command line. Torch is imported only when one of them runs."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from bot.generator.errors import GeneratorError
from bot.training.errors import TrainingError

if TYPE_CHECKING:
    from bot.training.examples import Share

T = TypeVar("T")

CORPUS_HELP = (
    "NAME=WEIGHT, repeatable: everyday, chitchat, chatterbot, or PATH:FORMAT for a file of yours (gpt2-chitchat, "
    "dialogpt, devjwsong and their kinds); 2 reads it twice an epoch, 0.5 half of it."
)
RANKER_CORPUS_HELP = f"{CORPUS_HELP} PATH:dialogrpt: pairs of a better and a worse answer, as DialogRPT trains on them."


@click.command("train")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Directory of the new checkpoint.")
@click.option("--from-scratch", is_flag=True, help="Start with random weights and a tokenizer of its own.")
@click.option("--checkpoint", help='Go on from this one: "starter", a directory, or a hub id.')
@click.option("--dialect", default="auto", show_default=True, help="How talks are written; auto: the checkpoint's way.")
@click.option(
    "--lora-rank", type=click.IntRange(1, 256), help="Train an adapter of this rank beside the checkpoint's weights."
)
@click.option(
    "--persona", multiple=True, help="A sentence that the model is told about itself, repeatable; for an adapter."
)
@click.option("--layers", type=click.IntRange(1), default=6, show_default=True, help="From scratch: depth.")
@click.option("--width", type=click.IntRange(16), default=256, show_default=True, help="From scratch: width.")
@click.option("--vocab-size", type=click.IntRange(300), default=6000, show_default=True, help="From scratch: tokens.")
@click.option("--corpus", "corpora", multiple=True, default=("everyday=1",), show_default=True, help=CORPUS_HELP)
@click.option("--held-out", help="PATH:FORMAT of a file to judge the run by.  [default: part of the first corpus]")
@click.option("--epochs", type=click.IntRange(1), default=1, show_default=True)
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), help="End after this time, well annealed.")
@click.option("--learning-rate", type=click.FloatRange(min=0, min_open=True), default=2e-3, show_default=True)
@click.option("--dtype", type=click.Choice(["bf16", "float32"]), default="bf16", show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
def train(
    *,
    out: Path,
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
    epochs: int,
    minutes: float | None,
    learning_rate: float,
    dtype: str,
    seed: int,
) -> None:
    """Train a generator. Started again with the same --out, it goes on where it stopped."""

    def adapt(rank: int) -> None:
        from bot.training.adapter import AdapterPlan, train_adapter

        if checkpoint is None:
            raise TrainingError("An adapter stands beside a model: name it with --checkpoint.")
        train_adapter(
            AdapterPlan(
                out=out,
                checkpoint=checkpoint,
                shares=_shares(corpora),
                persona=persona,
                rank=rank,
                epochs=epochs,
                minutes=minutes,
                learning_rate=learning_rate,
                bf16=dtype == "bf16",
                seed=seed,
            )
        )

    def work() -> None:
        if lora_rank is not None:
            adapt(lora_rank)
            return
        from bot.training.finetune import Plan, Shape
        from bot.training.finetune import train as carry_out

        shape = Shape(layers=layers, width=width, vocabulary_size=vocab_size) if from_scratch else None
        carry_out(
            Plan(
                out=out,
                shares=_shares(corpora),
                shape=shape,
                checkpoint=checkpoint,
                dialect=dialect,
                held_out=held_out,
                epochs=epochs,
                minutes=minutes,
                learning_rate=learning_rate,
                bf16=dtype == "bf16",
                seed=seed,
            )
        )

    _reported(work)
    click.echo(f"The generator is in {out}.")


@click.command("train-ranker")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Directory of the new ranker.")
@click.option("--generator", default="starter", show_default=True, help="Its trunk is the start; it also errs for us.")
@click.option("--corpus", "corpora", multiple=True, default=("everyday=1",), show_default=True, help=RANKER_CORPUS_HELP)
@click.option("--epochs", type=click.IntRange(1), default=1, show_default=True)
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), help="End after this time, well annealed.")
@click.option("--learning-rate", type=click.FloatRange(min=0, min_open=True), default=3e-4, show_default=True)
@click.option("--dtype", type=click.Choice(["bf16", "float32"]), default="bf16", show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
def train_ranker(
    *,
    out: Path,
    generator: str,
    corpora: tuple[str, ...],
    epochs: int,
    minutes: float | None,
    learning_rate: float,
    dtype: str,
    seed: int,
) -> None:
    """Train a ranker that tells a fitting reply from others."""

    def work() -> None:
        from bot.training.ranker import RankerPlan
        from bot.training.ranker import train_ranker as carry_out

        carry_out(
            RankerPlan(
                out=out,
                generator=generator,
                shares=_shares(corpora, for_ranker=True),
                minutes=minutes,
                epochs=epochs,
                learning_rate=learning_rate,
                bf16=dtype == "bf16",
                seed=seed,
            )
        )

    _reported(work)
    click.echo(f"The ranker is in {out}.")


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
