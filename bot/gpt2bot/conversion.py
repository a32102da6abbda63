"""Turn a configuration of gpt2bot into settings of config.yaml.

Every key of gpt2bot becomes a setting, or is named with the reason why not. Knows nothing of the command line, and
shows no value of a key that may hold a secret.
"""

import io
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from ruamel.yaml import YAML

from bot.config import ConfigError, load_config
from bot.gpt2bot.settings_file import (
    CHAT,
    COND,
    GENERAL,
    MODEL,
    PRIOR,
    WRITING,
    Gpt2botFile,
    Place,
    flag,
    number,
    text,
    whole,
)

TOKEN_VARIABLE = "TELEGRAM_BOT_TOKEN"  # noqa: S105 - a name

_NOT_CARRIED: dict[Place, str] = {
    (GENERAL, "seed"): "every reply has a seed of its own, which is recorded with it",
    (MODEL, "config"): "the checkpoint's own is read",
    (MODEL, "tokenizer"): "the checkpoint's own is read",
    (WRITING, "pad_token_id"): "the checkpoint's dialect knows its control tokens",
    (WRITING, "bos_token_id"): "the checkpoint's dialect knows its control tokens",
    (WRITING, "eos_token_id"): "the checkpoint's dialect knows its control tokens",
    (WRITING, "decoder_start_token_id"): "the checkpoint's dialect knows its control tokens",
    (WRITING, "bad_words_ids"): "words are banned as words: moderation.words.block",
    (WRITING, "clean_up_tokenization_spaces"): "the checkpoint's dialect decides how ids become text",
    (CHAT, "giphy_token"): "there are no GIFs",
    (CHAT, "giphy_prob"): "there are no GIFs",
    (CHAT, "giphy_max_words"): "there are no GIFs",
    (CHAT, "giphy_weirdness"): "there are no GIFs",
    (CHAT, "data_filename"): "talks are kept in a database (storage.url); a pickle of old ones is not read",
}

_HEADS = {
    "human_vs_rand": (PRIOR, "microsoft/DialogRPT-human-vs-rand"),
    "human_vs_machine": (PRIOR, "microsoft/DialogRPT-human-vs-machine"),
    "updown": (COND, "microsoft/DialogRPT-updown"),
    "depth": (COND, "microsoft/DialogRPT-depth"),
    "width": (COND, "microsoft/DialogRPT-width"),
}

_LONGEST_REPLY = 1024
_SHORTEST_TALK, _LONGEST_TALK = 16, 4096
_MOST_TURNS = 100
_TELEGRAM_TOKEN = re.compile(r"\d{3,}:[A-Za-z0-9_-]{10,}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """`text` is a whole config.yaml, proven valid; `remarks` say what was left out or differs, one line each."""

    text: str
    telegram_token: str | None = field(repr=False)
    remarks: tuple[str, ...]


def import_gpt2bot(path: Path) -> Imported:
    """Read one of gpt2bot's files. Raises ConfigError with every problem found: file, line, key."""
    file = Gpt2botFile(path)
    conversion = _Conversion(file)
    settings = conversion.settings()
    token = _token(file)
    document = _document(settings, path.name)
    if not file.problems:
        conversion.prove(document)
    if file.problems:
        raise ConfigError(file.problems)
    return Imported(text=document, telegram_token=token, remarks=tuple(file.remarks))


def write_import(imported: Imported, out: Path, *, force: bool) -> list[str]:
    """Write config.yaml, and a token into `.env` beside it; says what was done, one line each.

    A file that is there stays unless `force` says otherwise, and a token in `.env` stays in any case. Raises
    FileExistsError and other OSErrors.
    """
    with out.open("w" if force else "x", encoding="utf-8") as file:
        file.write(imported.text)
    done = [f"{out} is written."]
    if imported.telegram_token is None:
        return done
    secrets = out.parent / ".env"
    if secrets.is_file() and dotenv_values(secrets, interpolate=False).get(TOKEN_VARIABLE):
        return [*done, f"{secrets} holds a {TOKEN_VARIABLE} already; it stays, the imported token is left out."]
    _append_secret(secrets, f"{TOKEN_VARIABLE}={imported.telegram_token}")
    return [*done, f"The Telegram token is in {secrets} as {TOKEN_VARIABLE}. Keep that file to yourself."]


def _append_secret(file: Path, line: str) -> None:
    """Readable by its owner alone if it is new."""
    with os.fdopen(os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "a+", encoding="utf-8") as stream:
        stream.seek(0)
        before = stream.read()
        gap = "\n" if before and not before.endswith("\n") else ""
        stream.write(f"{gap}{line}\n")


class _Conversion:
    """Settings from one file; remembers from which key each of them came."""

    def __init__(self, file: Gpt2botFile) -> None:
        self._file = file
        self._sources: dict[str, Place] = {}

    def settings(self) -> dict[str, Any]:
        """The sections of config.yaml that differ from its defaults."""
        decoding, talk_tokens = self._decoding()
        settings: dict[str, Any] = {
            "version": 1,
            "channels": {"telegram": {"token": f"${{{TOKEN_VARIABLE}}}"}},
            "model": {"checkpoint": self._checkpoint(), "device": self._device()},
            "decoding": {"default": decoding},
            "ranking": self._ranking(),
            "history": {"turns": self._turns(), "tokens": talk_tokens},
            "limits": {"reply_timeout": "2m"},  # gpt2bot waits for as long as it takes
        }
        file = self._file
        if file.get(GENERAL, "debug", flag, False):
            settings["logs"] = {"level": "debug"}
        if not file.get(CHAT, "continue_after_restart", flag, True):
            file.leave_out(CHAT, "continue_after_restart", "talks survive a restart; history.forget_after ends them")
        for (section, key), reason in _NOT_CARRIED.items():
            if file.has(section, key):
                file.leave_out(section, key, reason)
        return settings

    def prove(self, document: str) -> None:
        """What the configuration itself refuses is told in the words of the file that it came from."""
        try:
            load_config(self._file.path, env={}, text=document)
        except ConfigError as error:
            for problem in error.problems:
                section, key = self._sources.get(problem.key or "", ("settings", problem.key or "?"))
                self._file.complain(section, key, problem.message, problem.hint)

    def _checkpoint(self) -> str:
        if self._file.get(MODEL, "framework", text, "pt") != "pt":
            self._file.leave_out(MODEL, "framework", "models run on PyTorch only")
        self._sources["model.checkpoint"] = (MODEL, "model")
        return self._file.get(MODEL, "model", text, "microsoft/DialoGPT-medium")

    def _device(self) -> str:
        self._sources["model.device"] = (GENERAL, "device")
        ordinal = self._file.get(GENERAL, "device", whole, -1)
        return "cpu" if ordinal < 0 else f"cuda:{ordinal}"

    def _decoding(self) -> tuple[dict[str, Any], int]:
        """The settings of decoding, and how many tokens of the talk are read."""
        together = self._together()
        beams = self._whole("beams", "num_beams", 1)
        samples = self._file.get(WRITING, "do_sample", flag, True)
        candidates = self._candidates(beams, samples)
        temperature = self._number("temperature", "temperature", 1.0)
        if temperature <= 0:
            self._file.complain(WRITING, "temperature", f"{temperature:g} is not above 0")
        decoding: dict[str, Any] = {
            "candidates": candidates,
            "max_new_tokens": min(_LONGEST_REPLY, max(1, together - 1)),
            "min_new_tokens": 0,
            "temperature": temperature if samples or beams > 1 else 0.0,
            "top_k": self._whole("top_k", "top_k", 50),
            "top_p": self._number("top_p", "top_p", 1.0),
            "repetition_penalty": self._number("repetition_penalty", "repetition_penalty", 1.0),
            "no_repeat_ngram": self._whole("no_repeat_ngram", "no_repeat_ngram_size", 0),
            "max_length": together,
            "min_length": self._whole("min_length", "min_length", 0),
        }
        if beams != 1:
            penalty = self._number("length_penalty", "length_penalty", 1.0)
            decoding |= {"search": "beam", "beams": beams, "length_penalty": penalty}
        self._remark_search(beams, samples)
        return decoding, min(_LONGEST_TALK, max(_SHORTEST_TALK, together))

    def _together(self) -> int:
        """gpt2bot's max_length counts the talk and the reply together: either may take what the other leaves."""
        tokens = self._whole("max_length", "max_length", 1000)
        if tokens <= _SHORTEST_TALK:
            self._file.complain(WRITING, "max_length", f"{tokens} tokens leave no room for a talk and a reply")
        return tokens

    def _candidates(self, beams: int, samples: bool) -> int:
        wanted = self._whole("candidates", "num_return_sequences", 1)
        if beams > 1 and wanted > beams:
            self._file.complain(WRITING, "num_return_sequences", f"{wanted} is more than num_beams, {beams}")
        elif beams == 1 and wanted > 1 and not samples:
            self._file.complain(WRITING, "num_return_sequences", "without do_sample and beams there is one reply only")
        elif beams == 1 and wanted > 1 and not any(self._weight(name) for name in _HEADS):
            reason = "no ranker has a weight, and one drawn of several is as good as the only one"
            self._file.leave_out(WRITING, "num_return_sequences", reason)
            return 1
        return wanted

    def _remark_search(self, beams: int, samples: bool) -> None:
        file = self._file
        if beams > 1 and samples:
            file.leave_out(WRITING, "do_sample", "beam search does not draw: it takes the likeliest")
        if beams > 1 and file.get(WRITING, "early_stopping", flag, False):
            file.leave_out(WRITING, "early_stopping", "a search ends when nothing better can come")
        if file.get(WRITING, "num_beam_groups", whole, 1) > 1:
            file.leave_out(WRITING, "num_beam_groups", "there is one group of beams")
        if file.get(WRITING, "diversity_penalty", number, 0.0):
            file.leave_out(WRITING, "diversity_penalty", "there is one group of beams")
        if not file.get(WRITING, "use_cache", flag, True):
            file.leave_out(WRITING, "use_cache", "what was read is always kept; the replies are the same")

    def _ranking(self) -> dict[str, Any]:
        """gpt2bot lets the rankers alone decide, and takes nothing away for faults."""
        groups: dict[str, list[dict[str, Any]]] = {PRIOR: [], COND: []}
        for name, (section, checkpoint) in _HEADS.items():
            weight = self._weight(name)
            if weight:
                place = f"ranking.{'prior' if section == PRIOR else 'cond'}[{len(groups[section])}].weight"
                self._sources[place] = (section, f"{name}_weight")
                groups[section].append({"name": name, "checkpoint": checkpoint, "weight": weight})
            elif weight is not None:
                self._file.leave_out(section, f"{name}_weight", "0 switches this ranker off")
        for section, heads in groups.items():
            if heads and sum(head["weight"] for head in heads) == 0:
                first = f"{heads[0]['name']}_weight"
                self._file.complain(section, first, "the weights of this section add up to 0")
        penalties = {"repeat": 0.0, "echo": 0.0, "contradiction": 0.0}
        return {"mix": 1.0, "prior": groups[PRIOR], "cond": groups[COND], "penalties": penalties}

    def _weight(self, name: str) -> float | None:
        return self._file.get(_HEADS[name][0], f"{name}_weight", number, None)

    def _turns(self) -> int:
        """A turn of gpt2bot is a message and its answer; the message that is to be answered comes on top."""
        turns = self._file.get(CHAT, "max_turns_history", whole, 2)
        if turns >= 0 and 2 * turns + 1 <= _MOST_TURNS:
            return 2 * turns + 1
        said = "no limit" if turns < 0 else f"{2 * turns + 1} messages"
        self._file.remarks.append(
            f"{CHAT}.max_turns_history: {said} becomes history.turns {_MOST_TURNS}, the most there is"
        )
        return _MOST_TURNS

    def _whole(self, name: str, key: str, default: int) -> int:
        self._sources[f"decoding.default.{name}"] = (WRITING, key)
        return self._file.get(WRITING, key, whole, default)

    def _number(self, name: str, key: str, default: float) -> float:
        self._sources[f"decoding.default.{name}"] = (WRITING, key)
        return self._file.get(WRITING, key, number, default)


def _token(file: Gpt2botFile) -> str | None:
    token = file.get(CHAT, "telegram_token", text, "")
    if _TELEGRAM_TOKEN.fullmatch(token):
        return token
    if token:
        file.leave_out(CHAT, "telegram_token", "this is no token of Telegram's (digits, a colon, characters)")
    return None


def _document(settings: dict[str, Any], source: str) -> str:
    stream = io.StringIO()
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.dump(settings, stream)
    name = "".join(character if character.isprintable() else "?" for character in source)
    return (
        f"# Made from gpt2bot's {name}. What is not here keeps its default; docs/configuration.md explains every key.\n"
        + stream.getvalue()
    )
