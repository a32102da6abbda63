"""The commands end to end on a model of a few thousand weights."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from bot.generator.candidates import GenerationRequest
from bot.generator.decoding import Decoding
from bot.generator.dialects.base import Utterance
from bot.generator.engine import load_generator
from bot.generator.ranking.ranker import load_ranker
from bot.training.callbacks import Clock
from bot.training.commands import train, train_ranker

torch.set_num_threads(1)
SMALL = ["--layers", "1", "--width", "32", "--vocab-size", "400", "--corpus", "chatterbot=1", "--dtype", "float32"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "model"
    result = CliRunner().invoke(train, ["--out", str(out), "--from-scratch", *SMALL, "--epochs", "12"])
    assert result.exit_code == 0, result.output
    return out


def losses(out: Path) -> list[float]:
    state = json.loads(max(out.glob("checkpoint-*"), key=os.path.getmtime).joinpath("trainer_state.json").read_text())
    return [entry["eval_loss"] for entry in state["log_history"] if "eval_loss" in entry]


def test_training_from_scratch_makes_a_generator(trained: Path) -> None:
    generator = load_generator(str(trained))
    ids = generator.dialect.encode([Utterance(1, "hello")], 50)
    request = GenerationRequest(input_ids=tuple(ids), decoding=Decoding(candidates=2), seed=0)
    assert len(generator.generate([request])[0]) == 2


def test_a_trained_model_knows_more_than_chance(trained: Path) -> None:
    """A uniform guess over 400 tokens costs 5.99."""
    assert min(losses(trained)) < 5.7


def test_a_ranker_grows_from_the_generator(trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "ranker"
    arguments = ["--out", str(out), "--generator", str(trained), "--corpus", "chatterbot=1", "--dtype", "float32"]
    result = CliRunner().invoke(train_ranker, arguments)
    assert result.exit_code == 0, result.output
    assert 0 < load_ranker(str(out), name="human_vs_rand").score([(("hello",), "hi")])[0] < 1


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "either --from-scratch with a size, or --checkpoint"),
        (["--from-scratch", "--checkpoint", "starter"], "either --from-scratch with a size, or --checkpoint"),
        (["--checkpoint", "/no/such/model"], "no such file or directory"),
        (["--from-scratch", "--corpus", "reddit=1"], "no corpus 'reddit'"),
        (["--from-scratch", "--corpus", "everyday=many"], "'many' is no number"),
        (["--from-scratch", "--corpus", "chatterbot=0"], "nothing to train on"),
        (["--from-scratch", "--lora-rank", "4"], "An adapter stands beside a model"),
        (["--from-scratch", "--dtype", "fp16"], "fp16 needs a GPU"),
        (["--checkpoint", "starter", "--max-turns", "4"], "devjwsong, transfertransfo), not for dialogpt"),
    ],
)
def test_a_users_mistake_is_one_line(arguments: list[str], complaint: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(train, ["--out", str(tmp_path / "out"), *arguments])
    assert result.exit_code == 1
    assert complaint in result.output
    assert "Traceback" not in result.output


def test_a_place_that_is_no_directory_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    result = CliRunner().invoke(train, ["--out", str(tmp_path / "file"), "--checkpoint", "starter"])
    assert result.exit_code == 1
    assert "cannot be written" in result.output
    assert "Choose another --out" in result.output


def test_the_clock_counts_over_resumptions(tmp_path: Path) -> None:
    time = [0.0]
    first = Clock(tmp_path, minutes=10, now=lambda: time[0])
    time[0] = 120.0
    assert first.left(step=0, total_steps=100) == pytest.approx(0.8)
    assert first.left(step=90, total_steps=100) == pytest.approx(0.1)
    first.on_save(None, None, None)  # type: ignore[arg-type]
    again = Clock(tmp_path, minutes=10, now=lambda: 1000.0)
    assert again.spent == pytest.approx(2.0)


def test_the_commands_load_no_torch_before_they_run() -> None:
    code = "import bot.training.commands, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
