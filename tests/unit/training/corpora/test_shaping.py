"""Likeness, splits, cleaning, figures, and files that appear whole or not at all."""

import json
import random
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.training.corpora import jsonl, language
from bot.training.corpora.clean import Cleaning, clean, judged, length_rule
from bot.training.corpora.dialogue import Dialogue
from bot.training.corpora.language import language_of
from bot.training.corpora.output import whole_file
from bot.training.corpora.similarity import bands_of, likeness, likeness_on_disk, signature_of
from bot.training.corpora.split import leakage, split
from bot.training.corpora.stats import CorpusStats
from bot.training.errors import TrainingError


def said(*turns: str, **more: object) -> Dialogue:
    return Dialogue(turns, "x", **more)  # type: ignore[arg-type]


def talks(number: int, seed: int = 0) -> list[Dialogue]:
    """Dialogues of words drawn at random, none like another."""
    rng = random.Random(seed)
    words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=6)) for _ in range(3000)]
    return [said(" ".join(rng.choices(words, k=8)), " ".join(rng.choices(words, k=8))) for _ in range(number)]


def jaccard(one: str, other: str) -> float:
    first, second = ({text[n : n + 5] for n in range(len(text) - 4)} for text in (one, other))
    return len(first & second) / len(first | second)


@given(st.integers(0, 1000), st.integers(0, 30))
def test_signatures_estimate_the_similarity(seed: int, changed: int) -> None:
    """60 hashes: the standard error is at most 0.065, and four of them are hardly ever exceeded."""
    rng = random.Random(seed)
    one = "".join(rng.choices("abcdefghij ", k=200))
    other = one[: 200 - changed] + "".join(rng.choices("klmnop", k=changed))
    assert abs(likeness(signature_of(one), signature_of(other)) - jaccard(one, other)) < 0.26


def test_near_duplicates_share_a_band_and_strangers_do_not() -> None:
    one, other = talks(2)
    text = " ".join(one.turns)
    signature = signature_of(text)
    assert set(bands_of(signature).tolist()) & set(bands_of(signature_of(text + "!")).tolist())
    assert not set(bands_of(signature).tolist()) & set(bands_of(signature_of(" ".join(other.turns))).tolist())


def test_groups_are_copies_near_duplicates_and_shared_situations() -> None:
    one, two, three, four = talks(4)
    shouted = said(*(turn.upper() + "!" for turn in one.turns))
    nearly = said(one.turns[0], one.turns[1] + " ok")
    placed = [Dialogue(each.turns, "x", situations=("tea",)) for each in (two, three)]
    with likeness_on_disk() as collected:
        for dialogue in (one, *placed, shouted, nearly, four):
            collected.add(dialogue)
        with_situations = collected.groups(situations=True)
        alone = collected.groups(near=False)
    assert with_situations.first.tolist() == [0, 1, 1, 0, 0, 5]
    assert alone.first.tolist() == [0, 1, 2, 0, 4, 5]
    assert alone.copy.tolist() == [False, False, False, True, False, False]


def test_sharing_a_band_alone_makes_no_group() -> None:
    """Half alike: many such pairs meet in a band by chance, and their signatures tell them apart."""
    text = " ".join(talks(1)[0].turns)
    bands = set(bands_of(signature_of(text)).tolist())
    changed = (text[:70] + " ".join(talks(1, seed)[0].turns)[70:] for seed in range(1, 500))
    met = next(other for other in changed if bands & set(bands_of(signature_of(other)).tolist()))
    assert jaccard(text, met) < 0.7
    with likeness_on_disk() as collected:
        for each in (text, met):
            collected.add(said(each))
        assert collected.groups().first.tolist() == [0, 1]


def test_nothing_has_no_groups() -> None:
    with likeness_on_disk() as collected:
        assert collected.groups(situations=True).first.tolist() == []


def test_a_split_keeps_what_is_alike_on_one_side(tmp_path: Path) -> None:
    corpus = []
    for number, dialogue in enumerate(talks(60)):
        near = said(dialogue.turns[0], dialogue.turns[1] + " ok")
        corpus += [
            dialogue,
            dialogue,
            near,
            Dialogue(talks(1, seed=number + 1)[0].turns, "x", situations=(str(number),)),
        ]
        corpus.append(Dialogue(talks(1, seed=number + 1000)[0].turns, "x", situations=(str(number),)))
    made = split(lambda: corpus, tmp_path, {"test": 0.1, "valid": 0.2}, seed=3)
    assert sum(made.dialogues.values()) == 300
    assert 27 < made.dialogues["test"] <= 30
    assert 57 < made.dialogues["valid"] <= 60
    assert made.groups == 120
    assert made.largest_group == 3
    for leak in made.leakage.values():
        assert (leak.exact, leak.near, leak.situations, leak.shared_exchanges) == (0, 0, 0, 0)
    parts = [list(jsonl.read(tmp_path / f"{name}.jsonl")) for name in ("train", "test", "valid")]
    key = lambda dialogue: (dialogue.turns, dialogue.situations)  # noqa: E731
    assert sorted((dialogue for part in parts for dialogue in part), key=key) == sorted(corpus, key=key)
    assert split(lambda: corpus, tmp_path / "again", {"test": 0.1, "valid": 0.2}, seed=3) == made


def test_leakage_is_counted_by_kind(tmp_path: Path) -> None:
    one, two, three, four = talks(4)
    train = [one, Dialogue(three.turns, "x", situations=("tea",)), said(two.turns[0], two.turns[1], "ok then")]
    held_out = [
        one,
        said(two.turns[0] + " so", two.turns[1], "ok then"),
        Dialogue(four.turns, "x", situations=("tea",)),
        said(*talks(1, seed=9)[0].turns),
    ]
    for name, dialogues in (("train", train), ("test", held_out)):
        (tmp_path / f"{name}.jsonl").write_text("".join(map(jsonl.line_of, dialogues)))
    leak = leakage(tmp_path / "train.jsonl", tmp_path / "test.jsonl")
    assert (leak.exact, leak.near, leak.situations) == (1, 1, 1)
    # By hand: the copy's exchange, and "ok then" behind the turn that did not change.
    assert (leak.exchanges, leak.shared_exchanges) == (5, 2)


def test_too_few_dialogues_for_a_part_are_told_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"3 dialogues in 3 groups .* too few for a part 'test' of 5%"):
        split(lambda: talks(3), tmp_path, {"test": 0.05}, seed=0)
    assert list(tmp_path.iterdir()) == []


def test_lengths_are_judged_in_words_and_in_characters() -> None:
    rule = length_rule(3)
    assert [rule(turn) for turn in ("a b c", "a b c d", "x" * 24, "x" * 25)] == [None, "too long", None, "too long"]


def test_cleaning_cuts_at_bad_turns_and_keeps_who_speaks() -> None:
    done = Cleaning()
    dialogue = said("a", "b", "BAD", "d", "e", "f", weights=(0, 1, 0, 1, 0, 1), persona=("BAD me", "fine"))
    rule = lambda turn: "bad" if "BAD" in turn else None  # noqa: E731
    found = list(judged([dialogue, said("BAD", "x"), said("", "y")], [rule], (), done))
    assert [piece.turns for piece in found] == [("a", "b"), ("d", "e", "f")]
    assert [piece.bot_opens for piece in found] == [False, True]
    assert [piece.weights for piece in found] == [(0, 1), (1, 0, 1)]
    assert all(piece.persona == ("fine",) for piece in found)
    assert done.turns_dropped == {"bad": 2, "empty": 1}
    assert done.dialogues_dropped == {"no turn with a reply is left": 2}


def test_cleaning_counts_what_goes_and_why(tmp_path: Path) -> None:
    one, two = talks(2)
    near = said(one.turns[0], one.turns[1] + " ok")
    out = tmp_path / "clean.jsonl"
    done = clean([one, one, near, two, said("a b", "BAD")], out, rules=[lambda turn: "bad" if turn == "BAD" else None])
    assert done.report() == {
        "dialogues_read": 5,
        "turns_read": 10,
        "dialogues_kept": 2,
        "turns_kept": 4,
        "turns_dropped": {"bad": 1},
        "dialogues_dropped": {"no turn with a reply is left": 1, "duplicate": 1, "near-duplicate": 1},
    }
    assert list(jsonl.read(out)) == [one, two]
    assert [path.name for path in tmp_path.iterdir()] == ["clean.jsonl"]


def test_another_language_goes_and_what_is_too_short_to_tell_stays() -> None:
    english = said("how was your day at work?", "it was long, but my colleagues are nice people")
    german = said("wie war dein tag bei der arbeit?", "er war lang, aber meine kollegen sind nett")
    done = Cleaning()
    short = said("hi", "yo")
    assert list(judged([english, german, short], [], ("en",), done)) == [english, short]
    assert done.dialogues_dropped == {"language de": 1}
    assert list(judged([english, german], [], ("en", "de"), done)) == [english, german]


def test_duplicates_may_stay(tmp_path: Path) -> None:
    (one,) = talks(1)
    nearly = said(one.turns[0], one.turns[1] + " ok")
    corpus = [one, one, nearly]
    assert clean(corpus, None, rules=[], duplicates=False).dialogues_kept == 3
    assert clean(corpus, None, rules=[], near_duplicates=False).dialogues_kept == 2
    assert clean(corpus, None, rules=[]).dialogues_kept == 1


def test_a_dialogue_in_no_language_that_can_be_told_has_none() -> None:
    assert language_of("ok") is None
    assert language_of("I went to the park with my dog and we met some friends there.") == "en"


def test_a_language_that_does_not_exist_is_told_before_everything_goes() -> None:
    with pytest.raises(TrainingError, match=r"no language 'english'. Write its code: en, de"):
        clean(talks(2), None, rules=[], languages=("english",))


def test_figures_are_given_without_the_library_for_languages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "py3langid.langid", None)
    language._identifier.cache_clear()
    report = CorpusStats().add_all(talks(2)).report()
    assert list(report["languages"]) == ["To tell languages needs one more package: pip install 'banter[train]'."]
    assert report["dialogues"] == clean(talks(2), None, rules=[]).dialogues_kept == 2
    with pytest.raises(TrainingError, match="needs one more package"):
        clean(talks(2), None, rules=[], languages=("en",))


def test_what_was_good_before_a_mistake_is_kept_beside(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text("".join(map(jsonl.line_of, talks(20))) + '{"turns": [}\n')
    out = tmp_path / "clean.jsonl"
    with pytest.raises(TrainingError, match=r":21: this is not JSON .* 20 lines, is in .*clean\.jsonl\.part"):
        clean(jsonl.read(corpus), out, rules=[])
    assert not out.exists()
    assert len(list(jsonl.read(tmp_path / "clean.jsonl.part"))) == 20


def test_nothing_left_is_told_and_not_written(tmp_path: Path) -> None:
    out = tmp_path / "clean.jsonl"
    with pytest.raises(TrainingError, match="Of 2 dialogues none is left"):
        clean(talks(2), out, rules=[lambda turn: "bad"])
    assert list(tmp_path.iterdir()) == []


def test_figures_by_hand() -> None:
    stats = CorpusStats(count_tokens=len)
    stats.add_all(
        [
            said("hi there", "hello", topic="greetings", persona=("I am.",)),
            said("Hi there!", "hello?", weights=(0.0, 1.0)),
            said("what is it", "no", "a b c d e", "no"),
        ]
    )
    report = stats.report()
    assert (report["dialogues"], report["turns"], report["words"]) == (3, 8, 16)
    assert report["tokens"] == report["characters"] == 51
    assert report["turns_per_dialogue"] == {"mean": 2.67, "median": 2, "p95": 4, "max": 4}
    assert report["words_per_turn"] == {"mean": 2.0, "median": 1, "p95": 5, "max": 5}
    assert report["duplicate_dialogues"] == 1
    assert report["repeated_replies"] == 2
    assert (report["turns_not_learned"], report["dialogues_with_persona"], report["topics"]) == (1, 1, 1)
    assert [turn["dialogue"] for turn in report["longest_turns"][:2]] == [3, 2]
    assert json.loads(json.dumps(report)) == report


def test_a_file_appears_whole(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text("old")
    with whole_file(path) as file:
        file.write("new\n")
        assert path.read_text() == "old"
    assert path.read_text() == "new\n"
    assert [each.name for each in tmp_path.iterdir()] == ["out"]


def write_and_fail(path: Path, content: str, error: BaseException) -> None:
    with whole_file(path) as file:
        file.write(content)
        raise error


def test_after_a_mistake_whole_lines_stay_beside(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"^oh\. What was done before, 2 lines, is in .*out\.part\.$"):
        write_and_fail(tmp_path / "out", "one\ntwo\nthr", TrainingError("oh."))
    assert [path.name for path in tmp_path.iterdir()] == ["out.part"]
    assert (tmp_path / "out.part").read_text() == "one\ntwo\n"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError()])
def test_after_an_interruption_nothing_stays(tmp_path: Path, error: BaseException) -> None:
    with pytest.raises(type(error)):
        write_and_fail(tmp_path / "out", "one\n", error)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with (
        pytest.raises(TrainingError, match="cannot be written: No such file or directory"),
        whole_file(tmp_path / "a" / "b"),
    ):
        pass
