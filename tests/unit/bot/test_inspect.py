"""What `banter model inspect` says is true of the files, and what it proposes for config.yaml works."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from ruamel.yaml import YAML
from safetensors.torch import load_file

from bot.config import load_config
from bot.generator.engine import load_generator
from bot.inspect_command import inspect
from tests.parity.natives import HERE, NATIVES
from tests.unit.generator.conftest import tiny_model, write_checkpoint

STARTER = Path("bot/starter/generator")


def run(path: object, *options: str) -> Result:
    return CliRunner().invoke(inspect, [str(path), *options], catch_exceptions=False)


def described(path: object) -> dict[str, Any]:
    result = run(path, "--json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.output)
    return found


def config_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("name", sorted(NATIVES))
def test_every_system_is_recognised(name: str) -> None:
    native = NATIVES[name]
    found = described(native.path)
    assert (found["system"], found["role"]) == (native.system, native.role)
    weights = Path(native.folder, native.weights).name
    assert weights in {file["name"] for file in found["files"]}


@pytest.mark.parametrize("name", ["dialogpt", "devjwsong", "pingpong-gpt"])
def test_sizes_are_those_of_the_configuration(name: str) -> None:
    config, found = config_of(HERE / NATIVES[name].folder), described(NATIVES[name].path)
    assert found["sizes"] == {
        "layers": config["n_layer"],
        "width": config["n_embd"],
        "heads": config["n_head"],
        "inner_width": config.get("n_inner") or 4 * config["n_embd"],
        "positions": config["n_positions"],
    }
    assert found["vocabulary"]["embedding_rows"] == config["vocab_size"]
    assert found["vocabulary"]["tokenizer"] == config["vocab_size"]


def test_an_encoder_decoder_has_both_sizes() -> None:
    config, found = config_of(HERE / "pingpong-meena"), described(NATIVES["pingpong-meena"].path)
    assert found["sizes"]["encoder_layers"] == config["encoder_layers"]
    assert found["sizes"]["decoder_inner_width"] == config["decoder_ffn_dim"]
    assert found["sizes"]["encoder_positions"] == config["max_encoder_length"]


@pytest.mark.parametrize("name", ["dialogpt", "devjwsong", "chitchat", "pingpong-gpt", "pingpong-meena"])
def test_a_tied_matrix_counts_once(name: str) -> None:
    """The files hold the embedding twice, as head or as a copy; the network has it once."""
    generator: Any = load_generator(str(NATIVES[name].path), device="cpu")
    assert described(NATIVES[name].path)["parameters"] == generator.model.weights


def test_number_formats_are_those_of_the_file() -> None:
    assert set(described(NATIVES["dialogpt"].path)["stored"]) == {"float16"}
    assert set(described(NATIVES["devjwsong"].path)["stored"]) == {"float32"}


def test_hashes_and_revision_name_the_files() -> None:
    found = described(NATIVES["pingpong-gpt"].path)
    for file in found["files"]:
        content = (HERE / "pingpong-gpt" / file["name"]).read_bytes()
        assert (file["bytes"], file["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    assert found["revision"] == load_generator(str(NATIVES["pingpong-gpt"].path), device="cpu").revision


def test_special_tokens_have_their_names_and_ids() -> None:
    words = described(NATIVES["devjwsong"].path)["vocabulary"]
    assert words["controls"] == {"<|endoftext|>": 399, "<bos>": 400, "<sp1>": 401, "<sp2>": 402}
    assert words["stop_ids"] == [399]
    chinese = described(NATIVES["chitchat"].path)["vocabulary"]
    assert {"[CLS]", "[SEP]", "[PAD]", "[UNK]"} <= set(chinese["controls"])
    assert chinese["banned_ids"] == [chinese["controls"]["[UNK]"]]


def test_the_habits_are_the_familys() -> None:
    chinese = described(NATIVES["chitchat"].path)["habits"]
    assert chinese["turns"] == 3
    assert (chinese["decoding"]["top_k"], chinese["decoding"]["max_new_tokens"]) == (8, 25)
    assert chinese["manner"]["penalty"] == "divide"
    korean = described(NATIVES["pingpong-gpt"].path)["habits"]["decoding"]
    assert (korean["repetition_penalty"], korean["max_length"], korean["top_p"]) == (1.3, 48, 0.8)


def test_what_was_assumed_is_said(tmp_path: Path) -> None:
    named = NATIVES["dialogpt"].copied(tmp_path)
    named.with_name("config.json").unlink()
    assert any("n_head" in note for note in described(named)["notes"])


def test_padding_rows_are_noted(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path, tiny_model(vocabulary=424))
    assert "4 rows of the embedding stand for no token; they are never generated" in described(folder)["notes"]


@pytest.mark.parametrize("name", ["starter", *sorted(NATIVES)])
def test_the_settings_it_proposes_are_valid(name: str, tmp_path: Path) -> None:
    path = "starter" if name == "starter" else str(NATIVES[name].path)
    text = described(path)["settings"]
    (tmp_path / "config.yaml").write_text(f"version: 1\n{text}", encoding="utf-8")
    config = load_config(tmp_path / "config.yaml", env={})
    heads = [*config.ranking.prior, *config.ranking.cond]
    assert path in [config.model.checkpoint, *(head.checkpoint for head in heads)]


def test_an_ensemble_is_shown_head_by_head(tmp_path: Path) -> None:
    file = NATIVES["dialogrpt"].path.with_name("ensemble.yml")
    found = described(file)
    assert found["role"] == "ensemble"
    assert {(one["group"], one["name"], one["weight"]) for one in found["members"]} == {
        ("prior", "human_vs_rand", 0.5),
        ("prior", "human_vs_machine", 0.5),
        ("cond", "updown", 1.0),
        ("cond", "depth", 0.48),
        ("cond", "width", -0.5),
    }
    assert all(one["head"]["role"] == "ranker" for one in found["members"])
    settings = YAML(typ="safe").load(found["settings"])["ranking"]
    assert [head["weight"] for head in settings["cond"]] == [1.0, 0.48, -0.5]
    (tmp_path / "config.yaml").write_text(f"version: 1\n{found['settings']}", encoding="utf-8")
    assert load_config(tmp_path / "config.yaml", env={}).ranking.cond[2].weight == -0.5


def test_people_get_one_fact_a_line_and_the_settings_last() -> None:
    lines = run("starter").output.splitlines()
    facts = dict(line.split(maxsplit=1) for line in lines[: lines.index("")])
    stored = load_file(STARTER / "model.safetensors")
    total = sum(value.numel() for value in stored.values())
    assert facts["system"] == "dialogpt (generator)"
    assert facts["parameters"] == f"{total:,}"
    assert 'model: {checkpoint: "starter", dialect: auto}' in lines
    assert {value.dtype for value in stored.values()} == {torch.float16}


def test_what_is_no_checkpoint_ends_with_a_sentence(tmp_path: Path) -> None:
    result = run(tmp_path)
    assert result.exit_code == 2
    assert str(tmp_path) in result.output
    assert len(result.output.splitlines()) == 1
