"""`banter model convert`: any checkpoint as safetensors in the hub layout."""

import re
import sys
from pathlib import Path

import click

from bot.exits import Exit

_SIZE = re.compile(r"[1-9]\d*(KB|MB|GB)", re.IGNORECASE)


def _size(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    if not _SIZE.fullmatch(value):
        raise click.BadParameter(f"{value!r} is no size; write a whole number with KB, MB or GB, like 500MB.")
    return value.upper()


@click.command("convert")
@click.argument("path")
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--dtype",
    type=click.Choice(["float32", "float16", "bfloat16"]),
    default="float32",
    show_default=True,
    help="How weights are stored; 16 bits halve the files and round the numbers.",
)
@click.option(
    "--shard-size",
    default="5GB",
    show_default=True,
    metavar="SIZE",
    callback=_size,
    help="Largest file of weights, like 500MB; PingPong's networks are always one file.",
)
@click.option("--force", is_flag=True, help="Replace OUT if there is something in it.")
def convert(path: str, out: Path, dtype: str, shard_size: str, force: bool) -> None:
    """Write a checkpoint as safetensors in the hub layout, with tokenizer, settings and a card, into the folder OUT.

    PATH is what `banter model inspect` takes. What was written is read back and must give the same logits; OUT
    appears only then. Exit code 2: it cannot be done, and why.

    \b
    Examples:
      banter model convert restore/medium_ft.pkl checkpoints/medium
      banter model convert pingpong/ checkpoints/pingpong --dtype float16
    """
    from bot.generator.conversion.writing import convert as carry_out
    from bot.generator.damage import reported
    from bot.generator.errors import GeneratorError

    try:
        with reported(path):
            done = carry_out(path, out, dtype=dtype, shard_size=shard_size, force=force)
    except GeneratorError as error:
        click.echo(str(error), err=True)
        sys.exit(Exit.CONFIG)
    click.echo(
        f"{done.path}: {done.source.system}, {done.source.parameters:,} parameters as {dtype}, {done.bytes:,} bytes. "
        f"Largest difference of a logit to the source: {done.difference:.1e}."
    )
