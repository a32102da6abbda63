"""Files that were made to hang a program or to fill its memory, and mistakes in naming a checkpoint."""

import os
import shutil
import zipfile
from pathlib import Path

import pytest

from bot.config import Config
from bot.generator.engine import load_generator
from bot.generator.errors import CheckpointError
from bot.generator.formats.registry import open_checkpoint
from bot.models import Models

PARITY = Path(__file__).parent


def test_a_pipe_named_as_a_checkpoint_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    """Opening a named pipe blocks until somebody writes into it."""
    pipe = tmp_path / "small_ft.pkl"
    os.mkfifo(pipe)
    with pytest.raises(CheckpointError, match=r"small_ft\.pkl: this is neither a file nor a directory"):
        open_checkpoint(str(pipe))


@pytest.mark.parametrize("system", ["dialogpt", "devjwsong", "pingpong-gpt"])
def test_a_compressed_archive_is_refused_before_anything_is_unpacked(tmp_path: Path, system: str) -> None:
    folder = Path(shutil.copytree(PARITY / system, tmp_path / system))
    for extra in folder.glob("*module_prefix*"):
        extra.unlink()
    (weights,) = [*folder.glob("*.pkl"), *folder.glob("*.bin"), *folder.glob("*.pth")]
    with zipfile.ZipFile(weights, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(50_000_000))
    with pytest.raises(CheckpointError, match=f"{weights.name}: this is a compressed archive"):
        load_generator(str(folder))


def test_a_dialect_that_the_files_do_not_have_is_told_with_the_one_that_they_have() -> None:
    folder = PARITY / "pingpong-meena"
    with pytest.raises(CheckpointError, match=r"pingpong-meena: .*\[CLS\].*set the dialect to auto"):
        load_generator(str(folder), dialect="gpt2-chitchat")


def test_a_checkpoint_that_cannot_be_used_is_told_with_its_key() -> None:
    ranker, generator = str(PARITY / "dialogrpt" / "restore" / "updown.pth"), str(PARITY / "devjwsong")
    with pytest.raises(CheckpointError, match=rf"^model\.checkpoint: {ranker}"):
        Models.load(Config.model_validate({"model": {"checkpoint": ranker}}))
    heads = {"prior": [], "cond": [{"name": "updown", "checkpoint": generator}]}
    with pytest.raises(CheckpointError, match=rf"^ranking\.cond\[0\]\.checkpoint: {generator}"):
        Models.load(Config.model_validate({"model": {"checkpoint": generator}, "ranking": heads}))
