"""A chat export of three people, and a language model of a few thousand weights."""

import json
from pathlib import Path
from typing import Any

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from bot.generator.tokenization.hub import HubTokenizer
from bot.training.tokenizer import train_tokenizer

COLOURS = ["red", "blue", "green", "grey", "black", "white"]
ANIMALS = ["cat", "dog", "horse", "bird", "fish"]
PEOPLE = {"Rosie": "user1", "Alice Smith": "user2", "Carl Dreyer": "user3"}


class Chat:
    """A Telegram export that grows message by message; twenty seconds lie between two."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self._seconds = 1_700_000_000

    def say(self, name: str, text: str) -> None:
        self._seconds += 20
        self.messages.append(
            {
                "id": len(self.messages) + 1,
                "type": "message",
                "date": "2023-11-14T22:13:20",
                "date_unixtime": str(self._seconds),
                "from": name,
                "from_id": PEOPLE[name],
                "text": text,
            }
        )

    def pause(self) -> None:
        self._seconds += 24 * 3600

    def write(self, file: Path) -> Path:
        content = {"name": "Animals", "type": "private_group", "id": 1, "messages": self.messages}
        file.write_text(json.dumps(content, indent=1))
        return file


def animals(talks: int = 24) -> Chat:
    """Six answers of Rosie's a talk, no talk like another; Carl speaks at the end of each."""
    chat = Chat()
    for talk in range(talks):
        for turn in range(6):
            what = f"{COLOURS[(talk + turn) % 6]} {ANIMALS[talk % 5]}"
            chat.say("Alice Smith", f"do you have a {what}, Rosie? {talk} or {turn}")
            chat.say("Rosie", f"yes Alice, i have a {what} and {talk + 1} {COLOURS[turn]} ones")
        chat.say("Carl Dreyer", "Rosie, I am at carl@example.org")
        chat.say("Rosie", "ok Carl, that is a secret of yours")
        chat.pause()
    return chat


def tiny_model(folder: Path) -> Path:
    """A GPT-2 in the hub layout."""
    texts = [f"do you have a {colour} {animal}? yes, i have 2" for colour in COLOURS for animal in ANIMALS]
    tokenizer = HubTokenizer(train_tokenizer(texts, 300))
    folder.mkdir()
    tokenizer.save(folder)
    torch.manual_seed(0)
    make: Any = GPT2Config
    config = make(
        vocab_size=300,
        n_positions=512,
        n_embd=32,
        n_layer=1,
        n_head=2,
        banter_dialect="dialogpt",
        bos_token_id=0,
        eos_token_id=0,
    )
    GPT2LMHeadModel(config).save_pretrained(folder)
    return folder
