"""What older systems train on, and with which loss: their files make their examples, and our trainer their numbers."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import GPT2ForSequenceClassification, GPT2LMHeadModel

from bot.generator.dialects.base import IGNORED, Dialect
from bot.generator.dialects.registry import dialect_named
from bot.generator.formats.registry import open_checkpoint
from bot.generator.loading import load_model
from bot.training.contrast_batches import ContrastBatches, Group
from bot.training.corpora import chitchat_text, devjwsong_json, dialogpt_tsv, preferences
from bot.training.corpora.dialogue import Dialogue
from bot.training.corpora.registry import PERSON
from bot.training.dialogpt_features import UNLEARNED, Feature, features, validation_feature
from bot.training.examples import Batches, EncodedDialogue, Lesson, examples_of
from bot.training.objectives import LearnedTokens
from bot.training.ranker import PreferredReplies

torch.set_num_threads(1)
HERE = Path(__file__).parent
BOTH = frozenset({0, PERSON})


def golden(folder: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((HERE / folder / "golden.json").read_text(encoding="utf-8"))
    return found


DIALOGPT, CHITCHAT, DEVJWSONG = golden("dialogpt"), golden("gpt2-chitchat"), golden("devjwsong")
DIALOGRPT = golden("dialogrpt")


def opened(path: Path) -> tuple[Dialect, GPT2LMHeadModel]:
    found = open_checkpoint(str(path))
    model = load_model(GPT2LMHeadModel, found, torch.device("cpu"), torch.float32)
    return dialect_named(found.dialect, found.read_tokenizer()), model


@pytest.fixture(scope="module")
def dialogpt() -> tuple[Dialect, GPT2LMHeadModel]:
    return opened(HERE / "dialogpt" / "small_ft.pkl")


@pytest.fixture(scope="module")
def chitchat() -> tuple[Dialect, GPT2LMHeadModel]:
    return opened(HERE / "gpt2-chitchat")


@pytest.fixture(scope="module")
def devjwsong() -> tuple[Dialect, GPT2LMHeadModel]:
    return opened(HERE / "devjwsong")


@torch.no_grad()
def loss(model: GPT2LMHeadModel, rows: Sequence[Any], pad: int = 0, *, types: bool = True) -> float:
    """What our trainer computes for these examples in one batch."""
    encoded = [
        EncodedDialogue(
            np.array(row.input_ids),
            np.array(row.labels),
            0.0,
            np.array(row.type_ids) if types and row.type_ids is not None else None,
        )
        for row in rows
    ]
    batches = Batches(encoded, tokens_per_batch=10**6, pad_id=pad, seed=0)
    assert len(batches) == 1
    objective = LearnedTokens()
    return float(objective.total_loss(model, batches[0])) / objective.items(batches[0])


def written(feature: Feature) -> dict[str, Any]:
    return {
        "conv_id": feature.conv_id,
        "input_ids": feature.input_ids,
        "position_ids": feature.position_ids,
        "token_type_ids": feature.token_type_ids,
        "lm_labels": feature.lm_labels,
    }


def features_of(dialect: Dialect, dialogues: Sequence[Dialogue], max_seq_len: int) -> list[Feature]:
    made: list[Feature] = []
    end = min(dialect.stop_ids)
    for dialogue in dialogues:
        ids = [ids_of(dialect, text) for text in dialogue.turns]
        assert dialogue.weights is not None
        made += features(zip(dialogue.weights, ids, strict=True), max_seq_len, end, len(made))
    return made


def ids_of(dialect: Dialect, text: str) -> list[int]:
    return dialect._tokenizer.encode(text)  # type: ignore[attr-defined, no-any-return]


@pytest.fixture(
    params=DIALOGPT["training"]["runs"], ids=lambda run: f"{run['max_seq_len']}-{run['reverse']}-{run['two_turn']}"
)
def dialogpt_run(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[dict[str, Any], list[Dialogue]]:
    file = tmp_path / "train.tsv"
    file.write_text("".join(f"{line}\n" for line in DIALOGPT["training"]["lines"]), encoding="utf-8")
    run = request.param
    return run, list(dialogpt_tsv.read(file, reverse=run["reverse"], two_turn=run["two_turn"]))


def test_dialogpt_lines_become_its_features(dialogpt, dialogpt_run) -> None:  # type: ignore[no-untyped-def]
    run, dialogues = dialogpt_run
    made = features_of(dialogpt[0], dialogues, run["max_seq_len"])
    names = ("conv_id", "input_ids", "position_ids", "token_type_ids", "lm_labels")
    assert [written(feature) for feature in made] == [{name: one[name] for name in names} for one in run["features"]]
    assert [feature.weights for feature in made] == [one["weights"] for one in run["features"]]
    kept = [feature.conv_id for feature in made if len(feature.input_ids) <= run["max_seq_len"]]
    assert kept == run["kept_by_loader"]


def test_dialogpt_features_give_its_loss_and_perplexity(dialogpt, dialogpt_run) -> None:  # type: ignore[no-untyped-def]
    run, dialogues = dialogpt_run
    dialect, model = dialogpt
    examples = [one for dialogue in dialogues for one in examples_of(dialect, dialogue, BOTH, run["max_seq_len"])]
    assert len(examples) == len(run["kept_by_loader"])
    if not examples:
        return
    assert loss(model, examples) == pytest.approx(run["loss_no_token_id"], abs=1e-4)
    means = [loss(model, [example]) for example in examples]
    assert math.exp(sum(means) / len(means)) == pytest.approx(run["ppl_no_token_id"], rel=1e-3)


@torch.no_grad()
def test_dialogpt_token_types_are_turn_numbers(dialogpt, dialogpt_run) -> None:  # type: ignore[no-untyped-def]
    run, dialogues = dialogpt_run
    dialect, model = dialogpt
    total, count = 0.0, 0
    for feature in features_of(dialect, dialogues, run["max_seq_len"]):
        if len(feature.input_ids) <= run["max_seq_len"]:
            ids, types = torch.tensor([feature.input_ids]), torch.tensor([feature.token_type_ids])
            labels = torch.tensor(feature.lm_labels)
            logits = model(ids, token_type_ids=types).logits[0]
            total += float(torch.nn.functional.cross_entropy(logits, labels, ignore_index=UNLEARNED, reduction="sum"))
            count += int((labels != UNLEARNED).sum())
    if count:
        assert total / count == pytest.approx(run["loss_with_token_type"], abs=1e-4)


@pytest.mark.parametrize("run", DIALOGPT["validation"]["runs"], ids=lambda run: str(run["max_seq_length"]))
def test_dialogpt_validation_pairs(dialogpt, run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    dialect, model = dialogpt
    file = tmp_path / "valid.tsv"
    file.write_text("".join("\t".join([*pair, "another"]) + "\n" for pair in DIALOGPT["validation"]["pairs"]))
    made = []
    for number, dialogue in enumerate(dialogpt_tsv.read_pairs(file)):
        context, answer = (ids_of(dialect, text) for text in dialogue.turns)
        feature = validation_feature(number, context, answer, run["max_seq_length"], min(dialect.stop_ids))
        made += [feature] if feature is not None else []
    names = ("conv_id", "input_ids", "position_ids", "token_type_ids", "lm_labels")
    assert [written(feature) for feature in made] == [{name: one[name] for name in names} for one in run["features"]]
    pairs = dialogpt_tsv.read_pairs(file)
    examples = [one for dialogue in pairs for one in examples_of(dialect, dialogue, BOTH, run["max_seq_length"])]
    assert loss(model, examples) == pytest.approx(run["loss"], abs=1e-4)
    means = [loss(model, [example]) for example in examples]
    assert means == pytest.approx(run["pointwise_loss"], abs=1e-4)
    assert math.exp(sum(means) / len(means)) == pytest.approx(run["ppl"], rel=1e-3)


def test_chitchat_text_becomes_its_ids_labels_and_loss(chitchat) -> None:  # type: ignore[no-untyped-def]
    dialect, model = chitchat
    training = CHITCHAT["training"]
    dialogues = list(chitchat_text.read(HERE / "gpt2-chitchat" / training["file"]))
    whole = [examples_of(dialect, dialogue, BOTH, 10**6)[0] for dialogue in dialogues]
    assert [list(example.input_ids) for example in whole] == training["preprocessed_ids"]
    cut = [examples_of(dialect, dialogue, BOTH, training["max_len"])[0] for dialogue in dialogues]
    for example, ids, labels in zip(cut, training["input_ids"], training["labels"], strict=True):
        pad = len(ids) - len(example.input_ids)
        assert [*example.input_ids, *[0] * pad] == ids
        assert [*example.labels, *[IGNORED] * pad] == labels
    assert loss(model, cut) == pytest.approx(training["loss"], abs=1e-4)


@pytest.mark.parametrize("run", DEVJWSONG["training"]["runs"], ids=lambda run: f"{run['max_turns']}-{run['max_len']}")
def test_devjwsong_utterances_become_its_examples_and_loss(devjwsong: Any, run: dict[str, Any]) -> None:
    dialect, model = devjwsong
    lesson = Lesson(max_turns=run["max_turns"])
    dialogues = list(devjwsong_json.read(HERE / "devjwsong" / "train_utters.json"))
    made = [one for dialogue in dialogues for one in examples_of(dialect, dialogue, BOTH, run["max_len"], (), lesson)]
    assert [
        {"input_ids": list(one.input_ids), "token_type_ids": list(one.type_ids), "labels": list(one.labels)}
        for one in made
    ] == [{name: one[name] for name in ("input_ids", "token_type_ids", "labels")} for one in run["examples"]]
    assert loss(model, made[:3], min(dialect.stop_ids)) == pytest.approx(run["batch_of_first_3"]["loss"], abs=1e-4)


def test_dialogrpt_pairs_become_its_batch_and_loss() -> None:
    training = DIALOGRPT["training"]
    batch, end = training["batch"], DIALOGRPT["eos_id"]
    found = preferences.read(HERE / "dialogrpt" / training["file"])
    groups = [one.rows(end, training["max_seq_len"]) for one in found]
    assert [[len(better), len(worse)] for better, worse in groups] == [
        list(lengths) for lengths in zip(batch["len_pos"], batch["len_neg"], strict=True)
    ]
    for (better, worse), right, wrong in zip(groups, batch["ids_pos"], batch["ids_neg"], strict=True):
        assert better == right[: len(better)]
        assert worse == wrong[: len(worse)]
        assert {*right[len(better) :], *wrong[len(worse) :]} <= {end}
    checkpoint = open_checkpoint(str(HERE / "dialogrpt" / "restore" / "updown.pth"))
    model = load_model(GPT2ForSequenceClassification, checkpoint, torch.device("cpu"), torch.float32)

    def loss_of(some: list[Group]) -> float:
        read = ContrastBatches(some, end, seed=0)
        assert len(read) == 1
        objective = PreferredReplies()
        return float(objective.total_loss(model, read[0])) / objective.items(read[0])

    with torch.no_grad():
        assert loss_of(groups) == pytest.approx(training["loss"], abs=1e-4)
        chances = [math.exp(-loss_of([group])) for group in groups]
    assert chances == pytest.approx(training["pred"], abs=1e-4)
