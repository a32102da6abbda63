"""Figures of noted answers, by hand; and the table they stand in."""

import math
from typing import Any

import pytest

from bot.training.evaluation.figures import Wording, all_figures
from bot.training.evaluation.questions import Question
from bot.training.evaluation.run import Answer, Outcome, Series
from bot.training.evaluation.table import as_markdown, as_text, cells, notes
from bot.training.metrics.perplexity import RowLoss
from bot.training.metrics.ranking import Judged
from bot.training.metrics.repetition import repeats, variety

QUESTIONS = [
    Question(("hi",), ("hello there", "good day")),
    Question(("hi", "I like tea", "me too"), ("which kind do you like", "green or black")),
]


@pytest.fixture(autouse=True)
def no_java(monkeypatch: pytest.MonkeyPatch) -> None:
    """METEOR has its own tests; the program takes seconds to start."""
    monkeypatch.setenv("PATH", "")


def answer(text: str, **known: Any) -> Answer:
    facts = {"seconds": 0.1, "known": Judged([0.9], [0.1] * 9), "on_topic": True, "blocked": False, **known}
    return Answer(text, **facts)


def figures_of(one: Series, **wording: Any) -> dict[str, Any]:
    return all_figures(Outcome(QUESTIONS, "judge", [one]), Wording(**wording))[0]


def test_shares_are_of_the_replies_given() -> None:
    answers = [
        answer("hello there", blocked=True, on_topic=False),
        answer("I like tea", known=Judged([0.5], [0.5] * 9)),
    ]
    found = figures_of(Series("model", "sample", "chance", answers=answers))
    assert (found["blocked"], found["on_topic"], found["repeats"], found["empty"]) == (0.5, 0.5, 0.5, 0.0)
    assert (found["hits@1"], found["mrr"]) == (0.5, (1 + 1 / 10) / 2)


def test_perplexity_counts_tokens_and_dialogpts_counts_rows() -> None:
    one = Series("model", "sample", "chance", [RowLoss(3.0, 3), RowLoss(3.0, 1)], answers=[answer("hello")])
    found = figures_of(one, dialogpt_rows=2)
    assert found["perplexity"] == pytest.approx(math.exp(1.5))
    assert found["dialogpt_perplexity"] == pytest.approx(math.exp(2))
    assert "dialogpt_perplexity" not in figures_of(one)
    characters = sum(len(reference) for question in QUESTIONS for reference in question.references)
    assert found["bits_per_character"] == pytest.approx(6 / math.log(2) / characters)


def test_latency_is_the_median_and_the_19th_of_20() -> None:
    answers = [answer("a b", seconds=n / 1000) for n in range(1, 21)]
    one = Series("model", "sample", "chance", answers=answers)
    found = all_figures(Outcome(QUESTIONS * 10, "judge", [one]), Wording())[0]["latency_ms"]
    assert found == pytest.approx({"median": 10.5, "p95": 19.0})


def test_people_are_held_against_the_other_references_only_where_there_are_some() -> None:
    people = Series("people", "reference", "", answers=[answer("hello there"), answer("which kind do you like")])
    found = figures_of(people)
    assert (found["nist"], found["bleu"], found["meteor"]) == (None, None, None)
    assert found["meteor_why"] == "not computed: these are the references"
    held_out = figures_of(people, hold_out=0)
    assert held_out["bleu"][0] < 1
    single = Outcome(
        [Question(("hi",), ("hello",))], "judge", [Series("people", "reference", "", answers=[answer("x")])]
    )
    assert all_figures(single, Wording(hold_out=0))[0]["bleu"] is None


def test_a_series_that_was_not_begun_has_no_column() -> None:
    outcome = Outcome(
        QUESTIONS, "judge", [Series("a", "sample", "x", answers=[answer("hi")]), Series("b", "sample", "x")]
    )
    assert [row["checkpoint"] for row in all_figures(outcome, Wording())] == ["a"]


def test_what_could_not_be_computed_is_a_dash_with_a_reason() -> None:
    one = Series("model", "sample", "x", why_no_costs="not computed: no way", why_not_on_topic="not computed: it chose")
    one.answers.append(answer("hello there", on_topic=None, known=None))
    row = figures_of(one)
    table = {line[0]: line[1] for line in cells([row])}
    assert table["perplexity"] == table["hits@1 of 10"] == table["preferred to 9 random replies"] == "-"
    said = "\n".join(notes([row]))
    assert "perplexity not computed: no way" in said
    assert "preference not computed: it chose" in said
    assert "METEOR not computed: METEOR needs Java" in said


def test_the_table_has_a_column_for_everybody() -> None:
    rows = [figures_of(Series(name, "sample", "x", answers=[answer("hello there")])) for name in ("one", "a|b")]
    text, markdown = as_text(rows).splitlines(), as_markdown(rows).splitlines()
    assert len({len(line) for line in text}) == 1
    assert text[0].split() == ["one,", "sample", "a|b,", "sample"]
    assert markdown[0] == "|  | one, sample | a\\|b, sample |"
    assert markdown[1] == "| --- | ---: | ---: |"
    assert len(markdown) == len(text) + 1


@pytest.mark.parametrize(
    ("reply", "earlier", "expected"),
    [
        ("I like tea.", ["i like tea"], True),
        ("I like tea very much indeed", ["I like tea"], False),
        ("I like tea a lot", ["I like tea"], True),
        ("Yes!", ["yes"], True),
        ("Yes, I do", ["yes"], False),
        ("hello", [], False),
        ("...", ["?!"], False),
    ],
)
def test_a_reply_repeats_where_half_of_it_was_said_before(reply: str, earlier: list[str], expected: bool) -> None:
    assert repeats(reply, earlier) is expected


def test_variety_by_hand() -> None:
    """Of "a b", "b a", "a b" two are different."""
    assert variety("a b a b") == pytest.approx(2 / 3)
    assert variety("hello") is None
