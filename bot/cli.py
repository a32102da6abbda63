"""The command line. Imports nothing heavy: each command fetches what it needs."""

import asyncio
import contextlib
import importlib
import json
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from bot.exits import Exit

if TYPE_CHECKING:
    from adapters.transcript import Transcript
    from bot.config import Config
    from storage.store import Store

_PLATFORMS = click.Choice(["telegram", "discord", "worker"])

# 2, the library's own choice, says here that the configuration is wrong.
click.UsageError.exit_code = int(Exit.USAGE)


_ELSEWHERE = {
    "bench": "bot.bench",
    "corpus": "bot.corpus.command",
    "evaluate": "bot.training.evaluate_command",
    "model": "bot.model_commands",
    "persona": "bot.personas.command",
    "score": "bot.scoring.command",
    "train": "bot.training.commands",
    "train-ranker": "bot.training.commands",
}


class _Commands(click.Group):
    """Commands of other modules, imported when they are called for: `--help` shall not wait for them."""

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted([*super().list_commands(context), *_ELSEWHERE])

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        module = _ELSEWHERE.get(name)
        if module is None:
            return super().get_command(context, name)
        command: click.Command = getattr(importlib.import_module(module), name.replace("-", "_"))
        return command


def _fail(message: str, code: Exit) -> NoReturn:
    """End with a message for a mistake that can be put right, and no traceback."""
    click.echo(message, err=True)
    sys.exit(code)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="banter", prog_name="banter")
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    default=Path("config.yaml"),
    show_default=True,
    help="The configuration file.",
)
@click.pass_context
def main(context: click.Context, config_path: Path) -> None:
    """Banter: a chat bot for Telegram and Discord that answers with a fine-tuned GPT-2.

    \b
    Examples:
      banter run                    serve every platform that has a token, or talk here
      banter check                  look at configuration, database, model and tokens
      banter --config my.yaml run   use another configuration
    """
    context.obj = config_path


@main.command()
@click.option("--only", multiple=True, type=_PLATFORMS, help="Run just this part; may be given more than once.")
@click.pass_obj
def run(config_path: Path, only: tuple[str, ...]) -> None:
    """Serve Telegram and Discord; without a token, talk in this terminal.

    \b
    Examples:
      banter run
      banter run --only telegram --only worker
      printf 'hi\\nhow are you?\\n' | banter run
    """
    if only == ("worker",):
        from bot.worker import main as worker_main

        sys.exit(worker_main(["--config", str(config_path)]))
    sys.exit(_run_app(config_path, only=only, terminal=False))


@main.command()
@click.option("--self", "with_itself", is_flag=True, help="The bot talks to itself.")
@click.option("--turns", type=click.IntRange(1), help="With --self: so many lines.  [default: 20]")
@click.option("--opening", help="With --self: the first line.  [default: the persona's greeting]")
@click.option("--seed", type=int, help="With --self: the same seed, the same talk.  [default: another each time]")
@click.option("--save", type=click.Path(path_type=Path, dir_okay=False), help="Append the talk to this file.")
@click.pass_obj
def chat(
    config_path: Path,
    with_itself: bool,
    turns: int | None,
    opening: str | None,
    seed: int | None,
    save: Path | None,
) -> None:
    """Talk in this terminal, whatever tokens are set; or listen to the bot talking to itself.

    \b
    Examples:
      banter chat --save talk.txt
      banter chat --self --turns 10 --opening "Do you like music?"
    """
    if not with_itself and (turns, opening, seed) != (None, None, None):
        raise click.UsageError("--turns, --opening and --seed belong to --self.")
    with _transcript(save) as transcript:
        if not with_itself:
            sys.exit(_run_app(config_path, only=(), terminal=True, transcript=transcript))
        from bot.generator.errors import GeneratorError
        from bot.self_talk import show_talk

        try:
            show_talk(_load(config_path), transcript, turns=turns or 20, opening=opening, seed=seed)
        except GeneratorError as error:
            _fail(f"model: {error}", Exit.CONFIG)
        except KeyboardInterrupt:
            return


@main.command()
@click.option("--offline", is_flag=True, help="Do not ask the platforms to whom the tokens belong.")
@click.pass_obj
def check(config_path: Path, offline: bool) -> None:
    """Try what a start would do - configuration, database, model, tokens - and say what is wrong."""
    from bot.check import check_all

    sys.exit(asyncio.run(check_all(config_path, ask_platforms=not offline)))


@main.command()
@click.option("--json", "as_json", is_flag=True, help="The whole snapshot.")
@click.pass_obj
def health(config_path: Path, as_json: bool) -> None:
    """Say whether the program that runs with this configuration is well (exit code 0) or not (1)."""
    from bot.health import read_health

    snapshot = read_health(config_path)
    if snapshot is None:
        _fail(f"Nothing runs with {config_path}.", Exit.FAILED)
    if as_json:
        click.echo(json.dumps(snapshot, indent=2))
    else:
        for name, part in snapshot["parts"].items():
            click.echo(f"{'ok ' if part['ready'] else 'BAD'} {name}: {part['detail']}")
    sys.exit(Exit.OK if snapshot["ready"] else Exit.FAILED)


@main.group()
def config() -> None:
    """Look at the configuration."""


@config.command("schema")
def config_schema() -> None:
    """Print the JSON Schema that editors use to help with config.yaml."""
    from bot.config import config_schema as schema

    click.echo(json.dumps(schema(), indent=2))


@config.command("check")
@click.pass_obj
def config_check(config_path: Path) -> None:
    """Say whether config.yaml is valid, and everything that is wrong with it."""
    loaded = _load(config_path)
    click.echo(f"{config_path} is valid (revision {loaded.revision}).")


@config.command("import-gpt2bot")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Write it here; without this, it is only shown.")
@click.option("--force", is_flag=True, help="Overwrite the file that --out names.")
def config_import_gpt2bot(file: Path, out: Path | None, force: bool) -> None:
    """Turn a gpt2bot configuration (.cfg) into a config.yaml, and say what has no place in it.

    \b
    Example:
      banter config import-gpt2bot chatbot.cfg --out config.yaml
    """
    from bot.config import ConfigError
    from bot.gpt2bot.conversion import import_gpt2bot, write_import

    try:
        imported = import_gpt2bot(file)
    except ConfigError as error:
        _fail(str(error), Exit.CONFIG)
    for remark in imported.remarks:
        click.echo(remark, err=True)
    if out is None:
        click.echo(imported.text, nl=False)
        return
    try:
        done = write_import(imported, out, force=force)
    except FileExistsError:
        _fail(f"{out} exists; name another file, or add --force to overwrite it.", Exit.FAILED)
    except OSError as error:
        _fail(f"{error.filename or out} cannot be written: {error.strerror}.", Exit.FAILED)
    click.echo("\n".join(done))


@main.group()
def dead() -> None:
    """Turns that could not be answered after all attempts, and events that could not be read."""


@dead.command("list")
@click.pass_obj
def dead_list(config_path: Path) -> None:
    """List them, newest first."""
    from storage import turns, upkeep

    async def listed(store: "Store") -> None:
        for turn in await store.read(turns.list_dead):
            when = f"{turn.finished_at:%Y-%m-%d %H:%M}"
            click.echo(f"{turn.id:>8}  {when}  {turn.platform}:{turn.address}  {turn.attempts}x  {turn.reason}")
        for letter in await store.read(upkeep.list_dead_letters):
            when = f"{letter.created_at:%Y-%m-%d %H:%M}"
            click.echo(f"  letter {letter.id}  {when}  {letter.platform} event {letter.event_id}: {letter.error}")

    _with_store(config_path, listed)


@dead.command("retry")
@click.argument("turn_id", type=int)
@click.pass_obj
def dead_retry(config_path: Path, turn_id: int) -> None:
    """Queue a dead turn once more.

    \b
    Example:
      banter dead retry 17
    """
    from storage import turns

    async def retried(store: "Store") -> None:
        if not await store.write(turns.retry_dead, turn_id):
            _fail(f"There is no dead turn {turn_id}; see: banter dead list", Exit.FAILED)
        click.echo(f"Turn {turn_id} waits for an answer again.")

    _with_store(config_path, retried)


@dead.command("drop")
@click.argument("turn_id", type=int)
@click.pass_obj
def dead_drop(config_path: Path, turn_id: int) -> None:
    """Leave a dead turn unanswered and stop listing it."""
    from storage import turns

    async def dropped(store: "Store") -> None:
        if not await store.write(turns.drop_dead, turn_id):
            _fail(f"There is no dead turn {turn_id}; see: banter dead list", Exit.FAILED)
        click.echo(f"Turn {turn_id} is dropped.")

    _with_store(config_path, dropped)


@main.command()
@click.argument("person")
@click.pass_obj
def forget(config_path: Path, person: str) -> None:
    """Erase everything a person wrote, as their own /forget would.

    \b
    Example:
      banter forget telegram:123456
    """
    from storage import files, people

    platform, colon, author = person.partition(":")
    if not colon or not author:
        raise click.UsageError(f"{person!r} names nobody; write PLATFORM:ID, for example telegram:123456")

    async def forgotten(store: "Store") -> None:
        erased = await store.write(people.forget_person, platform, author)
        if store.sqlite_file is not None:
            await asyncio.to_thread(files.scrub, store.sqlite_file)
        click.echo(f"Erased {erased.messages} messages and {erased.replies} replies.")

    _with_store(config_path, forgotten)


@main.group()
def db() -> None:
    """The database's schema and copies."""


@db.command("upgrade")
@click.pass_obj
def db_upgrade(config_path: Path) -> None:
    """Bring the schema up to date (a start does this by itself)."""

    async def nothing(_store: "Store") -> None:
        click.echo("The schema is up to date.")

    _with_store(config_path, nothing)


@db.command("backup")
@click.pass_obj
def db_backup(config_path: Path) -> None:
    """Copy a SQLite database, also while it is in use."""
    from storage import files
    from storage.store import utc_now

    loaded = _load(config_path)

    async def copied(store: "Store") -> None:
        if store.sqlite_file is None:
            _fail("This database is PostgreSQL: use pg_dump.", Exit.STORE)
        folder = store.sqlite_file.parent / "backups"
        click.echo(files.back_up(store.sqlite_file, folder, utc_now(), loaded.jobs.keep_backups))

    _with_store(config_path, copied)


@contextlib.contextmanager
def _transcript(path: Path | None) -> "Iterator[Transcript | None]":
    if path is None:
        yield None
        return
    from adapters.transcript import Transcript

    try:
        opened = Transcript(path, datetime.now())
    except OSError as error:
        _fail(f"{path} cannot be written: {error.strerror}.", Exit.FAILED)
    with opened:
        yield opened


def _run_app(config_path: Path, only: tuple[str, ...], terminal: bool, transcript: "Transcript | None" = None) -> int:
    from bot.app import App
    from bot.config import ConfigError
    from storage.errors import StoreError

    try:
        return int(asyncio.run(App(config_path, only=only, terminal=terminal, transcript=transcript).run()))
    except ConfigError as error:
        _fail(str(error), Exit.CONFIG)
    except StoreError as error:
        _fail(str(error), Exit.STORE)
    except ExceptionGroup as group:
        known = group.subgroup(StoreError)
        if known is None:
            raise
        _fail(str(known.exceptions[0]), Exit.STORE)


def _load(config_path: Path) -> "Config":
    from bot.config import ConfigError, load_config

    try:
        return load_config(config_path)
    except ConfigError as error:
        _fail(str(error), Exit.CONFIG)


def _with_store(config_path: Path, work: Any) -> None:
    from bot.app import prepare_store
    from storage.errors import StoreError

    loaded = _load(config_path)

    async def worked() -> None:
        store = await asyncio.to_thread(prepare_store, loaded, config_path)
        try:
            await work(store)
        finally:
            await store.close()

    try:
        asyncio.run(worked())
    except StoreError as error:
        _fail(str(error), Exit.STORE)


if __name__ == "__main__":
    main()
