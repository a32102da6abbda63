"""One run: what a step learns from, what is logged, and what happens when room runs out."""

import errno
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bot.training.disk import last_whole_checkpoint
from bot.training.errors import TrainingError
from bot.training.examples import Batches, EncodedDialogue
from bot.training.numbers import pick_training_dtype
from bot.training.objectives import LearnedTokens
from bot.training.ranker import PreferredReplies
from bot.training.run import run
from bot.training.schedule import share_of_rate
from bot.training.settings import RunSettings, Schedule
from bot.training.training_log import FILE, PICTURE, read_log
from tests.unit.training.small import losses, network

torch.set_num_threads(1)


def batches(count: int, tokens_per_batch: int) -> Batches:
    """Of 10 tokens each, in an order that does not depend on the size of a batch."""
    rows = [np.arange(n, n + 10, dtype=np.int32) % 280 for n in range(count)]
    made = Batches([EncodedDialogue(row, row, 0.0) for row in rows], 10, 0, seed=0)
    made._batches = [
        [one for batch in made._batches[start : start + tokens_per_batch // 10] for one in batch]
        for start in range(0, count, tokens_per_batch // 10)
    ]
    return made


def settings(out: Path, **given: Any) -> RunSettings:
    out.mkdir(exist_ok=True)
    usual = {"evaluate_every_steps": 2, "dtype": "float32", "warm_up_steps": 1, "learning_rate": 1e-2}
    return RunSettings(out=out, **{**usual, **given})


def learned(out: Path, train: Batches, change: Callable[[Any], object] = lambda model: None, **given: Any) -> Any:
    """The weights after a run, as one vector."""
    model = network()
    change(model)
    run(LearnedTokens(), model, train, batches(6, 20), settings(out, **given))
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def no_room_beyond(numbers: int) -> Callable[[Any], object]:
    """A device that cannot compute larger batches: torch's own error at the point where it would come."""

    def refuse(module: Any, given: tuple[()], named: dict[str, torch.Tensor]) -> None:
        if named["input_ids"].numel() > numbers and torch.is_grad_enabled():
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    return lambda model: model.transformer.register_forward_pre_hook(refuse, with_kwargs=True)


def test_accumulated_batches_are_one_batch(tmp_path: Path) -> None:
    whole = learned(tmp_path / "one", batches(24, 80))
    parts = learned(tmp_path / "two", batches(24, 20), accumulate=4)
    assert torch.allclose(whole, parts, atol=1e-5)


def test_a_batch_without_room_is_computed_in_halves(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = learned(tmp_path / "one", batches(24, 80))
    halves = learned(tmp_path / "two", batches(24, 80), no_room_beyond(30))
    assert torch.allclose(whole, halves, atol=1e-5)
    assert [record.message for record in caplog.records].count("batch_halved") == 2


def test_a_dialogue_without_room_is_told_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"not enough memory for 10 tokens.*--gradient-checkpointing"):
        learned(tmp_path, batches(4, 40), no_room_beyond(5))


def test_halves_of_a_ranker_lie_between_groups() -> None:
    batch = {"input_ids": torch.arange(7)[:, None], "labels": torch.tensor([-1, 0, 0, -1, 3, -1, 5])}
    first, second = PreferredReplies().halves(batch)
    assert first["labels"].tolist() == [-1, 0, 0]
    assert second["labels"].tolist() == [-1, 0, -1, 2]
    assert second["input_ids"].flatten().tolist() == [3, 4, 5, 6]


def test_a_full_disk_ends_the_run_and_nothing_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full as long as the reserve takes its place."""
    save = torch.save

    def full(thing: Any, place: Any, *more: Any, **named: Any) -> None:
        if (tmp_path / ".reserve").exists() and "checkpoint-4" in str(place):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(thing, place, *more, **named)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(TrainingError, match=r"disk is full at step 4. checkpoint-4 is kept.*same command"):
        learned(tmp_path, batches(20, 20))
    assert last_whole_checkpoint(tmp_path) == tmp_path / "checkpoint-4"
    monkeypatch.undo()
    resumed = learned(tmp_path, batches(20, 20))
    assert torch.equal(resumed, learned(tmp_path / "whole", batches(20, 20)))


def test_no_room_for_checkpoints_is_told_before_the_first_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, offset: int, length: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(TrainingError, match=r"no room for checkpoints: \d+ MB are needed"):
        learned(tmp_path, batches(4, 20))
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_no_longer_improves_ends_early(tmp_path: Path) -> None:
    learned(tmp_path, batches(200, 20), learning_rate=50.0, patience=2)
    judged = losses(tmp_path, "held_out_loss")
    assert len(judged) < 20
    best = min(judged, key=lambda step: judged[step])
    assert len([step for step in judged if step > best]) == 2


def test_the_log_has_perplexity_and_speed_and_a_picture(tmp_path: Path) -> None:
    learned(tmp_path, batches(24, 20), gradient_checkpointing=True)
    entries = read_log(tmp_path / FILE)
    for entry in entries:
        prefix = "" if "loss" in entry else "held_out_"
        assert entry[f"{prefix}perplexity"] == pytest.approx(math.exp(entry[f"{prefix}loss"]))
    assert [entry["tokens"] for entry in entries if "loss" in entry] == [40 * n for n in range(1, 7)]
    assert all(entry["tokens_per_second"] > 0 for entry in entries if "loss" in entry)
    assert (tmp_path / PICTURE).read_bytes().startswith(b"\x89PNG")
    assert not (tmp_path / ".reserve").exists()


@pytest.mark.parametrize(
    ("schedule", "shares"),
    [
        (Schedule.LINEAR, [0.25, 1.0, 0.5, 0.01]),
        (Schedule.COSINE, [0.25, 1.0, 0.5, 0.01]),
        (Schedule.NOAM, [0.25, 1.0, math.sqrt(4 / 50), math.sqrt(4 / 100)]),
    ],
)
def test_the_rate_rises_and_falls(schedule: Schedule, shares: list[float]) -> None:
    """By hand: a warm-up of 4 steps; then half of the run is left, then nothing."""
    told = [(0, 1.0), (3, 1.0), (49, 0.5), (99, 0.0)]
    assert [share_of_rate(schedule, step, 4, left) for step, left in told] == pytest.approx(shares)


def test_float16_needs_a_gpu() -> None:
    with pytest.raises(TrainingError, match="fp16 needs a GPU"):
        pick_training_dtype("fp16", torch.device("cpu"))
    assert pick_training_dtype("bf16", torch.device("cpu")) is torch.bfloat16
