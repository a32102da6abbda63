"""Where the paths of checkpoints count from."""

from pathlib import Path

import pytest

from bot.config import load_config

SETTINGS = """
model: {checkpoint: models/mine}
ranking:
  prior: [{name: human_vs_rand, checkpoint: models/head.pth}]
  cond: [{name: updown, checkpoint: microsoft/DialogRPT-updown}]
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "models" / "mine").mkdir(parents=True)
    (tmp_path / "models" / "head.pth").touch()
    (tmp_path / "starter").mkdir()
    file = tmp_path / "config.yaml"
    file.write_text(SETTINGS)
    return file


def test_a_relative_path_counts_from_the_folder_of_the_file(config: Path) -> None:
    loaded = load_config(config, {})
    assert loaded.model.checkpoint == str(config.parent / "models/mine")
    assert loaded.ranking.prior[0].checkpoint == str(config.parent / "models/head.pth")


def test_what_does_not_lie_there_stays_as_it_is_written(config: Path) -> None:
    assert load_config(config, {}).ranking.cond[0].checkpoint == "microsoft/DialogRPT-updown"


def test_the_models_that_have_names_are_no_paths(config: Path) -> None:
    config.write_text("model: {checkpoint: starter}")
    assert load_config(config, {}).model.checkpoint == "starter"
    config.write_text("model: {checkpoint: ./starter}")
    assert load_config(config, {}).model.checkpoint == str(config.parent / "starter")
