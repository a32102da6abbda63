"""DialoGPT's own .pkl files against the numbers of the original's code."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from bot.generator.candidates import GenerationRequest
from bot.generator.decoder import Decoder
from bot.generator.dialects.base import Utterance
from bot.generator.errors import CheckpointError
from bot.generator.formats.registry import open_checkpoint
from bot.generator.models.base import Prompt

HERE = Path(__file__).parent / "dialogpt"
GOLDEN: dict[str, Any] = json.loads((HERE / "golden.json").read_text(encoding="utf-8"))
END = GOLDEN["eos_id"]
FORGED = "<|endoftext|>"
TRUNK = "transformer."


def load(path: Path) -> Decoder:
    return Decoder.load(open_checkpoint(str(path)), dialect="auto", device="cpu", dtype="auto")


@pytest.fixture(scope="module", params=["small_ft.pkl", "small_ft_module_prefix.pkl"])
def decoder(request: pytest.FixtureRequest) -> Decoder:
    return load(HERE / request.param)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory with one generator and all that belongs to it."""
    for name in ("config.json", "vocab.json", "merges.txt", "small_ft.pkl"):
        shutil.copy(HERE / name, tmp_path / name)
    return tmp_path


def utterances(texts: list[str]) -> list[Utterance]:
    return [Utterance(number % 2, text) for number, text in enumerate(texts)]


def logits(decoder: Decoder, ids: list[int]) -> torch.Tensor:
    with torch.inference_mode():
        return decoder.model.read([Prompt(tuple(ids))])[0][0]


def greedy(decoder: Decoder, ids: list[int], **settings: Any) -> list[int]:
    """The reply's ids, its end included where it has one."""
    decoding = decoder.dialect.habits.decoding.model_copy(update=settings)
    request = GenerationRequest(input_ids=tuple(ids), decoding=decoding, seed=0)
    [[candidate]] = decoder.generate([request])
    return [*candidate.token_ids, *([END] if candidate.finished else [])]


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: case["id"])
def test_a_context_gives_the_originals_ids_logits_and_greedy_reply(decoder: Decoder, case: dict[str, Any]) -> None:
    assert decoder.dialect.encode(utterances(case["context"]), 10_000) == case["input_ids"]
    ids = case["model_input_ids"]
    last = logits(decoder, ids)
    assert last[:16].tolist() == pytest.approx(case["logits_last"]["first16"], abs=2e-4)
    assert int(last.argmax()) == case["logits_last"]["argmax"]
    assert float(last.logsumexp(0)) == pytest.approx(case["logits_last"]["logsumexp"], abs=2e-4)
    reply = greedy(decoder, ids, max_new_tokens=24)
    assert reply == case["greedy_ids"]
    assert decoder.dialect.decode(reply) == case["greedy_text"]


@pytest.mark.parametrize("session", GOLDEN["hf_chat_sessions"], ids=lambda session: session["steps"][0]["user"])
def test_a_chat_goes_on_as_the_published_example_does(decoder: Decoder, session: dict[str, Any]) -> None:
    history: list[int] = []
    for step in session["steps"]:
        history += decoder.dialect.encode(utterances([step["user"]]), 10_000)
        assert history == step["input_ids"]
        reply = greedy(decoder, history, max_length=session["max_length"])
        assert reply == step["reply_ids"]
        assert decoder.dialect.decode(reply) == step["reply"]
        history += reply


@pytest.mark.parametrize("case", GOLDEN["tokenizer_cases"], ids=lambda case: case["text"])
def test_text_gives_the_originals_ids(decoder: Decoder, case: dict[str, Any]) -> None:
    ids = decoder.dialect.encode(utterances([case["text"]]), 10_000)[:-1]
    if FORGED in case["text"]:  # only the training code's tokenizer leaves it text, as we do
        assert ids == case["original_tokenizer_ids"]
    else:
        assert ids == case["ids"]
        assert decoder.dialect.decode(ids) == case["decoded"]


def test_a_directory_with_one_file_of_weights_stands_for_it(folder: Path) -> None:
    found = open_checkpoint(str(folder))
    assert (found.path, found.system, found.dialect) == (folder / "small_ft.pkl", "dialogpt", "dialogpt")
    with pytest.raises(CheckpointError, match=r"several.*small_ft\.pkl, small_ft_module_prefix\.pkl"):
        open_checkpoint(str(HERE))


def test_config_and_tokenizer_may_lie_one_directory_above(folder: Path) -> None:
    (folder / "restore").mkdir()
    moved = (folder / "small_ft.pkl").rename(folder / "restore" / "small_ft.pkl")
    case = GOLDEN["cases"][0]
    assert greedy(load(moved), case["input_ids"], max_new_tokens=24) == case["greedy_ids"]
    assert open_checkpoint(str(folder)).path == moved


def test_the_bare_body_is_the_same_model(folder: Path) -> None:
    weights = torch.load(folder / "small_ft.pkl", weights_only=True)
    body = {name.removeprefix(TRUNK): value for name, value in weights.items() if name.startswith(TRUNK)}
    torch.save(body, folder / "body.pkl")
    case = GOLDEN["cases"][1]
    found = logits(load(folder / "body.pkl"), case["input_ids"])
    assert found[:16].tolist() == pytest.approx(case["logits_last"]["first16"], abs=2e-4)


def test_the_layout_before_zip_archives_is_read_too(folder: Path) -> None:
    weights = torch.load(folder / "small_ft.pkl", weights_only=True)
    torch.save(weights, folder / "old.pkl", _use_new_zipfile_serialization=False)
    case = GOLDEN["cases"][1]
    assert greedy(load(folder / "old.pkl"), case["input_ids"], max_new_tokens=24) == case["greedy_ids"]


def test_a_feed_forward_of_another_width_is_told_from_its_shape(folder: Path) -> None:
    """With no number beyond the first 100 of the feed-forward, the 28 that are left out change nothing."""
    weights = torch.load(folder / "small_ft.pkl", weights_only=True)
    for name, weight in weights.items():
        if name.endswith("mlp.c_fc.weight"):
            weight[:, 100:] = 0
        elif name.endswith("mlp.c_fc.bias"):
            weight[100:] = 0
    torch.save(weights, folder / "small_ft.pkl")
    ids = GOLDEN["cases"][1]["input_ids"]
    whole = logits(load(folder / "small_ft.pkl"), ids)
    narrow = {
        name: weight[:, :100]
        if name.endswith("mlp.c_fc.weight")
        else weight[:100]
        if name.endswith(("mlp.c_fc.bias", "mlp.c_proj.weight"))
        else weight
        for name, weight in weights.items()
    }
    torch.save(narrow, folder / "small_ft.pkl")
    assert torch.allclose(logits(load(folder / "small_ft.pkl"), ids), whole, atol=1e-5)


def test_without_a_config_the_heads_follow_from_the_width(folder: Path) -> None:
    (folder / "config.json").unlink()
    weights = torch.load(folder / "small_ft.pkl", weights_only=True)
    found = open_checkpoint(str(folder))
    assert found.config["n_head"] == 1  # 32 numbers are half of one head of the published sizes
    assert any("n_head" in note for note in found.notes)
    assert found.config["n_layer"] == 2
    assert (found.config["vocab_size"], found.config["n_embd"]) == tuple(weights["transformer.wte.weight"].shape)


@pytest.mark.parametrize(("width", "layers", "heads"), [(768, 12, 12), (1024, 24, 16), (1280, 36, 20)])
def test_the_published_sizes_are_told_from_their_shapes(tmp_path: Path, width: int, layers: int, heads: int) -> None:
    """One stored number stands for every weight: the file is small, the shapes are those of 117M, 345M and 762M."""
    one = torch.zeros(1, dtype=torch.float16)
    names = {"wte.weight": (50257, width), "wpe.weight": (1024, width), "ln_f.weight": (width,)}
    names |= {f"h.{n}.ln_1.weight": (width,) for n in range(layers)}
    state = {f"transformer.{name}": one.expand(shape) for name, shape in names.items()}
    torch.save(state, tmp_path / "ft.pkl")
    found = open_checkpoint(str(tmp_path / "ft.pkl"))
    assert (found.config["n_embd"], found.config["n_layer"], found.config["n_head"]) == (width, layers, heads)
    assert any("openai-community/gpt2" in note for note in found.notes)


def test_a_config_of_another_model_is_named(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "n_embd": 64}))
    with pytest.raises(CheckpointError, match=r"config\.json says n_embd 64, the weights have 32"):
        open_checkpoint(str(folder))
    (folder / "config.json").write_text(json.dumps({**config, "n_head": 5}))
    with pytest.raises(CheckpointError, match="n_head is 5"):
        open_checkpoint(str(folder))


def test_a_missing_tokenizer_is_said_with_the_place_where_to_put_it(folder: Path) -> None:
    (folder / "merges.txt").unlink()
    with pytest.raises(CheckpointError, match=r"no tokenizer.*vocab\.json and merges\.txt"):
        load(folder)


def test_a_tokenizer_of_another_model_is_refused(folder: Path) -> None:
    vocabulary = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    (folder / "vocab.json").write_text(json.dumps({**vocabulary, "zzz": len(vocabulary)}), encoding="utf-8")
    with pytest.raises(CheckpointError, match="knows 421 tokens, the model only 420"):
        load(folder)
