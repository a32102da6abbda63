"""DialogRPT's combination of heads against the original's numbers, and by hand."""

import json
from typing import Any

import pytest
from ruamel.yaml import YAML

from bot.generator.ranking.combine import Weighted, combine, mix, weighted_mean
from tests.unit.generator.conftest import FIXTURES

GOLDEN: dict[str, Any] = json.loads((FIXTURES / "dialogrpt" / "golden.json").read_text(encoding="utf-8"))
ENSEMBLE = YAML(typ="safe").load(FIXTURES / "dialogrpt" / "restore" / "ensemble.yml")


def final(ensemble: dict[str, Any], head_scores: dict[str, list[float]], number: int) -> float:
    def group(name: str) -> list[Weighted]:
        return [(head_scores[head["name"]][number], head["wt"]) for head in ensemble[name] or []]

    return combine(group("prior"), group("cond"))


@pytest.mark.parametrize("case", GOLDEN["scoring_cases"], ids=lambda case: case["id"])
def test_the_ensemble_equals_the_original(case: dict[str, Any]) -> None:
    for number, expected in enumerate(case["ensemble"]["final"]):
        assert final(ENSEMBLE, case["head_scores"], number) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("variant", GOLDEN["ensemble_variants"], ids=str)
def test_shortened_ensembles_equal_the_original(variant: dict[str, Any]) -> None:
    cases = [case for case in GOLDEN["scoring_cases"] if case["max_cxt_turn"] is None][:3]
    for case, finals in zip(cases, variant["final_for_first_3_contexts_turnsNone"], strict=True):
        for number, expected in enumerate(finals):
            assert final(variant["ensemble"], case["head_scores"], number) == pytest.approx(expected, abs=1e-5)


def test_mixing_with_the_generator_equals_the_original() -> None:
    checked = 0
    for case in GOLDEN["generator_cases"]:
        for run in case["integrated"]:
            for score, probability, ranker, _ in run.get("ranked", []):
                assert mix(ranker, probability, run["wt_ranker"]) == pytest.approx(score, abs=1e-5)
                checked += 1
    assert checked > 20


def test_by_hand() -> None:
    assert weighted_mean([(0.9, 1.0), (0.5, 0.5), (0.4, -0.5)]) == pytest.approx((0.9 + 0.25 - 0.2) / 1.0)
    assert combine([(0.5, 2.0)], [(0.4, 1.0)]) == pytest.approx(0.2)
    assert combine([], []) == 1.0
    assert mix(0.2, 0.6, 0.0) == pytest.approx(0.6)
    assert mix(0.2, 0.6, 0.25) == pytest.approx(0.5)


def test_weights_that_cancel_out_are_an_error() -> None:
    with pytest.raises(ValueError, match="sum to 0"):
        weighted_mean([(0.5, 1.0), (0.5, -1.0)])
