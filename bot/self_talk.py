"""`banter chat --self`: the bot talks to itself, two sides, each of which takes the other for a person.

Every line is composed as a reply in a chat is - candidates, moderation, ranking - with the transcript in memory. No
store and no platform are touched.
"""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import click

from adapters.base import Channel, ChannelKind
from adapters.terminal import visible
from adapters.transcript import Transcript
from bot.config import Config
from bot.context import build_context
from bot.logs import set_up_logging
from bot.models import TURNS, Models
from bot.reply import Ports, compose_reply, turn_seed
from bot.safety import Moderators
from storage.records import Line

SIDES = (1, 2)
HERE = Channel(platform="terminal", address="self", kind=ChannelKind.PRIVATE)


@dataclass(frozen=True, slots=True)
class Said:
    """One line of the talk and the side, 1 or 2, that said it."""

    side: int
    text: str


async def talk_to_itself(
    config: Config, models: Models, *, turns: int, opening: str | None, seed: int
) -> AsyncIterator[Said]:
    """So many lines, the opening (else the persona's greeting) included; the sides alternate, 1 begins.

    Ends early where a side stays silent. The same seed gives the same talk. Raises what the generator raises.
    """
    settings = models.settled(config.for_channel(HERE))
    moderator = Moderators().of(settings)
    ports = Ports(encode=lambda context: models.encode(context, settings), generate=models.generate, score=models.score)
    most_turns = settings.history.turns or TURNS
    talk = [Said(SIDES[0], opening or settings.persona.greeting)]
    yield talk[0]
    while len(talk) < turns:
        side = SIDES[len(talk) % 2]
        context = build_context(_seen_by(side, talk), settings.persona, most_turns, one_line=models.one_line)
        composed = await compose_reply(context, settings, moderator, ports, turn_seed(len(talk), float(seed)))
        if composed.text is None:
            return
        talk.append(Said(side, composed.text))
        yield talk[-1]


def _seen_by(side: int, talk: Sequence[Said]) -> list[Line]:
    """The talk as that side knows it: what it said itself was said by the bot, the last line waits for an answer."""
    return [
        Line(author_id=None if said.side == side else "other", text=said.text, in_turn=said is talk[-1])
        for said in talk
    ]


def show_talk(
    config: Config, transcript: Transcript | None, *, turns: int, opening: str | None, seed: int | None
) -> None:
    """Load the models and print the talk line by line. Raises GeneratorError and KeyboardInterrupt."""
    # Read by OpenMP when torch is imported: threads that spin while they wait slow a shared machine tenfold.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    set_up_logging("warning", config.logs.format, config.secrets())
    chosen = secrets.randbits(32) if seed is None else seed
    click.echo(f"(seed {chosen}; Ctrl-C ends it)", err=True)

    async def talk() -> None:
        models = await asyncio.to_thread(Models.load, config)
        try:
            async for said in talk_to_itself(config, models, turns=turns, opening=opening, seed=chosen):
                _show(said, config.bot.name, transcript)
        finally:
            models.close()

    asyncio.run(talk())


def _show(said: Said, name: str, transcript: Transcript | None) -> None:
    colour = "cyan" if said.side == SIDES[0] else "green"
    text = " ".join(visible(said.text).splitlines())  # a line a turn, whoever reads them
    click.echo(f"{click.style(f'{name} {said.side}:', fg=colour, bold=True)} {text}")
    if transcript is not None:
        (transcript.user if said.side == SIDES[0] else transcript.chatbot)(said.text)
