"""Decoding settings in our words and in those of the programs that checkpoints come from."""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from bot.generator.decoding import Decoding
from bot.generator.dialects.base import Habits
from bot.trace.errors import TraceError

Translated = dict[str, Any]

_LONGEST_REPLY = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a case is traced: the family's habits and what was said otherwise.

    `turns`: most utterances of the context, None: all. `given`: what was set on purpose, in our words.
    """

    decoding: Decoding
    turns: int | None
    seed: int = 0
    given: Mapping[str, Any] = field(default_factory=dict)

    def changed(self, words: Mapping[str, Any], where: str) -> "Settings":
        """The settings after some words. Raises TraceError, which begins with `where`."""
        new: Translated = {}
        for word, value in words.items():
            new |= _translated(word, value, where)
        if not new:
            return self
        if "max_length" in new and "max_new_tokens" not in {**self.given, **new}:
            new["max_new_tokens"] = _LONGEST_REPLY  # where only the whole is limited, so is the reply
        decoding = {name: value for name, value in new.items() if name in Decoding.model_fields}
        try:
            checked = Decoding(**{**self.decoding.model_dump(), **decoding})
        except ValidationError as error:
            first = error.errors()[0]
            raise TraceError(f"{where}: {'.'.join(map(str, first['loc']))}: {first['msg']}.") from error
        return Settings(
            decoding=checked,
            turns=new.get("turns", self.turns),
            seed=new.get("seed", self.seed),
            given={**self.given, **new},
        )

    def given_words(self) -> Mapping[str, Any]:
        """What was set on purpose, as words that `changed` takes."""
        return {word: value for word, value in self.given.items() if word in _WORDS}


def habitual(habits: Habits) -> Settings:
    """What the family's own program does."""
    return Settings(decoding=habits.decoding, turns=habits.turns)


def is_word(word: str) -> bool:
    """Whether somebody's program has a setting of that name."""
    return word in _WORDS


def nearest(word: str, known: Mapping[str, Any] | set[str]) -> str:
    """A question that helps with a word that is not known, or nothing."""
    close = difflib.get_close_matches(word, known, n=1)
    return f" Did you mean {close[0]}?" if close else ""


def _translated(word: str, value: Any, where: str) -> Translated:
    if word not in _WORDS:
        raise TraceError(
            f"{where}: there is no setting {word!r}.{nearest(word, _WORDS)} Known: {', '.join(sorted(_WORDS))}."
        )
    try:
        return _WORDS[word](value)
    except (TypeError, ValueError) as error:
        raise TraceError(f"{where}: {word} is {value!r:.60}; {error}.") from error


def _as(name: str) -> Callable[[Any], Translated]:
    return lambda value: {name: value}


def _whole(value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"it must be a whole number from {least} on")
    return value


def _nucleus(value: Any) -> Translated:
    # GPT2-chitchat, and transformers with it, turns the nucleus off with 0.
    return {"top_p": 1.0 if value == 0 and not isinstance(value, bool) else value}


def _turns(value: Any) -> Translated:
    return {"turns": None if value is None or value == 0 else _whole(value, 1)}


def _max_turns(value: Any) -> Translated:
    # devjwsong's program drops the oldest as soon as there are so many, so it keeps one less.
    return {"turns": _whole(value, 2) - 1}


def _preset(value: Any) -> Translated:
    presets = {"original": {}, "banter": Decoding.model_validate({}).model_dump(exclude={"preset"})}
    if value not in presets:
        raise ValueError(f"known are {' and '.join(presets)}")
    return presets[value]


def _method(value: Any) -> Translated:
    methods = {"top_p": "sampling", "beam_search": "beam"}
    if value not in methods:
        raise ValueError(f"known are {' and '.join(methods)}")
    return {"search": methods[value]}


def _beams(value: Any) -> Translated:
    return {"beams": value, **({"search": "beam"} if _whole(value, 1) > 1 else {})}


def _no_early_stop(value: Any) -> Translated:
    if value is not False:
        raise ValueError("no program of these families stops early, only false is known")
    return {}


def _switch(value: Any) -> Translated:
    if not isinstance(value, bool):
        raise ValueError("it must be true or false")
    return {}  # every trace shows the likeliest tokens; drawing is the mode "sample"


_WORDS: Mapping[str, Callable[[Any], Translated]] = {
    **{name: _as(name) for name in Decoding.model_fields if name != "preset"},
    "preset": _preset,
    "top_p": _nucleus,
    "turns": _turns,
    "seed": lambda value: {"seed": _whole(value, 0)},
    # GPT2-chitchat
    "topk": _as("top_k"),
    "topp": _nucleus,
    "max_len": _as("max_new_tokens"),
    "max_history_len": _turns,
    "batch_size": _as("candidates"),
    # devjwsong
    "max_turns": _max_turns,
    # PingPong, transformers
    "decoding_method": _method,
    "num_beams": _beams,
    "num_return_sequences": _as("candidates"),
    "no_repeat_ngram_size": _as("no_repeat_ngram"),
    "early_stopping": _no_early_stop,
    "do_sample": _switch,
    # DialogRPT
    "beam": _as("beams"),
    "max_t": _as("max_new_tokens"),
    "n_hyp": _as("candidates"),
    "max_cxt_turn": _turns,
    "numpy_legacy_seed": lambda value: {"numpy_seed": _whole(value, 0)},
}
