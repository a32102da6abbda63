"""Decoding settings: how candidates are drawn from the model. Pure data, imports no torch."""

from pydantic import BaseModel, ConfigDict, Field


class Decoding(BaseModel):
    """How many candidate replies are written, and how each next token is chosen.

    The neutral value of every setting leaves the model's own distribution untouched.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    candidates: int = Field(16, ge=1, le=64, description="How many replies are written; the ranker picks one.")
    max_new_tokens: int = Field(48, ge=1, le=512, description="Longest reply, in tokens.")
    min_new_tokens: int = Field(1, ge=0, le=64, description="A reply may not end before this many tokens.")
    temperature: float = Field(
        0.6, ge=0.0, le=5.0, description="Below 1 safer, above 1 wilder; 0 always takes the likeliest word."
    )
    top_k: int = Field(40, ge=0, description="Only the k likeliest tokens may be drawn; 0 turns this off.")
    top_p: float = Field(
        0.85,
        gt=0.0,
        le=1.0,
        description="Nucleus sampling: the likeliest tokens up to this much probability; 1 turns this off.",
    )
    repetition_penalty: float = Field(
        1.1, ge=0.5, le=5.0, description="Above 1 makes words that were already said less likely (CTRL); 1 is off."
    )
    no_repeat_ngram: int = Field(
        3, ge=0, le=16, description="No run of this many tokens occurs twice in a reply; 0 turns this off."
    )
