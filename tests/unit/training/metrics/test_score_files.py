"""Figures of ready scores and losses, and mistakes in the files that hold them."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.training.errors import TrainingError
from bot.training.metrics.lines import read_lines
from bot.training.metrics.losses_file import loss_figures
from bot.training.metrics.perplexity import RowLoss, dialogpt_perplexity, token_perplexity
from bot.training.metrics.ranking import Judged, hits, hits_at, mean_reciprocal_rank, pair_accuracy
from bot.training.metrics.ranking_file import ranking_figures
from tests.unit.training.metrics.golden import FIXTURES


def written(folder: Path, content: object) -> Path:
    file = folder / "file.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return file


def test_ranking_is_dialogrpts() -> None:
    golden = json.loads((FIXTURES / "ranking.json").read_text())["golden"]
    found = ranking_figures(FIXTURES / "ranking.json")
    assert found.keys() == golden.keys()
    assert found.pop("single_positive") == pytest.approx(golden.pop("single_positive"), abs=1e-9)
    assert found == pytest.approx(golden, abs=1e-9)


def test_perplexity_is_dialogpts_and_the_right_one_beside_it() -> None:
    golden = json.loads((FIXTURES / "perplexity.json").read_text())["golden"]
    found = loss_figures(FIXTURES / "perplexity.json")
    assert {name: found[name] for name in golden} == pytest.approx(golden, abs=1e-9)


def test_a_file_with_contexts_alone_has_no_pair_accuracy(tmp_path: Path) -> None:
    found = ranking_figures(written(tmp_path, {"contexts": [{"positive": [1, 2], "negative": [0]}]}))
    assert found["dialogrpt_hits_at_k"] == 1.0
    assert found["dialogrpt_pair_accuracy"] is None
    assert found["single_positive"] == {"contexts": 0, "hits@1": None, "hits@3": None, "hits@5": None, "mrr": None}


def test_rows_without_a_token_are_left_out_and_counted(tmp_path: Path) -> None:
    found = loss_figures(written(tmp_path, {"batches": [[[1.0], []], [[]]]}))
    assert (found["token_ppl"], found["rows"], found["rows_left_out"]) == (math.e, 1, 2)


def test_equal_scores_count_against_the_positive() -> None:
    tied = [Judged([0.5], [0.5, 0.1])]
    assert hits(tied) == hits_at(tied, 1) == 0.0
    assert hits_at(tied, 2) == 1.0
    assert mean_reciprocal_rank(tied) == 0.5
    assert pair_accuracy([(0.5, 0.5)]) == 0.0


def test_long_rows_weigh_more_only_in_the_right_perplexity() -> None:
    """One row of three tokens at 1 nat, one of a single token at 3 nats: e^1.5 by token, e^2 by row."""
    rows = [[RowLoss(3.0, 3), RowLoss(3.0, 1)]]
    assert token_perplexity(rows) == pytest.approx(math.exp(1.5))
    assert dialogpt_perplexity(rows) == pytest.approx(math.exp(2))


@given(st.lists(st.lists(st.floats(0, 9), min_size=1, max_size=5), min_size=1, max_size=9), st.integers(1, 9))
def test_the_right_perplexity_does_not_depend_on_the_batches(rows: list[list[float]], size: int) -> None:
    losses = [RowLoss.of(row) for row in rows]
    batches = [losses[start : start + size] for start in range(0, len(losses), size)]
    assert token_perplexity(batches) == pytest.approx(token_perplexity([losses]))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9), st.lists(st.floats(0, 1), min_size=1, max_size=9))
def test_raising_a_positive_score_never_lowers_a_figure(positive: list[float], negative: list[float]) -> None:
    before, after = [Judged(positive[:1], negative)], [Judged([positive[0] + 0.5], negative)]
    for figure in (hits, mean_reciprocal_rank, lambda one: hits_at(one, 3)):
        assert figure(after) >= figure(before)


@pytest.mark.parametrize(
    ("read", "content", "complaint"),
    [
        (read_lines, "{", "this is no JSON"),
        (read_lines, {}, "lines: a list with at least one entry"),
        (read_lines, {"lines": []}, "lines: a list with at least one entry"),
        (read_lines, {"lines": ["hi"]}, "lines[0].hyp: a text"),
        (read_lines, {"lines": [{"hyp": "a", "refs": ["a"]}, {"hyp": 3, "refs": ["a"]}]}, "lines[1].hyp: a text"),
        (read_lines, {"lines": [{"hyp": "a", "refs": []}]}, "lines[0].refs: a list of one text"),
        (read_lines, {"lines": [{"hyp": "a", "refs": "a"}]}, "lines[0].refs: a list of one text"),
        (ranking_figures, [], "contexts: there are none, and no pairs"),
        (ranking_figures, {"contexts": [3]}, "contexts[0]: an object"),
        (ranking_figures, {"contexts": [{"positive": [], "negative": []}]}, "contexts[0].positive: at least one"),
        (ranking_figures, {"contexts": [{"positive": [1]}]}, "contexts[0].negative: a list of numbers"),
        (ranking_figures, {"contexts": [{"positive": [True], "negative": []}]}, "contexts[0].positive[0]: True is no"),
        (ranking_figures, {"pairs": [[1]]}, "pairs[0]: two scores"),
        (ranking_figures, '{"pairs": [[NaN, 1]]}', "pairs[0][0]: nan is no finite number"),
        (loss_figures, {"batches": [[]]}, "batches: no row has a loss"),
        (loss_figures, {"batches": [3]}, "batches[0]: a list of rows"),
        (loss_figures, {"batches": [[3]]}, "batches[0][0]: a list of numbers"),
        (loss_figures, {"batches": [[["a"]]]}, "batches[0][0][0]: 'a' is no finite number"),
        (loss_figures, {"batches": [[[1e5]]]}, "batches[0][0][0]: 100000.0 is above 700"),
    ],
)
def test_a_mistake_is_named_by_file_and_key(
    read: Callable[[Path], Any], content: object, complaint: str, tmp_path: Path
) -> None:
    file = written(tmp_path, content)
    with pytest.raises(TrainingError) as caught:
        read(file)
    assert str(caught.value).startswith(f"{file}: {complaint}")


def test_a_missing_file_and_another_encoding_are_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="cannot be read \\(No such file"):
        loss_figures(tmp_path / "none.json")
    file = tmp_path / "latin.json"
    file.write_bytes('{"lines": [{"hyp": "é", "refs": ["é"]}]}'.encode("latin-1"))
    with pytest.raises(TrainingError, match="this is no JSON in UTF-8"):
        read_lines(file)


def test_a_reference_may_carry_a_score_in_front(tmp_path: Path) -> None:
    file = written(tmp_path, {"lines": [{"hyp": "a", "refs": ["0.7|yes, I do", "plain", "1|a|b"]}]})
    assert read_lines(file)[0].references == ("yes, I do", "plain", "a")
