"""What config.yaml leaves to the model."""

from pathlib import Path

import pytest

from adapters.base import Channel, ChannelKind
from bot.config import Config
from bot.models import MOST_TURNS, TOKENS, TURNS, Models

PARITY = Path(__file__).parents[2] / "parity"
CHANNEL = Channel(platform="terminal", address="a", kind=ChannelKind.PRIVATE)
ORIGINAL = {"decoding": {"default": {"preset": "original"}}}


@pytest.fixture(scope="module")
def devjwsong() -> Models:
    return loaded("devjwsong")


def loaded(checkpoint: str) -> Models:
    silent = {"mix": 0, "prior": [], "cond": []}
    return Models.load(
        Config.model_validate({"model": {"checkpoint": str(PARITY / checkpoint), "device": "cpu"}, "ranking": silent})
    )


def history(models: Models, **sections: object) -> tuple[int | None, int | None]:
    found = models.settled(Config.model_validate(sections).for_channel(CHANNEL)).history
    return found.turns, found.tokens


def test_the_models_own_program_says_how_many_turns_are_read(devjwsong: Models) -> None:
    assert history(devjwsong) == (4, TOKENS)


def test_with_its_own_decoding_it_reads_all_that_it_holds(devjwsong: Models) -> None:
    assert history(devjwsong, **ORIGINAL) == (4, devjwsong.generator.context_budget(0))


def test_what_is_written_holds(devjwsong: Models) -> None:
    assert history(devjwsong, **ORIGINAL, history={"turns": 2, "tokens": 33}) == (2, 33)


def test_a_program_without_a_limit_is_read_by_banters_unless_it_decodes_by_itself() -> None:
    models = loaded("dialogpt/small_ft.pkl")
    assert history(models) == (TURNS, TOKENS)
    assert history(models, **ORIGINAL)[0] == MOST_TURNS
