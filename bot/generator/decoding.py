"""Decoding settings: how candidates are drawn from the model. Pure data, imports no torch."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Decoding(BaseModel):
    """How many candidate replies are written, and how each next token is chosen.

    The neutral value of every setting leaves the model's own distribution untouched.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: Literal["banter", "original"] = Field(
        default="banter",
        description="What keys left out mean: banter, the defaults named here; original, as the model's authors chat.",
    )

    candidates: int = Field(
        default=16,
        ge=1,
        le=64,
        description="How many replies are written (a search: at most its beams); the ranker picks one.",
    )
    max_new_tokens: int = Field(default=48, ge=1, le=1024, description="Longest reply, in tokens.")
    min_new_tokens: int = Field(default=1, ge=0, le=64, description="A reply may not end before this many tokens.")
    temperature: float = Field(
        default=0.6, ge=0.0, le=5.0, description="Below 1 safer, above 1 wilder; 0 always takes the likeliest word."
    )
    top_k: int = Field(default=40, ge=0, description="Only the k likeliest tokens may be drawn; 0 turns this off.")
    top_p: float = Field(
        default=0.85,
        gt=0.0,
        le=1.0,
        description="Nucleus sampling: the likeliest tokens up to this much probability; 1 turns this off.",
    )
    repetition_penalty: float = Field(
        default=1.0,
        ge=0.5,
        le=5.0,
        description="Above 1 makes words that were already said less likely (CTRL); 1 is off.",
    )
    no_repeat_ngram: int = Field(
        default=3, ge=0, le=16, description="No run of this many tokens occurs twice in a reply; 0 turns this off."
    )
    search: Literal["sampling", "beam", "dialogrpt"] = Field(
        default="sampling",
        description="sampling draws replies, beam searches for the likeliest ones; dialogrpt: as DialogRPT does.",
    )
    beams: int = Field(default=10, ge=1, le=64, description="Beam search: how many beginnings are kept at every step.")
    length_penalty: float = Field(
        default=1.0, ge=-5.0, le=5.0, description="Beam search: above 1 favours long replies, below 1 short ones."
    )
    max_length: int = Field(
        default=0,
        ge=0,
        le=4096,
        description="Longest context and reply together, in tokens; 0: what the model can hold.",
    )
    min_length: int = Field(
        default=0,
        ge=0,
        le=512,
        description="No reply ends before context and reply have this many tokens; 0 turns this off.",
    )

    def over(self, original: "Decoding") -> "Decoding":
        """These settings, those that were left out taken from `original` if the preset says so."""
        if self.preset == "banter":
            return self
        written = {name: getattr(self, name) for name in self.model_fields_set - {"preset"}}
        return original.model_copy(update=written)
