"""CARD.md: what a persona was made from, with whose consent, how well it came out, and what it cannot do."""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from bot.personas.build import BuildPlan, Job
from bot.personas.manifest import Manifest
from bot.personas.pack import SAMPLES
from bot.personas.preparing import ENOUGH_REPLIES

_SHOWN_FIGURES = (
    ("perplexity", "perplexity of held-out replies (lower is better)", "{:.2f}"),
    ("bits_per_character", "bits per character of held-out replies", "{:.3f}"),
    ("hits@1", "the real reply is preferred to nine others", "{:.1%}"),
    ("on_topic", "replies on topic, by the starter's ranker", "{:.1%}"),
    ("blocked", "replies that moderation would block", "{:.1%}"),
    ("repeats", "replies that repeat an earlier one", "{:.1%}"),
    ("avg_len", "words a reply", "{:.1f}"),
)


def card_of_build(job: Job, manifest: Manifest) -> str:
    """The card of a persona that was learned from a chat. Nobody's name is in it but the persona's."""
    sections = (
        f"# {manifest.persona.name}\n\nA persona for Banter, made from a chat with the consent of everybody whose "
        "words were read.\n",
        _made_from(job),
        _consent(job),
        _scrubbed(job),
        _training(job),
        _figures(job),
        _limits(job),
        _licence(manifest),
        _use(manifest),
    )
    return "\n".join(sections)


def card_by_hand(manifest: Manifest) -> str:
    """The card of a persona that somebody wrote into config.yaml."""
    return "\n".join(
        (
            f"# {manifest.persona.name}\n\nA persona for Banter, written by hand: a name, a greeting, facts and a "
            "way of writing. Nothing was learned from anybody's chats for it.\n",
            _licence(manifest),
            _use(manifest),
        )
    )


def _made_from(job: Job) -> str:
    read, scrub, split = job.done["read"], job.done["scrub"], job.done["split"]
    left_out = "".join(f"- {count:,} messages: {why}\n" for why, count in scrub["left_out"].items())
    return (
        f"## Made from\n\nOne export of a chat ({read['format']}) with {read['messages']:,} messages of "
        f"{read['people']:,} people, {read['by_speaker']:,} of them by the person who became the persona. "
        f"{scrub['messages']:,} messages in {scrub['dialogues']:,} talks remained; {split['training']['replies']:,} "
        f"replies were learned and {split['held_out']['replies']:,}, the last ones of the chat, held out to judge by. "
        "What others said is read as context and never learned.\n" + (f"\nLeft out:\n\n{left_out}" if left_out else "")
    )


def _consent(job: Job) -> str:
    consent = job.done["consent"]
    rows = "".join(
        f"| {one['person']} | {'the persona' if one['person'] == consent['speaker'] else 'context'} | "
        f"{one['messages']:,} |\n"
        for one in consent["agreed"]
    )
    left_out = consent["left_out"]
    return (
        "## Consent\n\nWhoever built this persona states that these people agreed. Pseudonyms are keyed hashes; the "
        "key stayed with the builder, who can tell by it whose consent is meant.\n\n"
        f"| person | for | messages |\n| --- | --- | --- |\n{rows}\n"
        f"{left_out['people']:,} other people with {left_out['messages']:,} messages were left out, and so were the "
        "answers to them.\n"
    )


def _scrubbed(job: Job) -> str:
    found = job.done["scrub"]["scrubbed"]
    rows = "".join(f"| {kind} | {count:,} |\n" for kind, count in found.items())
    return (
        "## Scrubbed\n\nRules, not people, took out personal data: names became invented names, and lines of the "
        "persona with a contact, a number or an address in them were not learned.\n\n"
        + (f"| what | how often |\n| --- | --- |\n{rows}" if rows else "Nothing was found.\n")
    )


def _training(job: Job) -> str:
    plan = job.plan
    kind = "all weights" if plan.rank is None else f"an adapter of rank {plan.rank}"
    return (
        f"## Training\n\nBase: `{plan.base}`, {kind}; learning rate {plan.learning_rate:g}, at most "
        f"{plan.epochs} epochs{f' or {plan.minutes:g} minutes' if plan.minutes else ''}, seed {plan.seed}; the "
        f"weights of least held-out loss are kept. It took {job.done['train']['minutes']:.1f} minutes, with Banter "
        f"{version('banter')}.\n\n```\n{_command(plan, job)}\n```\n"
    )


def _command(plan: BuildPlan, job: Job) -> str:
    """The command line, with pseudonyms."""
    consent: dict[str, Any] = job.done["consent"]
    words = ["banter persona build EXPORT", f"--speaker {consent['speaker']}"]
    words += [f"--yes-i-have-consent {one['person']}" for one in consent["agreed"]]
    words += [f"--name {plan.name}", f"--base {plan.base}"]
    words += [] if plan.rank is None else [f"--lora-rank {plan.rank}"]
    words += [f"--epochs {plan.epochs}", f"--learning-rate {plan.learning_rate:g}"]
    words += [] if plan.minutes is None else [f"--minutes {plan.minutes:g}"]
    words += [f"--gap {plan.gap.total_seconds():g}s", f"--seed {plan.seed}"]
    return " \\\n    ".join(words)


def _figures(job: Job) -> str:
    figures = job.done["figures"]
    base, persona = figures["held_out"]["base"], figures["held_out"]["persona"]
    rows = "".join(
        f"| {label} | {_number(base, key, form)} | {_number(persona, key, form)} |\n"
        for key, label, form in _SHOWN_FIGURES
    )
    own = figures["samples"]
    return (
        f"## Figures\n\nMeasured on {figures['questions']} held-out talks, one reply each; all of them in full "
        f"precision in figures.json.\n\n| figure | {base['checkpoint']} | this persona |\n| --- | --- | --- |\n{rows}\n"
        f"Of the {own['replies']} replies in {SAMPLES}, {own['word_for_word']:.1%} are word for word what the person "
        "wrote somewhere in the chat.\n"
    )


def _number(figures: Mapping[str, Any], key: str, form: str) -> str:
    value = figures.get(key)
    return "not computed" if value is None else form.format(value)


def _limits(job: Job) -> str:
    replies = job.done["split"]["training"]["replies"]
    few = (
        f"\n- It learned from {replies:,} replies only; {ENOUGH_REPLIES:,} and more make a persona that sounds like "
        "the person."
        if replies < ENOUGH_REPLIES
        else ""
    )
    return (
        "## Limits\n\n- It imitates how a person writes. It is not that person, knows nothing that they know, and "
        "makes things up.\n- The rules for scrubbing find forms. Who is meant by a story, a nickname, a place without "
        f"a number they cannot see: read {SAMPLES} before you share the pack.\n- A language model may say what it has "
        f"read word for word; see the last figure above.{few}\n"
    )


def _licence(manifest: Manifest) -> str:
    return f"## Licence\n\n{manifest.licence}\n"


def _use(manifest: Manifest) -> str:
    beside = f" It stands beside the model `{manifest.model.base}`." if manifest.model.base else ""
    own = "It brings its own model." + beside if manifest.model.is_own else f"Model: `{manifest.model.checkpoint}`."
    return f"## Use\n\n`banter persona import PACK` checks the pack and adds the persona to config.yaml. {own}\n"
