"""Runs that were killed, stopped or shared by two processes learn the same."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bot.training.disk import last_whole_checkpoint, remove_broken_checkpoints
from tests.unit.training.small import BANTER, ENVIRONMENT, SCRATCH, corpus, losses, trained

torch.set_num_threads(1)
DEADLINE_SECONDS = 100


def until(reached: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    end = time.monotonic() + DEADLINE_SECONDS
    while not reached():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        os.sched_yield()


def newest(out: Path) -> int:
    found = last_whole_checkpoint(out)
    return 0 if found is None else int(found.name.removeprefix("checkpoint-"))


def test_a_run_that_was_stopped_and_killed_has_the_losses_of_one_that_was_not(tmp_path: Path) -> None:
    """SIGTERM, then SIGKILL in the middle; dropout is on, so the random numbers go on as well."""
    given = [*SCRATCH, "--corpus", corpus(tmp_path), "--epochs", "4", "--batch-tokens", "512"]
    given += ["--evaluate-every", "4"]
    broken, whole = tmp_path / "broken", tmp_path / "whole"
    command = [*BANTER, "train", "--out", str(broken), *given]
    with subprocess.Popen(command, env=ENVIRONMENT, text=True, stderr=subprocess.PIPE) as process:
        until(lambda: newest(broken) >= 4, process)
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=DEADLINE_SECONDS)[1]
    assert process.returncode == 1
    assert "Start the same command again to go on." in said
    stopped = newest(broken)
    assert f"Stopped at step {stopped}" in said
    with subprocess.Popen(command, env=ENVIRONMENT, text=True, stderr=subprocess.PIPE) as process:
        until(lambda: newest(broken) >= stopped + 4, process)
        process.kill()
        process.communicate()
    killed = newest(broken)
    assert trained(broken, *given).exit_code == 0
    assert trained(whole, *given).exit_code == 0
    steps = max(losses(whole))
    assert stopped < killed < steps
    assert losses(broken, "held_out_loss") == losses(whole, "held_out_loss")
    # After a stop between two entries the log's next mean is over fewer steps.
    shortened = {stopped, stopped - stopped % 4 + 4}
    assert {step: loss for step, loss in losses(broken).items() if step not in shortened} == {
        step: loss for step, loss in losses(whole).items() if step not in shortened
    }


def test_two_processes_take_the_steps_of_one_that_accumulates(tmp_path: Path) -> None:
    given = [*SCRATCH, "--corpus", corpus(tmp_path), "--batch-tokens", "256", "--evaluate-every", "2"]
    given += ["--dropout", "0"]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    launcher += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0", "-m", "bot"]
    two, one = tmp_path / "two", tmp_path / "one"
    done = subprocess.run(
        [*launcher, "train", "--out", str(two), *given],
        env=ENVIRONMENT,
        text=True,
        capture_output=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("The generator is in") == 1
    assert trained(one, *given, "--accumulate", "2").exit_code == 0
    for key in ("loss", "held_out_loss"):
        alone, together = losses(one, key), losses(two, key)
        assert len(alone) >= 4
        for step in (2, 4, 6, 8):  # the last step has an odd batch, which two processes read twice
            assert together[step] == pytest.approx(alone[step], abs=2e-4)


def test_a_half_written_checkpoint_is_passed_over_and_taken_away(tmp_path: Path) -> None:
    for number, state in ((8, "{}"), (16, '{"global_step": 1'), (24, None)):
        (tmp_path / f"checkpoint-{number}").mkdir()
        if state is not None:
            (tmp_path / f"checkpoint-{number}" / "trainer_state.json").write_text(state)
    assert last_whole_checkpoint(tmp_path) == tmp_path / "checkpoint-8"
    remove_broken_checkpoints(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-8"]
