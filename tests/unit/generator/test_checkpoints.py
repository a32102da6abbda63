"""Directories that are no model get a sentence, never a traceback, and never run code."""

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import huggingface_hub
import pytest
import torch

from bot.generator.checkpoints import files_of, locate, revision_of
from bot.generator.engine import load_generator
from bot.generator.errors import CheckpointError
from tests.unit.generator.conftest import tiny_model, write_checkpoint

Damage = Callable[[Path], object]


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def fewer_rows(directory: Path) -> None:
    tiny_model(vocabulary=400).save_pretrained(directory)


def another_family(directory: Path) -> None:
    (directory / "config.json").write_text('{"model_type": "llama"}')


def without_a_layer(directory: Path) -> None:
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps({**config, "n_layer": 3}))


def wider(directory: Path) -> None:
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps({**config, "n_embd": 48}))


@pytest.fixture
def checkpoint(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "model"))


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda d: (d / "config.json").unlink(), r"no model directory.*config\.json"),
        (lambda d: (d / "config.json").write_text("{"), r"config\.json: cannot be read as JSON"),
        (lambda d: (d / "config.json").write_text("[1]"), "this is a list or a value"),
        (another_family, "model_type is 'llama'"),
        (lambda d: (d / "model.safetensors").unlink(), "holds no weights"),
        (lambda d: shorten(d / "model.safetensors"), r"model\.safetensors: cannot be read as safetensors"),
        (lambda d: (d / "model.safetensors").write_bytes(b""), "cannot be read as safetensors.*an empty file"),
        (without_a_layer, r"12 differences, first: transformer\.h\.2\..*is missing"),
        (wider, r"transformer\.wte\.weight is \(420, 32\), config\.json says \(420, 48\)"),
        (lambda d: (d / "vocab.json").unlink(), "there is no tokenizer"),
        (lambda d: shorten(d / "vocab.json"), "tokenizer files cannot be read"),
        (lambda d: (d / "vocab.json").write_text('{"a": 0}'), "tokenizer"),
        (fewer_rows, "tokenizer knows 420 tokens, the model only 400"),
    ],
)
def test_a_damaged_checkpoint_says_what_is_wrong(checkpoint: Path, damage: Damage, complaint: str) -> None:
    damage(checkpoint)
    with pytest.raises(CheckpointError, match=complaint) as caught:
        load_generator(str(checkpoint))
    assert str(checkpoint) in str(caught.value) or "tokenizer has no" in str(caught.value)


@pytest.mark.parametrize("name", ["/no/such/place", "./nowhere", "nowhere", "a/b/c", "..", ""])
def test_a_name_that_means_nothing_is_explained(name: str) -> None:
    with pytest.raises(CheckpointError, match=r"no such file or directory|no model directory"):
        load_generator(name)


def test_a_file_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_bytes(b"1234")
    with pytest.raises(CheckpointError, match=r"notes\.txt: no checkpoint that can be read: this is a text file"):
        load_generator(str(tmp_path / "notes.txt"))


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"dialect": "klingon"}, "no dialect 'klingon'"),
        ({"device": "abacus"}, "device 'abacus'"),
        ({"dtype": "float1"}, "no dtype 'float1'.*float32"),
    ],
)
def test_wrong_settings_name_the_choices(checkpoint: Path, options: dict[str, str], complaint: str) -> None:
    with pytest.raises(CheckpointError, match=complaint):
        load_generator(str(checkpoint), **options)


def test_pickled_weights_load_as_weights(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").unlink()
    torch.save(tiny_model().state_dict(), checkpoint / "pytorch_model.bin")
    assert load_generator(str(checkpoint)).context_budget(4) == 60


class Payload:
    """Runs a command when it is unpickled without care."""

    def __init__(self, witness: Path) -> None:
        self._witness = witness

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self._witness),)


def test_a_malicious_pickle_runs_nothing(checkpoint: Path, tmp_path: Path) -> None:
    witness = tmp_path / "it-ran"
    (checkpoint / "model.safetensors").unlink()
    torch.save({"transformer.wte.weight": Payload(witness)}, checkpoint / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="code from a checkpoint is never run"):
        load_generator(str(checkpoint))
    assert not witness.exists()
    (checkpoint / "pytorch_model.bin").write_bytes(pickle.dumps(Payload(witness)))
    with pytest.raises(CheckpointError, match="cannot be read as tensors"):
        load_generator(str(checkpoint))
    assert not witness.exists()


def test_remote_code_is_never_taken(checkpoint: Path, tmp_path: Path) -> None:
    witness = tmp_path / "it-ran"
    (checkpoint / "evil.py").write_text(f"import os; os.mkdir({str(witness)!r})")
    config = json.loads((checkpoint / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}
    (checkpoint / "config.json").write_text(json.dumps(config))
    load_generator(str(checkpoint))
    assert not witness.exists()


def test_a_revision_names_exactly_these_files(checkpoint: Path) -> None:
    first = revision_of(files_of(checkpoint))
    assert load_generator(str(checkpoint)).revision == first
    assert len(first) == 12
    (checkpoint / "notes.txt").write_text("does not belong to the model")
    assert revision_of(files_of(checkpoint)) == first
    write_checkpoint(checkpoint, tiny_model(seed=1))
    assert revision_of(files_of(checkpoint)) != first


@pytest.fixture
def unreachable_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A hub on a port where nobody listens, and an empty cache."""
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))


@pytest.mark.usefixtures("unreachable_hub")
def test_a_hub_that_cannot_be_reached_is_a_sentence() -> None:
    with pytest.raises(CheckpointError, match=r"somebody/something: .*not in the local cache.*cannot be reached"):
        locate("somebody/something", starter="generator")


@pytest.mark.usefixtures("unreachable_hub")
def test_offline_mode_is_a_sentence_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match="not in the local cache"):
        locate("somebody/something", starter="generator")
