"""What a ranker is shown, and that it learns from it."""

import json
import random
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from click.testing import CliRunner
from transformers import GPT2Config, GPT2ForSequenceClassification

from bot.generator.dialects.base import Utterance
from bot.generator.dialects.dialogpt import DialoGPT
from bot.generator.tokenization.hub import HubTokenizer
from bot.training.commands import train_ranker
from bot.training.contrast_batches import ContrastBatches, encode_group
from bot.training.contrast_data import FILE, ContrastData
from bot.training.corpora.dialogue import Dialogue
from bot.training.negatives import Contrast, ReplyPool, contrasts
from bot.training.ranker import FIGURES, PreferredReplies, centre, figures_of, logits_of
from bot.training.tokenizer import train_tokenizer
from tests.unit.training.small import SCRATCH, corpus, trained

DIALECT = DialoGPT(HubTokenizer(train_tokenizer(["hello there, how are you today?", "i am fine"] * 5, 280)))
TALKS = [
    Dialogue((f"question {n}", f"answer {n}", "and?", f"more {n}"), "test", "even" if n % 2 == 0 else "odd")
    for n in range(20)
]

END = min(DIALECT.stop_ids)


def groups_of(talks: list[Dialogue]) -> list[list[list[int]]]:
    return [encode_group(contrast, DIALECT, 60) for contrast in contrasts(talks, random.Random(0))]


def test_wrong_replies_are_never_the_right_one() -> None:
    for contrast in contrasts(TALKS, random.Random(0)):
        assert contrast.reply not in contrast.wrong
        assert len(contrast.wrong) == 3


def test_the_context_ends_before_the_reply() -> None:
    for talk, contrast in zip(TALKS, contrasts(TALKS, random.Random(0)), strict=True):
        said = [utterance.text for utterance in contrast.context]
        assert (*said, contrast.reply) == talk.turns[: len(said) + 1]


def test_hard_wrong_replies_come_from_the_topic() -> None:
    pool = ReplyPool(TALKS)
    for _ in range(20):
        assert int(pool.same_topic("odd", "answer 3", random.Random(0)).split()[1]) % 2 == 1


def test_a_reply_is_read_without_an_end() -> None:
    contrast = Contrast((Utterance(1, "hello"),), "i am fine", ("how are you",))
    right, wrong = encode_group(contrast, DIALECT, 100)
    end = min(DIALECT.stop_ids)
    assert right[-1] != end
    assert right.count(end) == wrong.count(end) == 1
    assert DIALECT.decode(right[right.index(end) :]).strip() == "i am fine"


def test_a_batch_pairs_every_wrong_reply_with_its_own_right_one() -> None:
    batches = ContrastBatches(groups_of(TALKS), END, seed=0)
    batch = batches[0]
    assert len(batches) == 1
    assert len(batch["input_ids"]) == 80
    for row, right in enumerate(batch["labels"].tolist()):
        assert right == -1 or (right < row <= right + 3 and batch["labels"][right] == -1)


def test_the_loss_is_dialogrpts() -> None:
    """By hand: -log(e^p / (e^p + e^n)), averaged over the pairs."""
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=280, n_positions=64, n_embd=16, n_layer=1, n_head=2, num_labels=1, pad_token_id=0)
    model = GPT2ForSequenceClassification(config).eval()
    batch = ContrastBatches(groups_of(TALKS[:3]), END, seed=0)[0]
    objective = PreferredReplies()
    loss = objective.total_loss(model, batch) / objective.items(batch)
    logits = logits_of(model, batch).double()
    pairs = [
        -torch.log(logits[right].exp() / (logits[right].exp() + logits[row].exp())).item()
        for row, right in enumerate(batch["labels"].tolist())
        if right >= 0
    ]
    assert loss.item() == pytest.approx(sum(pairs) / len(pairs), abs=1e-5)


def test_centring_shifts_every_score_alike() -> None:
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=280, n_positions=64, n_embd=16, n_layer=1, n_head=2, num_labels=1, pad_token_id=0)
    model = GPT2ForSequenceClassification(config).eval()
    model.transformer.ln_f.bias.data += 3.0
    batches = ContrastBatches(groups_of(TALKS), END, seed=0)
    before = logits_of(model, batches[0]).detach()
    centre(model, batches)
    after = logits_of(model, batches[0]).detach()
    assert after.mean().item() == pytest.approx(0.0, abs=1e-5)
    assert torch.allclose(before - before.mean(), after, atol=1e-5)


def test_a_ranker_tells_its_figures_and_writes_no_reply_twice(tmp_path: Path) -> None:
    base = tmp_path / "base"
    talks = corpus(tmp_path, dialogues=60)
    assert trained(base, *SCRATCH, "--corpus", talks).exit_code == 0
    out = tmp_path / "ranker"
    given = ["--out", str(out), "--generator", str(base), "--corpus", talks, "--dtype", "float32"]
    first = CliRunner().invoke(train_ranker, given)
    assert first.exit_code == 0, first.output
    figures = json.loads((out / FIGURES).read_text())
    assert set(figures) == {"pair_accuracy_random", "pair_accuracy_machine", "hits_at_1_of_10", "held_out_contexts"}
    assert f"hits at 1 of 10: {figures['hits_at_1_of_10']:.4g}" in first.output
    written = (out / FILE).stat().st_mtime_ns
    assert CliRunner().invoke(train_ranker, given).exit_code == 0
    assert (out / FILE).stat().st_mtime_ns == written
    assert json.loads((out / FIGURES).read_text()) == figures
    other = CliRunner().invoke(train_ranker, [*given[:1], str(tmp_path / "other"), *given[2:], "--against", "random"])
    assert other.exit_code == 0, other.output
    assert "pair accuracy machine" not in other.output


def test_figures_are_counted_as_by_hand() -> None:
    """A head that scores a row by its last token: of three groups, the first has the best reply first."""

    class Last(torch.nn.Module):
        device = torch.device("cpu")

        def __init__(self) -> None:
            super().__init__()
            self.score = torch.nn.Identity()

        def transformer(self, ids: torch.Tensor) -> SimpleNamespace:
            return SimpleNamespace(last_hidden_state=ids[..., None].float())

    groups = [[[1, 9], [1, 2], [1, 3]], [[1, 4], [1, 5], [1, 2]], [[1, 2], [1, 7], [1, 8]]]
    data = ContrastData(groups=[], aside_by_kind={"random": groups}, tens=groups)
    assert figures_of(Last(), data, 0) == pytest.approx(
        {"pair_accuracy_random": 3 / 6, "hits_at_1_of_10": 1 / 3, "held_out_contexts": 3}
    )
