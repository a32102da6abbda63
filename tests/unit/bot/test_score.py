"""`banter score`: its tasks by hand-made files, and what it says of files that are wrong."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bot.cli import main
from bot.generator.ranking.ranker import load_ranker
from bot.scoring.files import Feedback, read_talks
from bot.scoring.stats import statistics_of

PARITY = Path(__file__).parents[2] / "parity" / "dialogrpt"
UPDOWN = PARITY / "restore" / "updown.pth"
JOINT = "<|endoftext|>"


def banter(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["score", *map(str, arguments)])


def report(*arguments: object) -> dict[str, Any]:
    result = banter(*arguments, "-p", UPDOWN)
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def complaint(*arguments: object) -> str:
    """What is said of a mistake; never a traceback."""
    result = banter(*arguments)
    assert result.exit_code in (1, 64)
    assert isinstance(result.exception, SystemExit)
    return result.stderr


def updown(pairs: Sequence[tuple[Sequence[str], str]]) -> list[float]:
    return load_ranker(str(UPDOWN), name="updown").score(pairs)


@pytest.fixture
def replies(tmp_path: Path) -> Path:
    file = tmp_path / "replies.tsv"
    file.write_text(f"a{JOINT}b{JOINT}c\tyes\tno\nonly a context\nd\tmaybe\n", encoding="utf-8")
    return file


def test_each_line_is_ranked_by_the_last_two_turns(replies: Path) -> None:
    result = banter(replies, "-p", UPDOWN)
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["line_id"] for line in lines] == [0, 2]
    yes, no = updown([(("b", "c"), "yes"), (("b", "c"), "no")])
    expected = sorted([[yes, "yes"], [no, "no"]], reverse=True)
    assert [text for _, text in lines[0]["hyps"]] == [text for _, text in expected]
    assert [score for score, _ in lines[0]["hyps"]] == pytest.approx([score for score, _ in expected], abs=1e-6)


@pytest.mark.parametrize("all_turns", ["0", "all", "none"])
def test_all_turns_can_be_asked_for(replies: Path, all_turns: str) -> None:
    result = banter(replies, "-p", UPDOWN, "--max-cxt-turn", all_turns)
    scores = {text: score for score, text in json.loads(result.stdout.splitlines()[0])["hyps"]}
    [expected] = updown([(("a", "b", "c"), "yes")])
    assert scores["yes"] == pytest.approx(expected, abs=1e-6)


def test_the_answer_can_go_to_a_file_and_end_early(replies: Path, tmp_path: Path) -> None:
    out = tmp_path / "ranked.jsonl"
    result = banter(replies, "-p", UPDOWN, "-o", out, "--max-n", 1)
    assert result.stdout == ""
    assert [json.loads(line)["line_id"] for line in out.read_text().splitlines()] == [0]


def test_a_mistake_leaves_no_file_behind(tmp_path: Path) -> None:
    out = tmp_path / "ranked.jsonl"
    complaint(tmp_path, "-p", UPDOWN, "-o", out)
    assert not out.exists()


def test_lines_that_are_too_long_are_named(tmp_path: Path) -> None:
    file = tmp_path / "long.tsv"
    file.write_text("hi\tyes\n" + "so it goes on and on " * 30 + "\tyes\n")
    result = banter(file, "-p", UPDOWN)
    assert len(result.stdout.splitlines()) == 2
    assert "1 line(s) are too long for the ranker; the oldest turns were left out: 2" in result.stderr


def test_the_starter_ranks_without_any_option(replies: Path) -> None:
    result = banter(replies, "--max-n", 1)
    [[first, _], [second, _]] = json.loads(result.stdout)["hyps"]
    assert 1 > first >= second > 0


def test_replies_can_be_typed() -> None:
    typed = f"a{JOINT}b{JOINT}c\nyes\nno\n\nhello\nyes\n"
    result = CliRunner().invoke(main, ["score", "--task", "play", "-p", str(UPDOWN)], input=typed)
    assert result.exit_code == 0, result.output
    expected = updown([(("b", "c"), "yes"), (("b", "c"), "no"), (("hello",), "yes")])
    assert result.stdout.splitlines() == [f"updown {score:.3f}" for score in expected]


def test_statistics_by_hand() -> None:
    talks = [[{"final": 0.9}, {"final": 0.5}, {"final": 0.1}], [{"final": 0.7}]]
    found = statistics_of(talks)
    assert (found["contexts"], found["hyps"]) == (2, 4)
    assert found["scores"]["final"]["top"] == pytest.approx(0.8)
    assert found["scores"]["final"]["average"] == pytest.approx(0.6)
    assert found["scores"]["final"]["by_rank"] == pytest.approx([0.8, 0.5, 0.1])


@pytest.mark.parametrize("ranker", ["restore", "restore/updown.pth"])
def test_what_test_writes_stats_reads(tmp_path: Path, ranker: str) -> None:
    out = tmp_path / "ranked.jsonl"
    assert banter(PARITY / "toy.tsv", "-p", PARITY / ranker, "-o", out).exit_code == 0
    found = report(out, "--task", "stats")
    assert (found["contexts"], found["hyps"]) == (4, 13)
    final = found["scores"]["final" if ranker == "restore" else "score"]
    tops = [json.loads(line)["hyps"][0][0] for line in out.read_text().splitlines()]
    assert final["top"] == pytest.approx(sum(tops) / 4)
    assert final["by_rank"][0] == pytest.approx(final["top"])


def test_hits_count_real_replies_among_the_first(tmp_path: Path) -> None:
    """The real replies are those that the head likes best at the first context, and least at the second."""
    texts = ["yes", "no", "maybe so", "I do not know"]
    files: dict[str, list[str]] = {"ref": [], "rand": [], "machine": []}
    for context, best in (("how are you?", True), ("what is this?", False)):
        scores = updown([((context,), text) for text in texts])
        order = sorted(range(len(texts)), key=lambda n, scores=scores: -scores[n])
        split = [texts[n] for n in order]
        real, fake = (split[:2], split[2:]) if best else (split[2:], split[:2])
        files["ref"].append("\t".join([context, *real]))
        files["rand"].append("\t".join([context, *fake]))
        files["machine"].append("\t".join([context, fake[0]]))
    for name, lines in files.items():
        (tmp_path / f"{name}.tsv").write_text("\n".join(lines) + "\n")
    found = report(tmp_path, "--task", "eval_human_vs_rand")
    assert (found["contexts"], found["fakes"], found["hits_at_k"]) == (2, 4, {"updown": 0.5})
    found = report(tmp_path, "--task", "eval-human-vs-machine")
    assert (found["fakes"], found["hits_at_k"]) == (2, {"updown": 0.75})


def test_without_fakes_the_replies_of_other_lines_are(tmp_path: Path) -> None:
    file = tmp_path / "ref.tsv"
    file.write_text("".join(f"context {n}\treply {n}\tanother {n}\n" for n in range(4)))
    found = report(file, "--task", "eval-human-vs-rand")
    assert (found["contexts"], found["fakes"]) == (4, 12)
    assert 0 <= found["hits_at_k"]["updown"] <= 1


def feedback(context: str, better: str, worse: str, hours: float = 0.1, gap: int = 5, rank: float = 0.5) -> str:
    return "\t".join([context, better, worse, "a", "b", "c", str(hours), str(10 + gap), "10", str(0.2 + rank), "0.2"])


def test_feedback_as_text_counts_where_the_ranker_agrees(tmp_path: Path) -> None:
    good, bad = ("yes", "no") if updown([(("hi",), "yes")]) > updown([(("hi",), "no")]) else ("no", "yes")
    lines = [
        "# comments are skipped",
        feedback("hi", good, bad),
        feedback("hi", good, bad),
        feedback("hi", bad, good),
        feedback("hi", bad, good, gap=0),  # no gap of the scores
        feedback("hi", bad, good, rank=-0.1),  # the ranks say the contrary
        feedback("hi", bad, good, hours=2.0),  # too far apart to compare
    ]
    (tmp_path / "pairs.tsv").write_text("\n".join(lines) + "\n")
    found = report(tmp_path / "pairs.tsv", "--task", "eval-human-feedback")
    assert (found["pairs"], found["used"]) == (6, 3)
    assert found["accuracy"]["updown"] == pytest.approx(2 / 3)
    found = report(tmp_path / "pairs.tsv", "--task", "eval-human-feedback", "--min-score-gap", 0)
    assert found["used"] == 4


def test_ids_and_text_are_told_apart() -> None:
    def pair(context: str) -> Feedback:
        return Feedback(0, context, "1 2", "3", 0.0, 1.0, 0.0)

    assert pair("5 6").is_ids
    assert not pair("5 o'clock").is_ids
    assert not pair("٣").is_ids


def test_token_ids_of_another_tokenizer_are_refused(tmp_path: Path) -> None:
    (tmp_path / "pairs.tsv").write_text(feedback("5 6", "7", "4000") + "\n")
    said = complaint(tmp_path / "pairs.tsv", "--task", "eval-human-feedback", "-p", UPDOWN)
    assert "Line 1 holds the token id 4000; the ranker knows 0 to 399" in said


@pytest.mark.parametrize(
    ("name", "content", "options", "said"),
    [
        ("a.tsv", b"ok\tyes\n\xff\tno\n", [], "line 2: this is no UTF-8"),
        ("a.json", b"{", [], "cannot be read as JSON"),
        ("a.json", b"[]", [], "there are no cases"),
        ("a.json", b'[{"cxt": "a"}]', [], "case 0 needs a text cxt, a list hyps"),
        ("a.json", b'[{"cxt": "a", "hyps": ["b"], "max_cxt_turn": "x"}]', [], "max_cxt_turn as null or a number"),
        ("a.jsonl", b"hello\n", ["--task", "stats"], "line 1: this is no ranked line"),
        ("a.jsonl", b"\n", ["--task", "stats"], "no ranked line"),
        ("a.tsv", b"a\tb\n", ["--task", "eval-human-feedback"], "line 1: 2 columns, a pair with feedback has 11"),
        ("a.tsv", b"1\t2\t3\t\t\t\tx\t1\t1\t1\t1\n", ["--task", "eval-human-feedback"], "Columns 7 to 11 are numbers"),
        ("a.tsv", b"a\tb\n", ["--task", "eval-human-vs-rand"], "Give more lines"),
        ("a.tsv", b"a\tb\n", ["--task", "eval-human-vs-machine"], "a directory with ref.tsv"),
        ("a.tsv", b"a\n", ["--task", "eval-human-vs-rand"], "no line with a context and a reply"),
        ("a.json", b'{"turns": [1]}', ["--task", "generate"], "entry 0 has no turns"),
        ("a.json", b"[]", ["--task", "generate"], "there is no talk"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(
    tmp_path: Path, name: str, content: bytes, options: list[str], said: str
) -> None:
    (tmp_path / name).write_bytes(content)
    assert said in complaint(tmp_path / name, "-p", UPDOWN, *options)


def test_what_is_wrong_with_the_command_is_said(replies: Path, tmp_path: Path) -> None:
    assert "needs a FILE" in complaint()
    assert "does not exist" in complaint(tmp_path / "none.tsv")
    assert "this is a directory" in complaint(tmp_path, "-p", UPDOWN)
    assert "no such file or directory" in complaint(replies, "-p", tmp_path / "none.pth")
    assert "Name a generator" in complaint(PARITY / "golden.json", "--task", "generate", "-pg", UPDOWN, "-p", UPDOWN)
    assert "eval-human-vs-rand" in complaint(replies, "--task", "hits")


def test_a_fake_file_that_does_not_match_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ref.tsv").write_text("a\treal\nb\treal\n")
    (tmp_path / "rand.tsv").write_text("a\tfake\nc\tfake\n")
    said = complaint(tmp_path, "--task", "eval-human-vs-rand", "-p", UPDOWN)
    assert "rand.tsv, line 2" in said


@pytest.mark.parametrize(
    ("name", "content", "turns"),
    [
        ("a.json", '["hi", "there"]', [("0", ["hi", "there"])]),
        ("a.json", '{"turns": ["hi"]}', [("0", ["hi"])]),
        ("a.json", '[["hi"], {"id": "x", "turns": ["ho"]}]', [("0", ["hi"]), ("x", ["ho"])]),
        ("a.txt", f"hi{JOINT}there\tignored\n\nho\n", [("0", ["hi", "there"]), ("2", ["ho"])]),
    ],
)
def test_talks_come_in_several_shapes(tmp_path: Path, name: str, content: str, turns: object) -> None:
    (tmp_path / name).write_text(content)
    assert read_talks(tmp_path / name) == turns
