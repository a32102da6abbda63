"""The model that ships: small enough, readable without pickles, and better than chance at its job."""

import random

import pytest

from bot.generator.candidates import GenerationRequest
from bot.generator.checkpoints import STARTER
from bot.generator.decoding import Decoding
from bot.generator.dialects.base import Utterance
from bot.generator.engine import Generator, load_generator
from bot.generator.ranking.ranker import Ranker, load_ranker
from bot.training.corpora import everyday
from bot.training.negatives import contrasts

OPENINGS = ["hi", "Hello!", "how are you?", "i love pizza", "what films do you like?", "my cat is ill", "work was hard"]


@pytest.fixture(scope="module")
def generator() -> Generator:
    return load_generator("starter")


@pytest.fixture(scope="module")
def ranker() -> Ranker:
    return load_ranker("starter", name="human_vs_rand")


def test_it_fits_into_a_repository() -> None:
    weights = list(STARTER.rglob("*.safetensors"))
    assert len(weights) == 2
    assert sum(file.stat().st_size for file in weights) < 40_000_000
    assert not list(STARTER.rglob("*.bin"))


@pytest.mark.parametrize("opening", OPENINGS)
def test_it_answers_and_comes_to_an_end(generator: Generator, opening: str) -> None:
    ids = tuple(generator.dialect.encode([Utterance(1, opening)], 200))
    candidates = generator.generate([GenerationRequest(input_ids=ids, decoding=Decoding(), seed=1)])[0]
    assert sum(candidate.finished for candidate in candidates) >= 6
    assert all(any(letter.isalpha() for letter in candidate.text) for candidate in candidates if candidate.finished)


def test_its_ranker_prefers_the_real_reply(ranker: Ranker) -> None:
    """Of pairs that it never saw: against a reply to something else, and against one of the same topic."""
    found = contrasts(list(everyday.held_out()), random.Random(0))[:100]
    right = {"elsewhere": 0, "near": 0}
    for contrast in found:
        turns = [utterance.text for utterance in contrast.context]
        real, elsewhere, near = ranker.score([(turns, reply) for reply in (contrast.reply, *contrast.wrong)])
        right["elsewhere"] += real > elsewhere
        right["near"] += real > near
    assert right["elsewhere"] >= 75
    assert right["near"] >= 60
