"""`banter check`: does what a start does, part by part, and says what it found."""

import asyncio
import functools
from collections.abc import Awaitable, Callable
from pathlib import Path

import click

from adapters.base import Adapter, AdapterError, PlatformUnreachable
from bot.app import make_adapters, prepare_store
from bot.config import Config, ConfigError, load_config
from bot.exits import Exit
from bot.logs import set_up_logging
from storage import files, upkeep
from storage.errors import StoreError


async def check_all(config_path: Path, *, ask_platforms: bool) -> Exit:
    """Print one paragraph a part; the first failure's exit code, Exit.OK if there is none."""
    set_up_logging("warning", "console", ())
    try:
        config = load_config(config_path)
    except ConfigError as error:
        click.echo(f"BAD configuration\n{error}")
        return Exit.CONFIG
    set_up_logging("warning", config.logs.format, config.secrets())
    click.echo(f"ok  configuration: {config_path}, revision {config.revision}")
    adapters = make_adapters(config) if ask_platforms else []
    parts: list[Callable[[], Awaitable[Exit]]] = [
        lambda: _check_store(config, config_path),
        lambda: _check_model(config),
    ]
    if adapters:
        parts += [functools.partial(_check_platform, adapter) for adapter in adapters]
    results = [await part() for part in parts]
    if ask_platforms and not adapters:
        click.echo("--  platforms: no token is set, so `banter run` talks in the terminal")
    return next((result for result in results if result is not Exit.OK), Exit.OK)


async def _check_store(config: Config, config_path: Path) -> Exit:
    try:
        store = await asyncio.to_thread(prepare_store, config, config_path)
        try:
            counts = await store.read(upkeep.counts)
        finally:
            await store.close()
    except StoreError as error:
        click.echo(f"BAD database: {error}")
        return Exit.STORE
    click.echo(
        f"ok  database: {store.where}; {counts.pending} turns wait, {counts.dead} dead, "
        f"{counts.dead_letters} unreadable events"
    )
    if store.sqlite_file is not None and files.is_network_file_system(store.sqlite_file):
        click.echo("BAD database: SQLite's locks do not work on a network file system; use a local disk or PostgreSQL")
        return Exit.STORE
    return Exit.OK


async def _check_model(config: Config) -> Exit:
    from bot.generator.errors import GeneratorError
    from bot.models import Models

    try:
        models = await asyncio.to_thread(Models.load, config)
    except GeneratorError as error:
        click.echo(f"BAD model: {error}")
        return Exit.CONFIG
    rankers = ", ".join(models.ranker_revisions) or "none"
    click.echo(f"ok  model: {config.model.checkpoint}, revision {models.generator.revision}; rankers: {rankers}")
    models.close()
    return Exit.OK


async def _check_platform(adapter: Adapter) -> Exit:
    try:
        identity = await adapter.identify()
    except PlatformUnreachable as error:
        click.echo(f"BAD {adapter.platform}: {error}")
        return Exit.PLATFORM
    except AdapterError as error:
        click.echo(f"BAD {adapter.platform}: {error}")
        return Exit.PLATFORM
    finally:
        await adapter.close()
    click.echo(f"ok  {adapter.platform}: the token belongs to {identity.name} (id {identity.id})")
    if identity.invite_url:
        click.echo(f"    invite it: {identity.invite_url}")
    for limitation in identity.limitations:
        click.echo(f"    note: {limitation}")
    return Exit.OK
