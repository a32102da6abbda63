"""A persona: who the bot is in a conversation, as config.yaml describes it."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from bot.config.values import Section

Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]

SAFE_LINES = (
    "Let's talk about something else - what are you up to?",
    "Hm, I'd rather change the subject. How was your day?",
    "I don't have a good answer to that one. What else is on your mind?",
    "I'll pass on that. Have you seen or read anything good lately?",
    "Not sure what to say! Tell me something about yourself instead?",
)


class Persona(Section):
    """Name, manner and limits of one character. People choose one by its key with /persona."""

    name: str = Field(default="Banter", min_length=1, max_length=64, description="What the persona calls itself.")
    greeting: str = Field(
        default="Hi!", min_length=1, max_length=1000, description="Said on /start and after a change of persona."
    )
    facts: tuple[Line, ...] = Field(
        default=(),
        max_length=50,
        description="Sentences that are true of it; replies that contradict one are ranked lower.",
    )
    opening: tuple[Line, ...] = Field(
        default=(),
        max_length=20,
        description="Example turns that the model reads before each talk: a person's, then the bot's, and so on.",
    )
    decoding: str = Field(default="default", description="Which entry of `decoding` its replies are written with.")
    safety: Literal["default", "family", "adult_gated"] = Field(
        default="default",
        description="Its moderation profile, used where stricter than moderation.profile; default: that one.",
    )
    safe_lines: tuple[Line, ...] = Field(
        default=SAFE_LINES,
        min_length=1,
        max_length=50,
        description="One of these is said when every candidate was dropped.",
    )
