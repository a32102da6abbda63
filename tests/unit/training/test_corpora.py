"""What the readers make of their files, and what they refuse."""

import random
from pathlib import Path

import pytest

from bot.training.corpora import chatterbot, chitchat, everyday
from bot.training.corpora.dialogue import fit_pieces, is_fit, is_held_out
from bot.training.corpora.registry import corpus_named
from bot.training.errors import TrainingError


@pytest.fixture
def small_corpus(tmp_path: Path) -> Path:
    (tmp_path / "slots.json").write_text('{"name": ["Ann", "Bob", "Cid"], "food": ["rice"]}')
    (tmp_path / "1.txt").write_text(
        "## a comment\n# meeting\n\nI am {name} and this is {name2}.\nHi {name}, hi {name2}!\n\n"
        "# eating\nI ate {food}.\nWas the {food} good?\n"
    )
    return tmp_path


def test_a_slot_is_one_word_throughout_and_numbered_ones_differ(small_corpus: Path) -> None:
    templates, slots = everyday.read_templates(small_corpus)
    for seed in range(20):
        first, second = templates[0].expand(slots, random.Random(seed)).turns
        one, other = first.removeprefix("I am ").rstrip(".").split(" and this is ")
        assert one != other
        assert second == f"Hi {one}, hi {other}!"


def test_topics_and_comments_are_read(small_corpus: Path) -> None:
    templates, slots = everyday.read_templates(small_corpus)
    assert [template.topic for template in templates] == ["meeting", "eating"]
    assert templates[1].expand(slots, random.Random(0)).turns == ("I ate rice.", "Was the rice good?")


def test_a_directory_without_a_corpus_is_explained(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"cannot be read.*slots\.json"):
        everyday.read_templates(tmp_path)


def test_the_same_seed_reads_the_same_pass_and_another_varies_it() -> None:
    def turns(seed: int) -> list[tuple[str, ...]]:
        return [dialogue.turns for dialogue in everyday.training_pass(random.Random(seed))]

    assert turns(1) == turns(1)
    assert turns(1) != turns(2)


def test_every_everyday_dialogue_ends_with_the_bots_reply() -> None:
    for dialogue in everyday.training_pass(random.Random(0)):
        assert len(dialogue.turns) % 2 == 0
        assert all(dialogue.turns)
        assert "{" not in "".join(dialogue.turns)


@pytest.mark.parametrize("corpus", [everyday, chatterbot], ids=["everyday", "chatterbot"])
def test_what_is_held_out_is_never_trained_on(corpus: object) -> None:
    assert isinstance(corpus, type(everyday))
    trained = {"\n".join(d.turns).lower() for d in corpus.training_pass(random.Random(0))}
    held_out = ["\n".join(d.turns).lower() for d in corpus.held_out()]
    assert len(held_out) >= 5
    assert not trained & set(held_out)


def test_about_one_dialogue_in_fifty_is_held_out() -> None:
    assert 150 <= sum(is_held_out(str(n)) for n in range(10_000)) <= 250


@pytest.mark.parametrize(
    "text",
    [
        "",
        "see http://example.org",
        "look at example.com please",
        "write to me at someone@somewhere",
        "call 801 555 12 34",
        "what the fuck",
        "!!!!!!!!",
        "aaaaaaaaah no",
        "word " * 60,
        "привет как дела",
        "😀😀😀 ok",
        "12",
    ],
)
def test_unfit_utterances_are_refused(text: str) -> None:
    assert not is_fit(text)


@pytest.mark.parametrize("text", ["hi", "I have 2 cats", "it’s fine…", "see you at 10:30 😀", "Classic assessment!"])
def test_ordinary_utterances_are_fit(text: str) -> None:
    assert is_fit(text)


def test_a_conversation_is_cut_where_it_is_unfit() -> None:
    turns = ["hi", " hello  there ", "www.spam.com", "ok", "what?", "fuck off", "alone"]
    assert list(fit_pieces(turns)) == [("hi", "hello there"), ("ok", "what?")]


def test_chitchat_is_cleaned_and_large() -> None:
    dialogues = list(chitchat.training_pass(random.Random(0)))
    assert len(dialogues) > 8_000
    assert all(is_fit(turn) for dialogue in dialogues for turn in dialogue.turns)
    assert not any("byu" in turn.lower() for dialogue in dialogues for turn in dialogue.turns)
    assert 100 < sum(1 for _ in chitchat.held_out()) < 500


def test_an_unknown_corpus_names_the_known_ones() -> None:
    with pytest.raises(TrainingError, match=r"no corpus 'reddit'.*chatterbot, chitchat, everyday"):
        corpus_named("reddit")
