"""What the tests of PingPong's two systems share: the originals' numbers and how ours are held against them."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bot.generator.candidates import GenerationRequest
from bot.generator.decoder import Decoder
from bot.generator.decoding import Decoding
from bot.generator.dialects.base import Utterance
from bot.generator.engine import load_generator
from bot.generator.models.base import LanguageModel, Prompt, Reading
from bot.generator.rows import Row
from bot.generator.tokenization.pieces import PiecesTokenizer, load_pieces

LOGITS, PROBABILITIES = 2e-4, 1e-4
PLAIN = {"repetition_penalty": 1.0, "no_repeat_ngram": 0, "min_length": 0}


def golden_of(folder: Path) -> dict[str, Any]:
    golden: dict[str, Any] = json.loads((folder / "golden.json").read_text(encoding="utf-8"))
    return golden


def ids_of(folder: Path) -> dict[str, int]:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return {name: value for name, value in config.items() if name.endswith("_token_id")}


def tokenizer_of(folder: Path) -> PiecesTokenizer:
    return load_pieces(folder / "tokenizer.model", ids_of(folder))


def decoder_of(folder: Path) -> Decoder:
    loaded = load_generator(str(folder), device="cpu", dtype="float32")
    assert isinstance(loaded, Decoder)
    return loaded


def talk(texts: list[str]) -> list[Utterance]:
    return [Utterance(number % 2, text) for number, text in enumerate(texts)]


@torch.inference_mode()
def read(model: LanguageModel, *contexts: list[int]) -> tuple[Tensor, Reading]:
    return model.read([Prompt(tuple(ids)) for ids in contexts])


def assert_scores(scores: Tensor, expected: dict[str, Any]) -> None:
    """The scores (V) of one position are the original's."""
    assert scores[:16].tolist() == pytest.approx(expected["first16"], abs=LOGITS)
    assert float(scores.logsumexp(dim=-1)) == pytest.approx(expected["logsumexp"], abs=LOGITS)
    assert int(scores.argmax()) == expected["argmax"]


def runs_of(golden: dict[str, Any], name: str) -> list[Any]:
    """Every run of that kind: the context's ids, the longest sequence, what the original wrote."""
    return [
        pytest.param(case["input_ids"], run["max_length"], run[name], id=f"{case['id']}-{kind}")
        for case in golden["cases"]
        for kind, run in case["runs"].items()
    ]


def request_of(decoder: Decoder, ids: list[int], max_length: int, **changes: Any) -> GenerationRequest:
    habits: Decoding = decoder.dialect.habits.decoding
    decoding = habits.model_copy(update={"candidates": 1, "max_length": max_length, **changes})
    return GenerationRequest(input_ids=tuple(ids), decoding=decoding, seed=0)


def assert_row(decoder: Decoder, row: Row, expected: dict[str, Any]) -> None:
    """What was written is what the original wrote."""
    end = [] if row.stop is None else [row.stop]
    assert [*row.before, *row.tokens, *end] == expected["output_ids"]
    assert decoder.dialect.decode(row.tokens) == expected["text"]
    if "kept_first3_steps" not in expected:
        return
    for (ids, probabilities), kept in zip(row.survivors, expected["kept_first3_steps"], strict=True):
        assert ids == kept["ids"]
        assert probabilities == pytest.approx(kept["probs"], abs=PROBABILITIES)


def copied(folder: Path, to: Path) -> Path:
    """The checkpoint alone, to be damaged."""
    for name in ("config.json", "model.pth", "tokenizer.model"):
        shutil.copy(folder / name, to / name)
    return to


def change_config(folder: Path, **changes: object) -> None:
    """Set some keys of a configuration; those that are None are left out."""
    file = folder / "config.json"
    config = {**json.loads(file.read_text(encoding="utf-8")), **changes}
    file.write_text(json.dumps({name: value for name, value in config.items() if value is not None}), encoding="utf-8")
