"""Converted checkpoints say what their sources say; what cannot be converted leaves nothing behind."""

import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from ruamel.yaml import YAML
from transformers import AutoTokenizer, GenerationConfig, GPT2ForSequenceClassification, GPT2LMHeadModel

from bot.convert_command import convert
from bot.generator.candidates import GenerationRequest
from bot.generator.decoder import Decoder
from bot.generator.decoding import Decoding
from bot.generator.dialects.base import Utterance
from bot.generator.formats.registry import open_checkpoint
from bot.generator.models.base import Prompt
from bot.generator.ranking.ranker import CANDIDATE_HEAD, load_ranker
from tests.parity.natives import GENERATORS, NATIVES
from tests.parity.test_transfertransfo import KINDS, folders  # noqa: F401  (a fixture)

GREEDY = Decoding(candidates=1, max_new_tokens=8, temperature=0.0, repetition_penalty=1.0, no_repeat_ngram=0)
TALK = [Utterance(1, "how are you"), Utterance(0, "fine"), Utterance(1, "你好 hello")]
PAIRS = [(["how are you?"], "fine"), (["hello", "hi"], "what a day it was")]
EXACT = 2e-4


def run(source: object, out: Path, *options: str) -> Result:
    return CliRunner().invoke(convert, [str(source), str(out), *options], catch_exceptions=False)


def converted(source: object, out: Path, *options: str) -> Path:
    result = run(source, out, *options)
    assert result.exit_code == 0, result.output
    return out


def opened(path: Path) -> Decoder:
    return Decoder.load(open_checkpoint(str(path)), dialect="auto", device="cpu", dtype="float32")


def context(decoder: Decoder) -> tuple[int, ...]:
    return tuple(decoder.dialect.encode(TALK, 24))


def logits(decoder: Decoder) -> torch.Tensor:
    ids = context(decoder)
    types = decoder.dialect.type_ids(ids)
    with torch.inference_mode():
        return decoder.model.read([Prompt(ids, None if types is None else tuple(types))])[0][0]


def greedy(decoder: Decoder) -> tuple[int, ...]:
    request = GenerationRequest(input_ids=context(decoder), decoding=GREEDY, seed=0)
    return decoder.generate([request])[0][0].token_ids


@pytest.fixture(scope="module", params=GENERATORS)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A generator in its system's own files, and what it was converted to."""
    source = NATIVES[request.param].path
    return source, converted(source, tmp_path_factory.mktemp("converted") / request.param)


def test_a_generator_stays_what_it_was(pair: tuple[Path, Path]) -> None:
    before, after = (open_checkpoint(str(path)) for path in pair)
    assert (after.system, after.dialect, after.architecture) == (before.system, before.dialect, before.architecture)
    source, written = (opened(path) for path in pair)
    assert context(written) == context(source)
    assert written.dialect.stop_ids == source.dialect.stop_ids
    assert written.dialect.banned_ids == source.dialect.banned_ids
    assert float((logits(written) - logits(source)).abs().max()) <= EXACT
    assert greedy(written) == greedy(source)


def test_no_pickle_is_written_and_everybody_may_read(pair: tuple[Path, Path]) -> None:
    _, out = pair
    names = {file.name for file in out.iterdir()}
    assert {"config.json", "generation_config.json", "model.safetensors", "README.md"} <= names
    assert not any(name.endswith((".bin", ".pth", ".pkl")) for name in names)
    assert len({file.stat().st_mode for file in out.iterdir()}) == 1


def test_the_settings_are_those_of_the_family(pair: tuple[Path, Path]) -> None:
    source, out = pair
    settings = GenerationConfig.from_pretrained(out)
    decoding = opened(source).dialect.habits.decoding
    assert settings.do_sample is (decoding.temperature > 0)
    assert (settings.max_length if decoding.max_length else settings.max_new_tokens) == (
        decoding.max_length or decoding.max_new_tokens
    )
    if settings.do_sample:
        assert (settings.temperature, settings.top_k, settings.top_p) == (
            decoding.temperature,
            decoding.top_k,
            decoding.top_p,
        )
    assert {settings.eos_token_id} == opened(source).dialect.stop_ids


def test_the_card_names_the_source_by_its_hashes(pair: tuple[Path, Path]) -> None:
    source, out = pair
    _, front, text = (out / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    checkpoint = open_checkpoint(str(source))
    assert YAML(typ="safe").load(front)["license"] == "unknown - see the source"
    assert checkpoint.system in YAML(typ="safe").load(front)["tags"]
    for file in checkpoint.files:
        assert f"| {file.name} | {file.stat().st_size:,} | `{hashlib.sha256(file.read_bytes()).hexdigest()}` |" in text


@pytest.mark.parametrize("name", ["dialogpt", "devjwsong", "chitchat", "chitchat-mmi"])
def test_transformers_reads_a_converted_gpt2_alike(name: str, tmp_path: Path) -> None:
    source = opened(NATIVES[name].path)
    out = converted(NATIVES[name].path, tmp_path / "out")
    load: Any = GPT2LMHeadModel.from_pretrained
    model = load(out).eval()
    ids = context(source)
    types = source.dialect.type_ids(ids)
    with torch.inference_mode():
        theirs = model(torch.tensor([ids]), token_type_ids=None if types is None else torch.tensor([types])).logits[
            0, -1
        ]
    assert float((theirs - logits(source)).abs().max()) <= EXACT
    tokenize: Any = AutoTokenizer.from_pretrained
    for text in ("how are you", "好的 ok"):
        expected = open_checkpoint(str(out)).read_tokenizer().encode(text)
        assert tokenize(out)(text, add_special_tokens=False)["input_ids"] == expected


@pytest.mark.parametrize("kind", KINDS)
def test_transfertransfo_keeps_its_candidate_head(
    kind: str,
    folders: Callable[[str], Path],  # noqa: F811
    tmp_path: Path,
) -> None:
    source = folders(kind)
    out = converted(source, tmp_path / "out")
    assert float((logits(opened(out)) - logits(opened(source))).abs().max()) <= EXACT
    before, after = (load_ranker(str(path), name=CANDIDATE_HEAD, device="cpu") for path in (source, out))
    assert after.score(PAIRS) == pytest.approx(before.score(PAIRS), abs=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_ranker_scores_as_before(dtype: str, tmp_path: Path) -> None:
    source = NATIVES["dialogrpt"].path
    out = converted(source, tmp_path / "out", "--dtype", dtype)
    before, after = (load_ranker(str(path), name="updown", device="cpu", dtype="float32") for path in (source, out))
    assert after.score(PAIRS) == pytest.approx(before.score(PAIRS), abs=1e-5 if dtype == "float32" else 0.03)
    load: Any = GPT2ForSequenceClassification.from_pretrained
    assert load(out).score.weight.dtype is getattr(torch, dtype)


@pytest.mark.parametrize("name", ["dialogpt", "pingpong-meena"])
def test_half_precision_halves_the_weights_and_is_recorded(name: str, tmp_path: Path) -> None:
    source = NATIVES[name].path
    whole = converted(source, tmp_path / "whole") / "model.safetensors"
    half = converted(source, tmp_path / "half", "--dtype", "float16") / "model.safetensors"
    assert half.stat().st_size < 0.6 * whole.stat().st_size
    assert json.loads((half.parent / "config.json").read_text())["dtype"] == "float16"


def test_a_file_in_half_precision_loses_nothing_in_half_precision(tmp_path: Path) -> None:
    source = NATIVES["dialogpt"].path
    out = converted(source, tmp_path / "out", "--dtype", "float16")
    assert torch.equal(logits(opened(out)), logits(opened(source)))


def test_large_weights_are_written_in_parts(tmp_path: Path) -> None:
    source = NATIVES["devjwsong"].path
    out = converted(source, tmp_path / "out", "--shard-size", "60KB")
    assert len(list(out.glob("model-*.safetensors"))) > 1
    assert float((logits(opened(out)) - logits(opened(source))).abs().max()) <= EXACT


def test_a_conversion_can_be_converted_again(tmp_path: Path) -> None:
    first = converted(NATIVES["chitchat"].path, tmp_path / "first")
    second = converted(first, tmp_path / "second")
    assert (first / "model.safetensors").read_bytes() == (second / "model.safetensors").read_bytes()
    assert json.loads((first / "config.json").read_text()) == json.loads((second / "config.json").read_text())


def test_a_size_that_is_none_is_a_usage_error(tmp_path: Path) -> None:
    result = run("starter", tmp_path / "out", "--shard-size", "lots")
    assert result.exit_code != 0
    assert "'lots' is no size" in result.output


def test_an_ensemble_names_the_heads_to_convert(tmp_path: Path) -> None:
    result = run(NATIVES["dialogrpt"].path.with_name("ensemble.yml"), tmp_path / "out")
    assert result.exit_code == 2
    assert "updown.pth" in result.output


def test_a_full_directory_is_kept_until_force_says_otherwise(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    result = run(NATIVES["dialogpt"].path, out)
    assert result.exit_code == 2
    assert "not empty" in result.output
    assert [file.name for file in out.iterdir()] == ["notes.txt"]
    converted(NATIVES["dialogpt"].path, out, "--force")
    assert not (out / "notes.txt").exists()
    assert [file.name for file in tmp_path.iterdir()] == ["out"]


def test_a_link_stays_one_and_its_directory_is_replaced(tmp_path: Path) -> None:
    disk, out = tmp_path / "disk", tmp_path / "out"
    disk.mkdir()
    (disk / "old.txt").touch()
    out.symlink_to(disk)
    converted(NATIVES["dialogpt"].path, out, "--force")
    assert out.is_symlink()
    assert (disk / "model.safetensors").is_file()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["disk", "out"]


def test_the_directory_that_one_is_in_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`convert ... . --force` in a home directory would have taken all of it."""
    (tmp_path / "notes").mkdir()
    monkeypatch.chdir(tmp_path / "notes")
    result = run(NATIVES["dialogpt"].path, Path(".."), "--force")
    assert result.exit_code == 2
    assert "you are in this directory" in result.output
    assert (tmp_path / "notes").is_dir()


def test_the_source_is_never_overwritten(tmp_path: Path) -> None:
    source = NATIVES["devjwsong"].copied(tmp_path)
    before = sorted(file.name for file in source.iterdir())
    result = run(source, source, "--force")
    assert result.exit_code == 2
    assert "would be lost" in result.output
    assert sorted(file.name for file in source.iterdir()) == before


def test_a_file_in_the_place_is_kept(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    result = run(NATIVES["dialogpt"].path, tmp_path / "out", "--force")
    assert result.exit_code == 2
    assert "this is a file" in result.output
    assert (tmp_path / "out").read_text() == "mine"


@pytest.fixture
def little_room() -> Iterator[None]:
    """No file may grow beyond 50 kB; what writes more gets an error, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


@pytest.mark.usefixtures("little_room")
@pytest.mark.parametrize("name", ["dialogpt", "pingpong-gpt"])
def test_no_room_is_a_sentence_and_leaves_nothing(name: str, tmp_path: Path) -> None:
    result = run(NATIVES[name].path, tmp_path / "out")
    assert result.exit_code == 2
    assert "cannot be written" in result.output
    assert "make room" in result.output
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = run(NATIVES["dialogpt"].path, tmp_path / "file" / "out")
    assert result.exit_code == 2
    assert str(tmp_path / "file") in result.output


def test_other_numbers_than_the_sources_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that goes wrong between writing and reading is not given its name."""
    from bot.generator.conversion import writing

    write = writing._write

    def write_wrongly(*arguments: Any, **options: Any) -> None:
        write(*arguments, **options)
        model = GPT2LMHeadModel.from_pretrained(arguments[3])
        model.transformer.wte.weight.data[7] += 1.0
        model.save_pretrained(arguments[3])

    monkeypatch.setattr(writing, "_write", write_wrongly)
    result = run(NATIVES["dialogpt"].path, tmp_path / "out")
    assert result.exit_code == 2
    assert "Nothing is kept" in result.output
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from bot.generator.conversion import writing

writing._name = lambda part, out: os.kill(os.getpid(), signal.SIGKILL)
writing.convert(sys.argv[1], Path(sys.argv[2]), dtype="float32", shard_size="5GB", force=False)
"""


def test_a_killed_conversion_leaves_nothing_under_the_name(tmp_path: Path) -> None:
    source, out = NATIVES["dialogpt"].path, tmp_path / "out"
    command = [sys.executable, "-c", KILLED, str(source), str(out)]
    killed = subprocess.run(command, check=False, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert killed.returncode == -signal.SIGKILL
    assert not out.exists()
    assert [file.name for file in tmp_path.iterdir()] == [".out.part"]
    converted(source, out)
    assert [file.name for file in tmp_path.iterdir()] == ["out"]
