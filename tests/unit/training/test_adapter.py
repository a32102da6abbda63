"""Adapters: trained through peft, used without it."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel

from bot.generator import checkpoints
from bot.generator.candidates import GenerationRequest
from bot.generator.decoding import Decoding
from bot.generator.dialects.base import Utterance
from bot.generator.engine import load_generator
from bot.generator.errors import CheckpointError
from bot.generator.formats.adapter import CONFIG, RECORD, WEIGHTS, open_base
from bot.generator.formats.registry import open_checkpoint
from bot.generator.loading import load_model
from bot.generator.models.families import family_of
from bot.generator.smollm2 import smollm2_file
from tests.parity import chat_models
from tests.unit.training.small import SCRATCH, corpus, losses, trained

torch.set_num_threads(1)
PERSONA = "my name is thanks."


@pytest.fixture(scope="module")
def talks(tmp_path_factory: pytest.TempPathFactory) -> str:
    return corpus(tmp_path_factory.mktemp("talks"), dialogues=60)


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory, talks: str) -> dict[str, Path]:
    """GPT-2 holds its layers the other way round than Llama."""
    folder = tmp_path_factory.mktemp("bases")
    gpt2 = folder / "gpt2"
    result = trained(gpt2, *SCRATCH, "--corpus", talks)
    assert result.exit_code == 0, result.output
    return {"gpt2": gpt2, "llama": chat_models.write(folder / "llama", "chatml")}


@pytest.fixture(scope="module")
def adapters(bases: dict[str, Path], talks: str) -> dict[str, Path]:
    made = {}
    for name, base in bases.items():
        made[name] = base.with_name(f"{name}-adapter")
        given = ["--checkpoint", str(base), "--lora-rank", "4", "--persona", PERSONA, "--corpus", talks]
        result = trained(made[name], *given, "--learning-rate", "0.01", "--dtype", "float32", "--epochs", "4")
        assert result.exit_code == 0, result.output
    return made


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft's own
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_the_sum_of_weights_computes_what_peft_computes(
    name: str, bases: dict[str, Path], adapters: dict[str, Path]
) -> None:
    found, cpu = open_checkpoint(str(adapters[name])), torch.device("cpu")
    ours: Any = load_model(family_of(found), found, cpu, torch.float32)
    base = open_checkpoint(str(bases[name]))
    plain: Any = load_model(family_of(base), base, cpu, torch.float32)
    context = torch.arange(5, 25)[None]
    with torch.no_grad():
        before, merged = plain(context).logits, ours(context).logits
        theirs = PeftModel.from_pretrained(plain, adapters[name])(context).logits
    assert torch.allclose(merged, theirs, atol=1e-4)
    assert not torch.allclose(merged, before, atol=1e-3)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_an_adapter_is_a_checkpoint_that_talks(name: str, bases: dict[str, Path], adapters: dict[str, Path]) -> None:
    generator = load_generator(str(adapters[name]), device="cpu")
    ids = generator.dialect.encode([Utterance(1, "hello")], 50, [PERSONA])
    request = GenerationRequest(input_ids=tuple(ids), decoding=Decoding(candidates=2, max_new_tokens=8), seed=0)
    assert len(generator.generate([request])[0]) == 2
    assert generator.revision != load_generator(str(bases[name]), device="cpu").revision


def test_what_it_stands_beside_and_was_told_is_recorded(bases: dict[str, Path], adapters: dict[str, Path]) -> None:
    config = json.loads((adapters["llama"] / CONFIG).read_text())
    assert config["base_model_name_or_path"] == str(bases["llama"])
    assert json.loads((adapters["llama"] / RECORD).read_text()) == {"dialect": "chat-template", "persona": [PERSONA]}
    assert f"it was told about itself: {PERSONA}" in open_checkpoint(str(adapters["llama"])).notes


def test_training_an_adapter_lowers_the_loss(bases: dict[str, Path], talks: str, tmp_path: Path) -> None:
    given = ["--checkpoint", str(bases["llama"]), "--lora-rank", "4", "--corpus", talks, "--dtype", "bf16"]
    rate = ["--learning-rate", "0.01", "--epochs", "6", "--evaluate-every", "2"]
    result = trained(tmp_path / "out", *given, *rate)
    assert result.exit_code == 0, result.output
    judged = losses(tmp_path / "out", "held_out_loss")
    assert min(judged.values()) < judged[2] - 0.1


def test_a_chat_model_is_trained_whole_and_stays_one(bases: dict[str, Path], talks: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    rate = ["--learning-rate", "0.002", "--epochs", "2", "--dtype", "float32"]
    result = trained(out, "--checkpoint", str(bases["llama"]), "--corpus", talks, *rate)
    assert result.exit_code == 0, result.output
    again, before = open_checkpoint(str(out)), open_checkpoint(str(bases["llama"]))
    assert (again.dialect, again.system, again.architecture) == (before.dialect, before.system, before.architecture)
    talk = [Utterance(1, "hello")]
    ours, theirs = load_generator(str(out), device="cpu"), load_generator(str(bases["llama"]), device="cpu")
    assert ours.dialect.encode(talk, 50) == theirs.dialect.encode(talk, 50)
    assert ours.dialect.stop_ids == theirs.dialect.stop_ids


def changed(adapter: Path, out: Path, **config: object) -> Path:
    out.mkdir()
    for name in (WEIGHTS, RECORD):
        (out / name).write_bytes((adapter / name).read_bytes())
    (out / CONFIG).write_text(json.dumps({**json.loads((adapter / CONFIG).read_text()), **config}))
    return out


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"base_model_name_or_path": None}, "Write there which model the adapter stands beside"),
        ({"use_dora": True}, "only plain LoRA.*use_dora"),
        ({"peft_type": "IA3"}, "only plain LoRA.*IA3"),
        ({"base_model_name_or_path": "/no/such/model"}, "no such file or directory"),
    ],
)
def test_what_is_no_plain_adapter_is_told(
    change: dict[str, object], complaint: str, adapters: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=complaint):
        open_checkpoint(str(changed(adapters["llama"], tmp_path / "adapter", **change)))


def test_an_adapter_of_another_model_is_told(bases: dict[str, Path], adapters: dict[str, Path], tmp_path: Path) -> None:
    wrong = changed(adapters["llama"], tmp_path / "adapter", base_model_name_or_path=str(bases["gpt2"]))
    found = open_checkpoint(str(wrong))
    assert found.read_weights is not None
    with pytest.raises(CheckpointError, match="which its model does not have"):
        found.read_weights()


def test_an_adapter_beside_an_adapter_is_refused(adapters: dict[str, Path], talks: str, tmp_path: Path) -> None:
    given = ["--checkpoint", str(adapters["llama"]), "--lora-rank", "4", "--corpus", talks]
    result = trained(tmp_path / "out", *given)
    assert result.exit_code == 1
    assert "this is an adapter itself. Name the model that it stands beside" in result.output


def test_smollm2_is_our_adapter_where_one_ships_and_its_own_base_is_the_model_alone(
    adapters: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "STARTER", tmp_path)
    assert open_checkpoint("smollm2").path == smollm2_file()
    changed(adapters["llama"], tmp_path / "smollm2", base_model_name_or_path="smollm2")
    found = open_checkpoint("smollm2")
    assert found.path == tmp_path / "smollm2"
    assert smollm2_file() in found.files
    assert open_base("smollm2").path == smollm2_file()
