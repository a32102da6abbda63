"""Figures of ready texts: equal to DialoGPT's own pipeline on every case, and their laws."""

import math
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.training.metrics import mteval
from bot.training.metrics.cleaning import clean
from bot.training.metrics.diversity import distinct, entropy
from bot.training.metrics.lines import Line, figures, read_lines
from bot.training.metrics.meteor import Meteor
from bot.training.metrics.references import columns
from tests.unit.training.metrics.golden import FIXTURES, Run, case_names, golden_of, runs

WORDS = st.sampled_from(["a", "b", "c", "d", "it", "is", "the", "0", "1", "ok", "no.", "yes,", "don't"])
TEXTS = st.lists(WORDS, min_size=1, max_size=8).map(" ".join)
LINES = st.lists(st.builds(Line, TEXTS, st.lists(TEXTS, min_size=1, max_size=3).map(tuple)), min_size=1, max_size=6)


def no_meteor(_hypotheses: Any, _references: Any) -> Meteor:
    return Meteor(None, "not asked for")


def figures_of(lines: list[Line], **settings: Any) -> dict[str, Any]:
    return figures(lines, meteor=no_meteor, **settings)


def close(found: Any, expected: Any, tolerance: float = 1e-9) -> bool:
    pairs = zip(found, expected, strict=True)
    return all(a is b if b is None else math.isclose(a, b, rel_tol=0, abs_tol=tolerance) for a, b in pairs)


@pytest.mark.parametrize("run", list(runs()), ids=lambda run: run.label)
def test_every_figure_is_the_originals(run: Run) -> None:
    """Where the original died of a line without references, ours leaves that line out and counts it."""
    found = figures_of(read_lines(run.file), **run.settings)
    assert close(found["entropy"], run.expected["entropy"])
    if run.expected["distinct"] is None:  # it stopped where there is no n-gram of one of the orders
        assert None in found["distinct"]
    else:
        assert close(found["distinct"], run.expected["distinct"])
    assert found["avg_len"] == pytest.approx(run.expected["avg_len"], abs=1e-9)
    if run.expected["nist"] is None:
        assert found["lines_left_out"] > 0
        return
    assert found["lines_left_out"] == 0
    for name in ("nist", "bleu"):
        assert close(found[name], run.expected["exact"][name])
        assert close(found[name][:4], run.expected[name], 5.1e-5)


@pytest.mark.parametrize("name", [name for name in case_names() if "cleaned" in golden_of(name)])
def test_texts_are_cut_and_cleaned_as_in_the_original(name: str) -> None:
    golden = golden_of(name)
    lines = read_lines(FIXTURES / "cases" / f"{name}.json")
    for line, cleaned in zip(lines, golden["cleaned"], strict=True):
        assert clean(line.hypothesis) == cleaned["hyp"]
        assert [clean(one) for one in line.references] == cleaned["refs"]
    for line, tokens in zip(lines, golden.get("mteval_tokens", []), strict="mteval_tokens" in golden):
        assert " ".join(mteval.tokenise(line.hypothesis)) == tokens["hyp"]
        assert [" ".join(mteval.tokenise(one)) for one in line.references] == tokens["refs"]


@given(LINES, st.randoms(use_true_random=False), st.booleans())
def test_the_order_of_lines_does_not_matter(lines: list[Line], rng: random.Random, cleaned: bool) -> None:
    shuffled = list(lines)
    rng.shuffle(shuffled)
    first, second = figures_of(lines, cleaned=cleaned), figures_of(shuffled, cleaned=cleaned)
    for name in ("nist", "bleu", "entropy", "distinct"):
        assert (first[name] is None) == (second[name] is None)
        assert close(first[name] or [], second[name] or [])


@given(LINES)
def test_a_reply_that_is_its_reference_has_bleu_one(lines: list[Line]) -> None:
    same = [Line(line.hypothesis, (line.hypothesis, *line.references)) for line in lines]
    assert close(figures_of(same)["bleu"], [1.0] * 5)


@given(LINES)
def test_every_figure_stays_in_its_range(lines: list[Line]) -> None:
    found = figures_of(lines)
    assert all(0 <= score <= 1 + 1e-12 for score in found["bleu"])
    assert all(score >= 0 for score in (*found["nist"], *found["entropy"]))
    assert all(share is None or 0 < share <= 1 for share in found["distinct"])


@given(LINES)
def test_a_reference_that_is_listed_twice_does_not_change_bleu(lines: list[Line]) -> None:
    one = [Line(line.hypothesis, line.references[:1]) for line in lines]
    assert close(figures_of(one, references=1)["bleu"], figures_of(one, references=4)["bleu"])


def test_bleu_by_hand() -> None:
    """Unigrams: "the" counts once of twice, so 2 of 3; bigrams: "the cat" is one of 2; the reference is as long."""
    scores = figures_of([Line("the the cat", ("the cat sat",))])["bleu"]
    assert scores[0] == pytest.approx(2 / 3)
    assert scores[1] == pytest.approx(math.sqrt(2 / 3 * 1 / 2))


def test_nist_by_hand() -> None:
    """Four different reference words: each is worth log2(4/1) = 2 bits; the bigrams add log2(1/1) = 0."""
    assert figures_of([Line("a b c d", ("a b c d",))])["nist"] == [2.0, 2.0, 2.0, 2.0, 2.0]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("It's 3.5, OK?", ["it's", "3.5", ",", "ok", "?"]),
        ("a-b 1-2 x.", ["a-b", "1", "-", "2", "x", "."]),
        (
            "see HTTP://X.org/a, http://X.org/a,",
            ["see", "http", ":", "/", "/", "x", ".", "org", "/", "a", ",", "http://X.org/a,"],
        ),
        ("&amp; <b>", ["amp", ";", "b", ">"]),
        ("É\u00a0À\u3000ok", ["É", "À", "ok"]),
        ("", []),
    ],
)
def test_marks_are_cut_off_as_the_script_does(text: str, tokens: list[str]) -> None:
    assert mteval.tokenise(text) == tokens


@pytest.mark.parametrize(
    ("count", "hold_out", "expected"),
    [
        (2, None, ["a", "b"]),
        (5, None, ["a", "b", "c", "a", "b"]),
        (3, 0, ["b", "b", "c"]),
        (4, 2, ["a", "b", "a", "a"]),
        (2, -1, ["a", "b"]),
    ],
)
def test_references_go_round_and_the_one_held_out_gives_way(
    count: int, hold_out: int | None, expected: list[str]
) -> None:
    assert columns(["a", "b", "c"], count, hold_out) == expected


def test_without_a_count_every_reference_is_used() -> None:
    lines = [Line("b", ("a", "b")), Line("c", ("c",))]
    assert figures_of(lines) == figures_of(lines, references=2)


def test_nothing_said_has_no_distinct_figure_and_no_entropy() -> None:
    """The original dies where no n-gram is; a zero would look like a figure."""
    assert distinct(["", " "], 1) is None
    assert distinct(["one", "word"], 2) is None
    assert entropy(["", " "], 1) == 0


def test_a_set_whose_references_are_all_empty_has_no_nist_and_no_bleu() -> None:
    found = figures_of([Line("привет", ("привет",))], cleaned=True)
    assert (found["nist"], found["bleu"], found["lines_left_out"]) == (None, None, 1)


def test_entropy_and_distinct_by_hand() -> None:
    """a twice, b once: H = ln 3 - (2/3) ln 2; bigrams "a b" and, on the other line, none."""
    assert entropy(["a b", "a"], 1) == pytest.approx(math.log(3) - 2 / 3 * math.log(2))
    assert distinct(["a b", "a"], 1) == pytest.approx(2 / 3)
    assert distinct(["a b", "a"], 2) == 1.0
