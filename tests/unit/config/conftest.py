from collections.abc import Callable
from pathlib import Path

import pytest

from bot.config import Config, ConfigError, load_config

Load = Callable[..., Config]
Refuse = Callable[..., list[str]]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Write a text as config.yaml and load it, with the variables given."""

    def load(text: str, **env: str) -> Config:
        path = tmp_path / "config.yaml"
        path.write_text(text, encoding="utf-8")
        return load_config(path, env)

    return load


@pytest.fixture
def refuse(tmp_path: Path, load: Load) -> Refuse:
    """Load a text that must be refused; the problems as lines without the folder."""

    def refuse(text: str, **env: str) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            load(text, **env)
        return str(caught.value).replace(f"{tmp_path}/", "").splitlines()

    return refuse
