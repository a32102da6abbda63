"""`banter persona`: make one from a chat, send it, take it in, look at it. Torch is imported only to build."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from bot.config.values import parse_duration
from bot.exits import Exit

if TYPE_CHECKING:
    from bot.personas.build import BuildPlan

_PATH = click.Path(path_type=Path)
_RANK_OF_OTHERS = 16
_RATES = {"weights": 7e-4, "adapter": 5e-4}
"""Of a whole small model, and of an adapter beside a large one."""


@click.group()
def persona() -> None:
    """Personas as packs: built from a chat export, sent as one file, added to config.yaml.

    \b
    Examples:
      banter persona build result.json --speaker Rosie --yes-i-have-consent Rosie --yes-i-have-consent Sam
      banter persona import rosie.tar.gz
      banter persona show rosie
    """


def _name(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    import re

    from bot.personas.manifest import NAME

    if value is not None and not re.fullmatch(NAME, value):
        raise click.BadParameter(f"{value!r} is no name people can type: letters, digits, - and _, up to 32.")
    return value


def _gap(_context: click.Context, _parameter: click.Parameter, value: str) -> timedelta:
    try:
        return parse_duration(value)
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from error


@persona.command("build")
@click.argument("export")
@click.option("--speaker", required=True, help="Who becomes the persona: a name or an id in the export.")
@click.option(
    "--yes-i-have-consent",
    "agreed",
    multiple=True,
    metavar="NAME",
    help="This person agreed, repeatable: the speaker, and everybody whose lines may be read.",
)
@click.option("--consent", "consent_file", type=_PATH, help="A file with such names, one a line.")
@click.option("--name", callback=_name, help="Its key in config.yaml.  [default: from the speaker's name]")
@click.option("--called", help="What it calls itself, if not by the speaker's name.")
@click.option("--greeting", default="Hi!", show_default=True)
@click.option("--fact", "facts", multiple=True, help='True of it, repeatable: "I have two cats."')
@click.option("--base", default="starter", show_default=True, help='"starter", "smollm2", a hub id or a folder.')
@click.option(
    "--lora-rank",
    "rank",
    type=click.IntRange(1, 256),
    help="Train an adapter of this rank beside the base.  [default: all weights of a GPT-2, else 16]",
)
@click.option("--epochs", type=click.IntRange(1), default=3, show_default=True, help="Passes over the chat, at most.")
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), help="End the training after this time.")
@click.option(
    "--learning-rate",
    type=click.FloatRange(min=0, min_open=True),
    help=f"[default: {_RATES['weights']:g}; an adapter: {_RATES['adapter']:g}]",
)
@click.option("--gap", default="1h", show_default=True, callback=_gap, help="A longer pause ends a talk.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option(
    "--licence",
    default="Private: for those who agreed. Ask all of them before you pass it on.",
    show_default=True,
    help="What others may do with the pack.",
)
@click.option("--out", type=_PATH, help="Folder of the pack.  [default: personas/NAME beside config.yaml]")
@click.option("--work", type=_PATH, help="Folder for what is under way.  [default: OUT.build]")
@click.pass_obj
def build(config_path: Path, /, **given: Any) -> None:
    """Make a persona pack from a chat export of Telegram Desktop (JSON) or DiscordChatExporter (JSON).

    Personal data is scrubbed; lines of people who did not agree are left out. Stopped or killed, the same command
    goes on where it was. docs/personas.md says what is learned and what is not.

    \b
    Examples:
      banter persona build result.json --speaker Rosie --consent agreed.txt
      banter persona build result.json --speaker Rosie --consent agreed.txt --base smollm2 --minutes 60
    """
    # Read by OpenMP when torch is imported: threads that spin while they wait slow a shared machine tenfold.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with _mistakes_told(interrupted="Stopped. Start the same command again to go on."):
        from bot.personas.build import build as carry_out
        from bot.personas.build import manifest_of
        from bot.personas.building import STAGES

        plan = _plan(config_path, **given)
        manifest_of(plan)  # what is wrong with it is told now, not after an hour of training
        carry_out(plan, STAGES, click.echo)
    click.echo(
        f"The persona is in {plan.out}, and to send in {plan.out.name}.tar.gz beside it. Read its CARD.md and "
        f"samples.md first.\nTo take it in: banter persona import {plan.out}\n"
        f"{plan.work} holds the scrubbed chat and the "
        "key of the pseudonyms: delete it, or keep it to yourself."
    )


def _plan(
    config_path: Path,
    *,
    agreed: tuple[str, ...],
    consent_file: Path | None,
    name: str | None,
    called: str | None,
    rank: int | None,
    learning_rate: float | None,
    out: Path | None,
    work: Path | None,
    **given: Any,
) -> "BuildPlan":
    from bot.personas.build import BuildPlan, name_from
    from bot.personas.errors import PersonaError
    from bot.personas.installing import FOLDER
    from bot.personas.people import read_consent

    consent = [*agreed, *(read_consent(consent_file) if consent_file else ())]
    if not consent:
        raise PersonaError(
            "Nobody's words are learned without consent. Name the speaker and all others who agreed, with "
            "--yes-i-have-consent NAME, or in a file, one a line, with --consent FILE."
        )
    name = name or name_from(given["speaker"])
    out = out or config_path.parent / FOLDER / name
    work = work or out.with_name(f"{out.name}.build")
    if out.exists() and not (work / "samples.json").exists():
        raise PersonaError(f"{out} is there already. Choose another --name or --out, or delete it.")
    rank = rank or _usual_rank(given["base"])
    if rank is not None and Path(given["base"]).expanduser().exists():
        raise PersonaError(
            f"{given['base']}: an adapter is packed without its base, which others must be able to name. Give a hub id "
            'or "smollm2"; or leave out --lora-rank to train all weights of a GPT-2.'
        )
    return BuildPlan(
        consent=sorted(set(consent)),
        name=name,
        called=called or given["speaker"],
        rank=rank,
        learning_rate=learning_rate or _RATES["weights" if rank is None else "adapter"],
        out=out,
        work=work,
        **given,
    )


def _usual_rank(base: str) -> int | None:
    """A small GPT-2 is trained whole; a chat model is not, and the packs have no place for its template either."""
    from bot.generator.formats.base import Architecture
    from bot.generator.formats.registry import open_checkpoint

    found = open_checkpoint(base)
    whole = found.architecture is Architecture.GPT2 and found.dialect != "chat-template"
    return None if whole else _RANK_OF_OTHERS


@persona.command("import")
@click.argument("pack", type=_PATH)
@click.option("--as", "as_name", callback=_name, help="Take it in under another name.")
@click.pass_obj
def import_(config_path: Path, pack: Path, as_name: str | None) -> None:
    """Check a pack - a folder, or one .tar.gz - and add its persona to config.yaml.

    Nothing in a pack is run. Its files go to personas/NAME beside config.yaml.
    """
    with _mistakes_told():
        from bot.personas.installing import install

        done = install(pack, config_path, as_name)
    name = done.manifest.name
    if done.to_paste is None:
        click.echo(f"{name} is in {config_path} and in {done.folder}. People choose it with: /persona {name}")
    else:
        click.echo(f"{name} is in {done.folder}. Put these lines into {config_path} by hand:\n\n{done.to_paste}")
    if not done.is_spoken:
        click.echo(
            "It was made for another model than the one that runs here; a bot runs one model at a time. To let it "
            f"write with its own, set in {config_path} and restart:\n\n  model: {{checkpoint: {done.checkpoint}}}"
        )


@persona.command("export")
@click.argument("name")
@click.argument("out", type=_PATH)
@click.option("--licence", help="What others may do with it.  [default: as in the pack that it came from]")
@click.pass_obj
def export(config_path: Path, name: str, out: Path, licence: str | None) -> None:
    """Make a pack of a persona of config.yaml. OUT is a folder, or one file if it ends in .tar.gz.

    \b
    Example:
      banter persona export pirate pirate.tar.gz --licence CC0
    """
    with _mistakes_told():
        from bot.config import load_config
        from bot.personas.installing import FOLDER
        from bot.personas.packing import export as carry_out

        done = carry_out(load_config(config_path), name, config_path.parent / FOLDER, out, licence)
    click.echo(f"The pack of {name} is {done}.")


@persona.command("show")
@click.argument("what", required=False)
@click.pass_obj
def show(config_path: Path, what: str | None) -> None:
    """Show a pack, or a persona of config.yaml by its name; without either, all personas of config.yaml."""
    with _mistakes_told():
        from bot.personas.showing import listed, shown

        click.echo((listed(config_path) if what is None else shown(what, config_path)), nl=False)


@contextmanager
def _mistakes_told(interrupted: str = "Stopped.") -> Iterator[None]:
    """What a person can put right ends in a message, not in a traceback."""
    from bot.config import ConfigError
    from bot.generator.errors import GeneratorError
    from bot.personas.errors import PersonaError
    from bot.training.errors import TrainingError

    try:
        yield
    except (PersonaError, TrainingError, GeneratorError) as error:
        _fail(str(error), Exit.FAILED)
    except ConfigError as error:
        _fail(str(error), Exit.CONFIG)
    except ImportError as error:
        _fail(f"Building needs more packages ({error}): pip install 'banter[train]'.", Exit.FAILED)
    except OSError as error:
        _fail(f"{error.filename or 'A file'}: {error.strerror or error}.", Exit.FAILED)
    except KeyboardInterrupt:
        _fail(interrupted, Exit.INTERRUPTED)


def _fail(message: str, code: Exit) -> NoReturn:
    click.echo(message, err=True)
    sys.exit(code)
