"""A corpus of a few dialogues and models of a few thousand weights."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from click.testing import CliRunner, Result
from transformers import GPT2Config, GPT2LMHeadModel

from bot.training.commands import train
from bot.training.training_log import FILE, read_log

SCRATCH = ["--from-scratch", "--layers", "1", "--width", "32", "--vocab-size", "300", "--dtype", "float32"]
BANTER = [sys.executable, "-m", "bot"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


def corpus(folder: Path, dialogues: int = 300) -> str:
    """As --corpus names it."""
    words = ["red", "blue", "green", "old", "new", "big", "small", "warm", "cold", "dark"]
    file = folder / "talks.json"
    file.write_text(
        json.dumps(
            [
                [f"i have a {words[n % 10]} {words[n % 7]} cat", f"is the {words[n % 7]} cat {words[n % 3]} ?", "yes"]
                for n in range(dialogues)
            ]
        )
    )
    return f"{file}:devjwsong"


def trained(out: Path, *arguments: str) -> Result:
    """What the command says."""
    return CliRunner().invoke(train, ["--out", str(out), *arguments])


def network(seed: int = 0) -> Any:
    """A GPT-2 without dropout."""
    torch.manual_seed(seed)
    make: Any = GPT2Config
    config = make(
        vocab_size=280, n_positions=64, n_embd=16, n_layer=2, n_head=2, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0
    )
    return GPT2LMHeadModel(config)


def losses(out: Path, key: str = "loss") -> dict[float, float]:
    """By step."""
    return {entry["step"]: entry[key] for entry in read_log(out / FILE) if key in entry}
