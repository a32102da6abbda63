"""The commands people give the bot: one table, one short function each.

A handler runs inside the transaction that also marks the command as handled and queues its answer, so a
command is carried out once, however often the platform delivers it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from adapters.base import Author, Channel, ChannelKind, CommandSpec
from bot import texts
from bot.config import Config, Persona
from storage import people, places
from storage.transaction import Transaction


class Who(StrEnum):
    """Who may use a command: everybody, or in groups only admins and operators."""

    EVERYBODY = "everybody"
    ADMINS = "admins"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A command as it was given."""

    channel: Channel
    author: Author
    arguments: str
    config: Config


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    name: str
    help: str  # one line, for menus and /help
    handler: Callable[[Transaction, Call], str]
    who: Who = Who.EVERYBODY
    argument: str | None = None
    erases: bool = False  # the database file's pages must forget afterwards

    def spec(self) -> CommandSpec:
        return CommandSpec(
            name=self.name,
            description=self.help,
            argument=self.argument,
            admin_only_in_groups=self.who is Who.ADMINS,
        )


def start(tx: Transaction, call: Call) -> str:
    persona = _persona(tx, call)
    return f"{persona.greeting}\n\n{_how_to_talk(call)} /help shows what else I can do."


def show_help(tx: Transaction, call: Call) -> str:
    lines = [_how_to_talk(call), ""]
    lines += [f"/{command.name} - {command.help}" for command in COMMANDS.values()]
    return "\n".join(lines)


def reset(tx: Transaction, call: Call) -> str:
    if places.reset_conversation(tx, call.channel):
        return "Done: I have forgotten what we talked about here. A fresh start!"
    return "There is nothing to forget here yet."


def persona(tx: Transaction, call: Call) -> str:
    names = sorted(call.config.personas)
    chosen = call.arguments.strip()
    if not chosen:
        current = _current_persona(tx, call)
        listed = "\n".join(f"- {name}{' (now)' if name == current else ''}" for name in names)
        return f"I can be:\n{listed}\n\nChange it with /persona NAME; /persona default follows the settings."
    if chosen == "default":
        places.choose_persona(tx, call.channel, None)
    elif chosen in names:
        places.choose_persona(tx, call.channel, chosen)
    else:
        return f"I have no persona of that name. I can be: {', '.join(names)}."
    places.reset_conversation(tx, call.channel)
    return _persona(tx, call).greeting


def forget(tx: Transaction, call: Call) -> str:
    erased = people.forget_person(tx, call.channel.platform, call.author.id)
    if not erased.messages and not erased.replies:
        return "I keep nothing you wrote."
    return (
        f"Erased: {erased.messages} of your messages and {erased.replies} of my replies to you, in every chat here. "
        f"Backups drop them within {call.config.jobs.keep_backups} backups."
    )


def privacy(tx: Transaction, call: Call) -> str:
    count = people.count_messages(tx, call.channel.platform, call.author.id)
    days = call.config.privacy.retention.days
    return (
        "I am a bot; my replies are written by a small language model on my operator's own machine. "
        "I keep the text of messages meant for me, your user id and the times, to follow the conversation; "
        f"no names, no pictures. Everything is deleted after {days} days. "
        f"Right now I keep {count} of your messages; /forget erases them at once."
    )


def _how_to_talk(call: Call) -> str:
    if call.channel.kind is ChannelKind.PRIVATE:
        return "Just write to me."
    names = call.config.triggers.group.names
    by_name = f", say my name ({', '.join(names)})" if names else ""
    return f"Mention me, reply to me{by_name}, and I'll answer."


def _current_persona(tx: Transaction, call: Call) -> str:
    return call.config.for_channel(call.channel, persona=places.chosen_persona(tx, call.channel)).persona_name


def _persona(tx: Transaction, call: Call) -> Persona:
    return call.config.personas[_current_persona(tx, call)]


COMMANDS = {
    command.name: command
    for command in (
        Command(name="start", help="Say hello and see how to talk to me", handler=start),
        Command(name="help", help="What I can do", handler=show_help),
        Command(name="reset", help="Forget this conversation and start anew", handler=reset),
        Command(
            name="persona",
            help="See or change who I am here",
            handler=persona,
            who=Who.ADMINS,
            argument="name",
        ),
        Command(name="forget", help="Erase everything you wrote to me", handler=forget, erases=True),
        Command(name="privacy", help="What I keep about you", handler=privacy),
    )
}


def may_use(command: Command, call: Call) -> bool:
    """Rights as they are now, not as they were when a menu was shown."""
    if command.who is Who.EVERYBODY or call.channel.kind is ChannelKind.PRIVATE:
        return True
    operator = f"{call.channel.platform}:{call.author.id}" in call.config.bot.operators
    return call.author.is_admin or operator


def carry_out(tx: Transaction, name: str, call: Call) -> str | None:
    """The answer to a command; None to stay silent (an unknown command in a group is another bot's)."""
    command = COMMANDS.get(name)
    if command is None:
        return texts.UNKNOWN_COMMAND if call.channel.kind is ChannelKind.PRIVATE else None
    if not may_use(command, call):
        return texts.ADMINS_ONLY
    return command.handler(tx, call)
