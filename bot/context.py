"""From a transcript to what the model reads: persona, turns, who said what, within a budget."""

from collections.abc import Sequence
from dataclasses import dataclass

from bot.config import Persona
from bot.generator.dialects.base import Utterance
from storage.records import Line


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What one reply is written from.

    `utterances` oldest first, the last one being what is to be answered; `persona` are sentences about the bot, for
    the models that read them; `said` is the text of the turn itself; `earlier_replies` what the bot said before,
    newest last.
    """

    utterances: Sequence[Utterance]
    persona: Sequence[str] = ()
    said: str
    earlier_replies: Sequence[str]


def build_context(lines: Sequence[Line], persona: Persona, most_turns: int, *, one_line: bool) -> Context:
    """Lines of one author in a row are one turn; with `one_line` a line break within becomes a space.

    People become ordinals by first appearance, the bot is 0: no name of theirs ever reaches the model. Old turns
    beyond `most_turns` are left out; the token budget is the dialect's to keep.
    """
    ordinals: dict[str | None, int] = {None: 0}
    turns: list[Utterance] = []
    for line in lines:
        speaker = ordinals.setdefault(line.author_id, len(ordinals))
        text = " ".join(line.text.splitlines()) if one_line else line.text
        if turns and turns[-1].speaker == speaker:
            turns[-1] = Utterance(speaker, f"{turns[-1].text} {text}")
        else:
            turns.append(Utterance(speaker, text))
    opening = [Utterance((place + 1) % 2, text) for place, text in enumerate(persona.opening)]
    return Context(
        utterances=[*opening, *turns[-most_turns:]],
        persona=[f"My name is {persona.name}.", *persona.facts],
        said=" ".join(line.text for line in lines if line.in_turn),
        earlier_replies=[line.text for line in lines if line.author_id is None],
    )
