"""`banter bench`: the commands that measure. What they call is imported when they run."""

import asyncio
from pathlib import Path

import click


@click.group()
def bench() -> None:
    """Measure this machine.

    \b
    Examples:
      banter bench overhead --rate 1 --rate 50 --rate 500
      banter bench model
    """


@bench.command()
@click.option("--rate", "rates", type=click.IntRange(1, 10_000), multiple=True, default=(1, 50, 500), show_default=True)
@click.option("--seconds", type=float, default=10.0, show_default=True, help="How long each rate lasts.")
@click.option("--url", help="Database to use instead of a fresh SQLite file; it is filled with test messages.")
def overhead(rates: tuple[int, ...], seconds: float, url: str | None) -> None:
    """Time from an adapter's event to its post, with a model that answers at once."""
    from bot.measure import machine, measure_overhead

    click.echo(f"{machine()}; {'SQLite' if url is None else url.partition(':')[0]}")
    click.echo(f"{'asked/s':>8} {'sent/s':>8} {'messages':>9} {'p50 ms':>8} {'p99 ms':>8}")
    for one in asyncio.run(measure_overhead(url, rates, seconds)):
        click.echo(f"{one.rate:>8} {one.sent_per_second:>8} {one.messages:>9} {one.p50_ms:>8} {one.p99_ms:>8}")


@bench.command()
@click.option("--chats", type=click.IntRange(1, 256), multiple=True, default=(1, 4, 16), show_default=True)
@click.option("--repeats", type=click.IntRange(1, 100), default=5, show_default=True)
@click.pass_obj
def model(config_path: Path, chats: tuple[int, ...], repeats: int) -> None:
    """Turns a second with the configured model, generated and ranked, at several numbers of simultaneous chats."""
    from bot.config import load_config
    from bot.measure import machine, measure_model

    measured = asyncio.run(measure_model(load_config(config_path), chats, repeats))
    click.echo(machine())
    click.echo(f"{'chats':>6} {'seconds':>9} {'turns/s':>9}")
    for count, seconds in measured.items():
        click.echo(f"{count:>6} {seconds:>9.3f} {count / seconds:>9.2f}")
