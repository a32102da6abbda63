"""A file's format told from its content, and files whose content does not tell."""

import random
from pathlib import Path

import pytest

from bot.training.corpora.dialogue import Dialogue
from bot.training.corpora.files import CorpusFile, located, shuffled
from bot.training.corpora.guess import guess_format
from bot.training.corpora.registry import corpus_named, every_dialogue
from bot.training.errors import TrainingError


def file_of(tmp_path: Path, content: str) -> Path:
    path = tmp_path / "corpus"
    path.write_text(content, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ('{"turns": ["a", "b"]}\n{"turns": ["c", "d"]}\n', "jsonl"),
        ('{"source": "x", "turns": ["a", "b"]}\n', "jsonl"),
        ('{"turns": ["' + "very " * 20_000 + 'long", "b"]}\n', "jsonl"),
        ('{"turns": ["broken', "jsonl"),
        ('[["a", "b"]]', "devjwsong"),
        ("0.0 hi EOS 1.0 you\t1.0 me\n", "dialogpt"),
        ("hi\thello\n", "dialogpt"),
        ("hi\thello\they\nwhat\tthis\tthat\tmore\n", "dialogpt-pairs"),
        ("hi\nhello\n\nbye\nsee you\n", "gpt2-chitchat"),
        ("\ufeffhi\nhello\n\nbye\nsee you\n", "gpt2-chitchat"),
    ],
)
def test_the_content_tells_the_format(tmp_path: Path, content: str, kind: str) -> None:
    path = file_of(tmp_path, content)
    assert guess_format(path) == kind
    assert located(str(path)) == (path, kind)


@pytest.mark.parametrize("content", ["hello\nthere\n", '{"a": 1}', '[{"a": 1}]', "[1]", "a\tb\nc\n", "# x\n"])
def test_what_could_be_anything_asks_for_the_format(tmp_path: Path, content: str) -> None:
    path = file_of(tmp_path, content)
    with pytest.raises(TrainingError, match=r"does not tell which format it has. Say it, as .*corpus:jsonl"):
        guess_format(path)


def test_an_empty_folder_asks_for_the_format(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="does not tell which format"):
        guess_format(tmp_path)


def test_an_empty_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="the file is empty"):
        corpus_named(str(file_of(tmp_path, " \n")))


def test_pairs_of_answers_are_sent_to_the_ranker(tmp_path: Path) -> None:
    path = file_of(tmp_path, "\t".join(["1 2"] * 11) + "\n")
    with pytest.raises(TrainingError, match=r"banter train-ranker --corpus .*corpus:dialogrpt"):
        guess_format(path)


def test_a_path_alone_is_a_corpus(tmp_path: Path) -> None:
    path = file_of(tmp_path, '{"turns": ["a", "b"]}\n')
    assert [dialogue.turns for dialogue in corpus_named(str(path)).held_out()] == [("a", "b")]
    assert [dialogue.turns for dialogue in every_dialogue(str(path))] == [("a", "b")]


def test_what_is_neither_name_nor_file_is_told() -> None:
    with pytest.raises(TrainingError, match=r"no corpus 'reddit', and no such file. Known: chatterbot, chitchat"):
        corpus_named("reddit")
    with pytest.raises(TrainingError, match="there is no such file"):
        corpus_named("a:/no/such/file.jsonl")


def test_a_corpus_that_ships_is_read_whole_and_always_alike() -> None:
    first, second = ([dialogue.turns for dialogue in every_dialogue("chatterbot")] for _ in range(2))
    assert first == second
    assert len(first) > 200


def dialogues(number: int) -> list[Dialogue]:
    return [Dialogue((str(n), "yes"), "x") for n in range(number)]


def test_a_window_shuffles_without_losing_or_hoarding() -> None:
    read = 0

    def counted() -> object:
        nonlocal read
        for dialogue in dialogues(500):
            read += 1
            yield dialogue

    given = []
    for dialogue in shuffled(counted(), random.Random(1), window=50):  # type: ignore[arg-type]
        given.append(dialogue)
        assert read - len(given) <= 50
    assert given != dialogues(500)
    assert sorted(given, key=lambda dialogue: int(dialogue.turns[0])) == dialogues(500)


def test_the_same_seed_gives_the_same_order(tmp_path: Path) -> None:
    path = file_of(tmp_path, "".join(f'{{"turns": ["{n}", "yes"]}}\n' for n in range(300)))
    corpus = CorpusFile.named(str(path))
    first, again, other = (list(corpus.training_pass(random.Random(seed))) for seed in (1, 1, 2))
    assert first == again != other


def test_dialogues_of_one_situation_are_held_out_together(tmp_path: Path) -> None:
    lines = [f'{{"turns": ["{n}", "yes"], "situation": "s{n % 100}"}}\n' for n in range(1000)]
    corpus = CorpusFile.named(str(file_of(tmp_path, "".join(lines))))
    held_out = {dialogue.situations for dialogue in corpus.held_out()}
    trained = {dialogue.situations for dialogue in corpus.training_pass(random.Random(0))}
    assert held_out
    assert not held_out & trained
    assert len(held_out | trained) == 100
