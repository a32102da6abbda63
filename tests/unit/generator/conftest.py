"""A tiny GPT-2 with random weights that are large enough for its greedy text to wander."""

import shutil
from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

torch.set_num_threads(1)  # these models are so small that a second thread only costs

FIXTURES = Path(__file__).parent / "fixtures"
END = 419
VOCABULARY = 420
POSITIONS = 64


def tiny_model(seed: int = 0, vocabulary: int = VOCABULARY) -> GPT2LMHeadModel:
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=vocabulary,
        n_positions=POSITIONS,
        n_embd=32,
        n_layer=2,
        n_head=4,
        initializer_range=0.3,
        bos_token_id=END,
        eos_token_id=END,
    )
    return GPT2LMHeadModel(config).eval()


def write_checkpoint(directory: Path, model: GPT2LMHeadModel) -> Path:
    model.save_pretrained(directory)
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(FIXTURES / "dialogpt" / name, directory / name)
    return directory


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("tiny"), tiny_model())
