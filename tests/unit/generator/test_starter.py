"""The model that ships: small enough, readable without pickles, and better than chance at its job."""

import random

import pytest

from bot.generator.candidates import GenerationRequest
from bot.generator.checkpoints import STARTER
from bot.generator.decoding import Decoding
from bot.generator.dialects.base import Utterance
from bot.generator.engine import Generator, load_generator
from bot.generator.ranking.ranker import MUTUAL_INFORMATION, load_ranker
from bot.training.corpora.own import everyday
from bot.training.negatives import contrasts

OPENINGS = ["hi", "Hello!", "how are you?", "i love pizza", "what films do you like?", "my cat is ill", "work was hard"]


@pytest.fixture(scope="module")
def generator() -> Generator:
    return load_generator("starter")


def test_it_fits_into_a_repository() -> None:
    weights = list(STARTER.rglob("*.safetensors"))
    assert {file.parent.name for file in weights} == {"generator", "ranker", "smollm2"}
    assert sum(file.stat().st_size for file in weights) < 60_000_000
    assert max(file.stat().st_size for file in weights) < 15_000_000
    assert not list(STARTER.rglob("*.bin"))


@pytest.mark.parametrize("opening", OPENINGS)
def test_it_answers_and_comes_to_an_end(generator: Generator, opening: str) -> None:
    ids = tuple(generator.dialect.encode([Utterance(1, opening)], 200))
    candidates = generator.generate([GenerationRequest(input_ids=ids, decoding=Decoding(), seed=1)])[0]
    assert sum(candidate.finished for candidate in candidates) >= 6
    assert all(any(letter.isalpha() for letter in candidate.text) for candidate in candidates if candidate.finished)


@pytest.mark.parametrize(("name", "least"), [("human_vs_rand", 55), (MUTUAL_INFORMATION, 70)])
def test_its_rankers_prefer_the_real_reply(name: str, least: int) -> None:
    """Of a hundred pairs that were never trained on; the other reply belongs to another talk."""
    ranker = load_ranker("starter", name=name)
    right = 0
    for contrast in contrasts(list(everyday.held_out()), random.Random(0))[:100]:
        turns = [utterance.text for utterance in contrast.context]
        real, elsewhere = ranker.score([(turns, reply) for reply in (contrast.reply, contrast.wrong[0])])
        right += real > elsewhere
    assert right >= least


def test_its_scores_use_the_whole_scale() -> None:
    """A head whose scores are all near 1 would count for nothing beside another ranker's."""
    ranker = load_ranker("starter", name="human_vs_rand")
    found = contrasts(list(everyday.held_out()), random.Random(0))[:50]
    pairs = [([u.text for u in c.context], reply) for c in found for reply in (c.reply, *c.wrong)]
    scores = sorted(ranker.score(pairs))
    assert scores[len(scores) // 10] < 0.4
    assert scores[-len(scores) // 10] > 0.6
