"""Checkpoints of older systems are trained on their own files, and stay what they are."""

import math
import random
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from transformers import GPT2ForSequenceClassification

from bot.generator.candidates import GenerationRequest
from bot.generator.decoding import Decoding
from bot.generator.dialects.base import Utterance
from bot.generator.dialects.registry import dialect_named
from bot.generator.engine import load_generator
from bot.generator.formats.registry import open_checkpoint
from bot.generator.loading import load_model
from bot.training.commands import train, train_ranker
from bot.training.corpora import preferences
from bot.training.corpora.registry import corpus_named
from bot.training.examples import Batches, encode_dialogues
from bot.training.networks import loaded_network
from bot.training.objectives import LearnedTokens

torch.set_num_threads(1)
PARITY = Path(__file__).parents[2] / "parity"

FAMILIES = {
    "gpt2-chitchat": (PARITY / "gpt2-chitchat", PARITY / "gpt2-chitchat" / "train.txt"),
    "devjwsong": (PARITY / "devjwsong", PARITY / "devjwsong" / "train_utters.json"),
    "dialogpt": (PARITY / "dialogpt" / "small_ft.pkl", PARITY / "dialogpt" / "train.tsv"),
}


def loss_of(checkpoint: Path, corpus: str) -> float:
    """The mean over all learned tokens."""
    found = open_checkpoint(str(checkpoint))
    dialect = dialect_named(found.dialect, found.read_tokenizer())
    network = loaded_network(found, dialect, 0.0, torch.float32)
    read = corpus_named(corpus)
    examples = encode_dialogues(dialect, read.held_out(), read, network.config.n_positions, random.Random(0))
    batch, objective = Batches(examples, 10**6, min(dialect.stop_ids), seed=0)[0], LearnedTokens()
    with torch.no_grad():
        return float(objective.total_loss(network, batch)) / objective.items(batch)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_few_steps_lower_the_loss_and_the_dialect_stays(name: str, tmp_path: Path) -> None:
    checkpoint, corpus = FAMILIES[name]
    out = tmp_path / "model"
    given = f"{corpus}:{name}"
    arguments = ["--checkpoint", str(checkpoint), "--corpus", f"{given}=1", "--held-out", given]
    rate = ["--dtype", "float32", "--epochs", "30", "--learning-rate", "0.003"]
    result = CliRunner().invoke(train, ["--out", str(out), *arguments, *rate])
    assert result.exit_code == 0, result.output
    assert loss_of(out, given) < loss_of(checkpoint, given) - math.log(4)
    found = open_checkpoint(str(out))
    assert (found.dialect, found.system) == (name, open_checkpoint(str(checkpoint)).system)
    generator = load_generator(str(out), device="cpu")
    ids = generator.dialect.encode([Utterance(1, "hello")], 50)
    assert ids == load_generator(str(checkpoint), device="cpu").dialect.encode([Utterance(1, "hello")], 50)
    request = GenerationRequest(input_ids=tuple(ids), decoding=Decoding(candidates=2, max_new_tokens=8), seed=0)
    assert len(generator.generate([request])[0]) == 2


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--from-scratch", "--dialect", "devjwsong"], "give a --checkpoint for devjwsong"),
        (["--checkpoint", "starter", "--dialect", "devjwsong"], "which the dialect devjwsong needs"),
        (["--checkpoint", "starter", "--dialect", "klingon"], "no dialect 'klingon'"),
        (["--checkpoint", "starter", "--held-out", "everyday"], "everyday: there is no such file"),
        (["--checkpoint", "starter", "--corpus", "a=b.txt:dialogpt"], "a=b.txt: cannot be read"),
        (["--checkpoint", str(PARITY / "pingpong-gpt" / "model.pth")], "only generators that are a causal model"),
    ],
)
def test_what_cannot_be_trained_is_one_line(arguments: list[str], complaint: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(train, ["--out", str(tmp_path / "out"), *arguments])
    assert result.exit_code == 1
    assert complaint in result.output
    assert "Traceback" not in result.output


def test_a_ranker_learns_from_dialogrpts_pairs(tmp_path: Path) -> None:
    generator = PARITY / "dialogrpt" / "restore" / "medium_ft.pkl"
    given = f"{PARITY / 'dialogrpt' / 'train.tsv'}:dialogrpt"
    arguments = ["--generator", str(generator), "--corpus", f"{given}=2", "--dtype", "float32", "--epochs", "40"]
    out = tmp_path / "ranker"
    result = CliRunner().invoke(train_ranker, ["--out", str(out), *arguments, "--learning-rate", "0.003"])
    assert result.exit_code == 0, result.output
    head = load_model(
        GPT2ForSequenceClassification, open_checkpoint(str(out), starter="ranker"), torch.device("cpu"), torch.float32
    )
    end = min(dialect_named("dialogpt", open_checkpoint(str(generator)).read_tokenizer()).stop_ids)
    with torch.no_grad():
        for pair in preferences.read(PARITY / "dialogrpt" / "train.tsv"):
            better, worse = (float(head(torch.tensor([row])).logits) for row in pair.rows(end))
            assert better > worse
