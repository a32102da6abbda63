"""What the readers make of their files, and what they refuse."""

import random
from pathlib import Path

import pytest

from bot.training.corpora import chitchat
from bot.training.corpora.dialogue import fit_pieces, is_fit, is_held_out
from bot.training.corpora.own import OwnCorpus, everyday, smalltalk
from bot.training.corpora.registry import CORPORA, corpus_named
from bot.training.corpora.templates import Template, read_templates
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
    templates, slots = read_templates(small_corpus)
    for seed in range(20):
        first, second = templates[0].expand(slots, "own", random.Random(seed)).turns
        one, other = first.removeprefix("I am ").rstrip(".").split(" and this is ")
        assert one != other
        assert second == f"Hi {one}, hi {other}!"


def test_topics_and_comments_are_read(small_corpus: Path) -> None:
    templates, slots = read_templates(small_corpus)
    assert [template.topic for template in templates] == ["meeting", "eating"]
    assert templates[1].expand(slots, "own", random.Random(0)).turns == ("I ate rice.", "Was the rice good?")


def test_the_forms_of_a_slot_belong_to_the_same_entry() -> None:
    slots = {"pet": {"a": ["a cat", "an ox"], "many": ["cats", "oxen"]}}
    template = Template(("I have {pet.a}.", "{pet.many}! I like {pet.many} more than {pet2.many}."), "", "")
    seen = {template.expand(slots, "own", random.Random(seed)).turns for seed in range(20)}
    assert seen == {
        ("I have a cat.", "Cats! I like cats more than oxen."),
        ("I have an ox.", "Oxen! I like oxen more than cats."),
    }


def test_an_alternative_is_drawn_at_every_place_and_may_be_nothing() -> None:
    template = Template(("[so |]i [ate|had] {food}[ lol|]", "[good|fine]."), "", "")
    seen = {template.expand({"food": ["rice"]}, "own", random.Random(seed)).turns for seed in range(200)}
    assert len(seen) == 16
    assert ("so i had rice", "Good.") in seen
    assert ("i ate rice lol", "Fine.") in seen


@pytest.mark.parametrize("place", ["{drink}", "{food.a}", "{pet}", "{pet.two}"])
def test_a_slot_without_words_is_named_with_its_file_and_dialogue(tmp_path: Path, place: str) -> None:
    (tmp_path / "slots.json").write_text('{"food": ["rice"], "pet": {"a": ["a cat"]}}')
    (tmp_path / "1-talks.txt").write_text(f"# lunch\nI like {place}.\nGood.\n")
    with pytest.raises(TrainingError, match=r"1-talks\.txt: slots\.json has no \{.*lunch.*I like"):
        read_templates(tmp_path)


def test_a_directory_without_a_corpus_is_explained(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"cannot be read.*slots\.json"):
        read_templates(tmp_path)


def test_the_same_seed_reads_the_same_pass_and_another_varies_it() -> None:
    def turns(seed: int) -> list[tuple[str, ...]]:
        return [dialogue.turns for dialogue in everyday.training_pass(random.Random(seed))]

    assert turns(1) == turns(1)
    assert turns(1) != turns(2)


@pytest.mark.parametrize("corpus", [everyday, smalltalk], ids=["everyday", "smalltalk"])
def test_every_dialogue_of_ours_is_filled_and_ends_with_the_bots_reply(corpus: OwnCorpus) -> None:
    for dialogue in corpus.training_pass(random.Random(0)):
        assert len(dialogue.turns) % 2 == 0
        assert all(dialogue.turns)
        assert not set("{}[]|") & set("".join(dialogue.turns))


@pytest.mark.parametrize("name", ["everyday", "smalltalk", "chatterbot"])
def test_what_is_held_out_is_never_trained_on(name: str) -> None:
    corpus = CORPORA[name]
    trained = {"\n".join(d.turns).lower() for d in corpus.training_pass(random.Random(0))}
    held_out = ["\n".join(d.turns).lower() for d in corpus.held_out()]
    assert len(held_out) >= 5
    assert not trained & set(held_out)


def test_what_one_corpus_of_ours_holds_out_the_other_does_not_teach(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for directory in (first, second):
        directory.mkdir()
        (directory / "slots.json").write_text("{}")
    talks = [f"Hi {n}!\nHello {n}." for n in range(400)]
    (first / "1.txt").write_text("\n\n".join(talks))
    (second / "1.txt").write_text("\n\n".join(f"hi {n}\n[Hello|hello] {n}!" for n in range(400)))
    held_out = {dialogue.turns[0] for dialogue in OwnCorpus(first).held_out()}
    assert held_out
    taught = "\n".join(
        turn
        for dialogue in OwnCorpus(second, apart_from=OwnCorpus(first)).training_pass(random.Random(0))
        for turn in dialogue.turns
    )
    assert "hi 3\n" in taught + "\n"
    assert not [turn for turn in held_out if f"{turn.rstrip('!').lower()}\n" in taught + "\n"]


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
