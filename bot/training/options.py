"""The options that every training command has, and the settings that they make."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from bot.training.settings import RunSettings, Schedule

_POSITIVE = click.FloatRange(min=0, min_open=True)
_NAMES = (
    "out", "epochs", "minutes", "learning_rate", "schedule", "warm_up", "weight_decay", "batch_tokens", "accumulate",
    "gradient_checkpointing", "patience", "evaluate_every", "dtype", "seed",
)  # fmt: skip

Settings = Callable[..., RunSettings]


def run_options(*, learning_rate: float) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command the options, and one argument for all of them: `settings`, which makes a RunSettings."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def called(**given: Any) -> Any:
            ours = {option: given.pop(option) for option in _NAMES}
            return command(settings=functools.partial(_settings, ours), **given)

        wrapped: Callable[..., Any] = called
        for option in reversed(_options(learning_rate)):
            wrapped = option(wrapped)
        return wrapped

    return decorate


def _options(learning_rate: float) -> list[Callable[[Any], Any]]:
    return [
        click.option("--out", type=click.Path(path_type=Path), required=True, help="Directory of what is trained."),
        click.option("--epochs", type=click.IntRange(1), default=1, show_default=True),
        click.option("--minutes", type=_POSITIVE, help="End after this time, well annealed."),
        click.option("--learning-rate", type=_POSITIVE, default=learning_rate, show_default=True, help="The highest."),
        click.option(
            "--schedule",
            type=click.Choice([one.value for one in Schedule]),
            default=Schedule.LINEAR.value,
            show_default=True,
            help="How the learning rate falls.",
        ),
        click.option("--warm-up", type=click.IntRange(0), default=60, show_default=True, help="Steps that it rises."),
        click.option("--weight-decay", type=click.FloatRange(min=0), help="[default: 0.01; an adapter: 0]"),
        click.option(
            "--batch-tokens",
            type=click.IntRange(16),
            help="Tokens that a device computes at once.  [default: 4096; an adapter: 1536]",
        ),
        click.option("--accumulate", type=click.IntRange(1), default=1, show_default=True, help="Batches of a step."),
        click.option("--gradient-checkpointing", is_flag=True, help="Half the memory for a third more time."),
        click.option("--patience", type=click.IntRange(1), help="End after so many evaluations without improvement."),
        click.option(
            "--evaluate-every",
            type=click.IntRange(1),
            default=200,
            show_default=True,
            help="Steps between two evaluations, each with a checkpoint.",
        ),
        click.option(
            "--dtype",
            type=click.Choice(["auto", "bf16", "fp16", "float32"]),
            default="auto",
            show_default=True,
            help="Number format; auto: what the device is fast in.",
        ),
        click.option("--seed", type=int, default=0, show_default=True),
    ]


def _settings(given: dict[str, Any], *, for_adapter: bool = False) -> RunSettings:
    """`for_adapter`: its base is large, so its batches are small, and few weights need no decay."""
    decay, tokens = given["weight_decay"], given["batch_tokens"]
    usual_decay, usual_tokens = (0.0, 1536) if for_adapter else (0.01, 4096)
    return RunSettings(
        out=given["out"],
        epochs=given["epochs"],
        minutes=given["minutes"],
        learning_rate=given["learning_rate"],
        schedule=Schedule(given["schedule"]),
        warm_up_steps=given["warm_up"],
        weight_decay=usual_decay if decay is None else decay,
        batch_tokens=usual_tokens if tokens is None else tokens,
        accumulate=given["accumulate"],
        gradient_checkpointing=given["gradient_checkpointing"],
        patience=given["patience"],
        evaluate_every_steps=given["evaluate_every"],
        dtype=given["dtype"],
        seed=given["seed"],
    )
