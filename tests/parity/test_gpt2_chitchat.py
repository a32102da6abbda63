"""GPT2-chitchat: everything that the original's own code said, said by ours."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bot.generator.candidates import GenerationRequest
from bot.generator.decoder import Decoder
from bot.generator.decoding import Decoding
from bot.generator.dialects.base import BOT, TrainingExample, Utterance
from bot.generator.dialects.chitchat import Chitchat
from bot.generator.engine import load_generator
from bot.generator.errors import CheckpointError
from bot.generator.formats.registry import open_checkpoint
from bot.generator.models.base import Prompt
from bot.generator.models.causal import CausalModel
from bot.generator.ranking.ranker import REVERSE, load_ranker
from bot.generator.ranking.reverse import Reverse
from bot.generator.tokenization.wordpiece import WordPieceTokenizer

PROJECT = Path(__file__).parent / "gpt2-chitchat"
GOLDEN: dict[str, Any] = json.loads((PROJECT / "golden.json").read_text(encoding="utf-8"))
TOKENIZER = WordPieceTokenizer.from_file(PROJECT / "vocab" / "vocab.txt")
DIALECT = Chitchat(TOKENIZER)
PERSON = 1

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def generator() -> Decoder:
    loaded = load_generator(str(PROJECT), device="cpu", dtype="float32")
    assert isinstance(loaded, Decoder)
    return loaded


@pytest.fixture(scope="module")
def reverse() -> Reverse:
    loaded = load_ranker(str(PROJECT), name=REVERSE, device="cpu", dtype="float32")
    assert isinstance(loaded, Reverse)
    return loaded


def decoding_of(options: dict[str, Any]) -> Decoding:
    """The original's options in our words."""
    return DIALECT.habits.decoding.model_copy(
        update={
            "temperature": options.get("temperature", 1.0),
            "top_k": options.get("topk", 8),
            "top_p": options.get("topp", 0) or 1.0,
            "repetition_penalty": options.get("repetition_penalty", 1.0),
            "max_new_tokens": options.get("max_len", 25),
        }
    )


def histories(session: dict[str, Any]) -> list[list[list[int]]]:
    """Before each turn's reply, the entries that the original still sees."""
    entries: list[list[int]] = []
    seen = []
    for turn in session["turns"]:
        entries.append(DIALECT.entry(Utterance(PERSON, turn["user"])))
        seen.append(entries[-session["options"].get("max_history_len", DIALECT.habits.turns) :])
        entries.append(turn["response_ids"])
    return seen


SESSIONS = GOLDEN["interact_sessions"]


@pytest.mark.parametrize("case", GOLDEN["tokenizer_cases"], ids=lambda case: case["text"])
def test_the_tokenizer_splits_as_the_original(case: dict[str, Any]) -> None:
    assert TOKENIZER.encode(case["text"]) == case["ids"]
    assert TOKENIZER.decode(case["ids"]) == "".join(case["tokens"])


def test_the_special_tokens_are_found_by_name() -> None:
    special = GOLDEN["special_ids"]
    assert DIALECT.stop_ids == {special["sep"]}
    assert DIALECT.banned_ids == {special["unk"]}
    assert DIALECT.control_ids >= {special["pad"], special["cls"], special["sep"]}


@pytest.mark.parametrize("session", SESSIONS)
def test_contexts_are_written_as_the_original_writes_them(session: dict[str, Any]) -> None:
    written = [DIALECT.encode_entries(entries, 255) for entries in histories(session)]
    assert written == [turn["input_ids"] for turn in session["turns"]]


@pytest.mark.parametrize("session", SESSIONS)
def test_the_model_sees_what_the_original_sees(generator: Decoder, session: dict[str, Any]) -> None:
    for turn in session["turns"]:
        with torch.inference_mode():
            (logits,), _ = generator.model.read([Prompt(tuple(turn["input_ids"]))])
        expected = turn["logits_last"]
        assert logits[:16].tolist() == pytest.approx(expected["first16"], abs=2e-4)
        assert float(logits.logsumexp(dim=-1)) == pytest.approx(expected["logsumexp"], abs=2e-4)
        assert int(logits.argmax()) == expected["argmax"]


@pytest.mark.parametrize("session", SESSIONS)
def test_replies_and_what_could_have_been_drawn_are_the_originals(generator: Decoder, session: dict[str, Any]) -> None:
    decoding = decoding_of(session["options"])
    for turn in session["turns"]:
        request = GenerationRequest(input_ids=tuple(turn["input_ids"]), decoding=decoding, seed=0)
        row = generator.write(request, likeliest=True, watched=2)
        assert row.tokens == turn["response_ids"]
        assert (row.stop is not None) is turn["ended_by_sep"]
        assert DIALECT.decode(row.tokens) == turn["reply"]
        # Beside an empty reply, which has one step, the recording holds the first step of the next turn.
        recorded = turn["kept_first2_steps"][: len(turn["response_ids"]) + 1]
        for (ids, probabilities), kept in zip(row.survivors, recorded, strict=True):
            assert ids == kept["ids"]
            assert probabilities == pytest.approx(kept["probs"], abs=1e-4)


@pytest.mark.parametrize("session", SESSIONS)
def test_a_reply_that_comes_back_as_text_is_the_ids_that_were_written(session: dict[str, Any]) -> None:
    for turn in session["turns"]:
        again = DIALECT.entry(Utterance(BOT, turn["reply"]))
        if "[PAD]" in turn["reply"]:  # the name of a control token stays text, whoever wrote it
            assert not DIALECT.control_ids & set(again)
        else:
            assert again == turn["response_ids"]


def everything_learned(ids: list[int]) -> TrainingExample:
    return TrainingExample(tuple(ids), tuple(ids))


@pytest.mark.parametrize("session", GOLDEN["mmi_sessions"])
def test_the_mmi_model_chooses_as_the_original(reverse: Reverse, session: dict[str, Any]) -> None:
    for turn in session["turns"]:
        candidates = turn["candidates"]
        losses = reverse.losses([everything_learned(candidate["mmi_input_ids"]) for candidate in candidates])
        assert losses == pytest.approx([candidate["mmi_loss"] for candidate in candidates], abs=1e-4)
        assert losses.index(min(losses)) == turn["chosen_index"]
        assert DIALECT.decode(candidates[turn["chosen_index"]]["candidate_ids"]) == turn["reply"]


@pytest.mark.parametrize(
    "session", [s for s in GOLDEN["mmi_sessions"] if s["user_text_encoding"].startswith("without")]
)
def test_mmi_sequences_are_the_candidate_and_the_talk_backwards(reverse: Reverse, session: dict[str, Any]) -> None:
    limit = session["options"].get("max_history_len", 5)
    entries: list[list[int]] = []
    for turn in session["turns"]:
        entries.append(DIALECT.entry(Utterance(PERSON, turn["user"])))
        assert DIALECT.encode_entries(entries[-limit:], 255) == turn["generator_input_ids"]
        for candidate in turn["candidates"]:
            backwards = [candidate["candidate_ids"], *reversed(entries[-limit:])]
            assert DIALECT.encode_entries(backwards, 255) == candidate["mmi_input_ids"]
        entries.append(turn["candidates"][turn["chosen_index"]]["candidate_ids"])


@pytest.mark.parametrize("session", [s for s in GOLDEN["mmi_sessions"] if not s["options"]])
def test_candidates_that_start_as_the_originals_go_on_as_they_do(generator: Decoder, session: dict[str, Any]) -> None:
    """The original's candidates differ in their first token and then take the likeliest."""
    rest = DIALECT.habits.decoding.model_copy(update={"max_new_tokens": 24})
    for turn in session["turns"]:
        for ids in (candidate["candidate_ids"] for candidate in turn["candidates"] if candidate["candidate_ids"]):
            begun = GenerationRequest(input_ids=(*turn["generator_input_ids"], ids[0]), decoding=rest, seed=0)
            assert generator.write(begun, likeliest=True, watched=0).tokens == ids[1:]


@pytest.mark.parametrize("case", GOLDEN["mmi_candidate_cases"])
def test_given_candidates_are_ranked_as_by_the_original(reverse: Reverse, case: dict[str, Any]) -> None:
    newest = [TOKENIZER.encode(text) for text in case["history"][-case["max_history_len"] :]]
    sequences = [
        DIALECT.encode_entries([candidate["candidate_ids"], *reversed(newest)], 255) for candidate in case["candidates"]
    ]
    assert sequences == [candidate["mmi_input_ids"] for candidate in case["candidates"]]
    losses = reverse.losses([everything_learned(ids) for ids in sequences])
    assert losses == pytest.approx([candidate["mmi_loss"] for candidate in case["candidates"]], abs=1e-4)
    assert losses.index(min(losses)) == case["chosen_index"]


def test_replies_in_words_are_scored_by_the_same_loss(reverse: Reverse) -> None:
    case = next(case for case in GOLDEN["mmi_candidate_cases"] if case["max_history_len"] == 5)
    replies = [DIALECT.decode(candidate["candidate_ids"]).replace("##", "") for candidate in case["candidates"]]
    scores = reverse.score([(case["history"], reply) for reply in replies])
    assert scores == pytest.approx([math.exp(-one["mmi_loss"]) for one in case["candidates"]], rel=1e-4)
    assert scores.index(max(scores)) == case["chosen_index"]


def dialogues() -> list[list[Utterance]]:
    text = (PROJECT / GOLDEN["training"]["file"]).read_text(encoding="utf-8")
    return [
        [Utterance(PERSON if n % 2 == 0 else BOT, line) for n, line in enumerate(dialogue.split("\n"))]
        for dialogue in text.split("\n\n")
    ]


def test_training_learns_everything(reverse: Reverse) -> None:
    training = GOLDEN["training"]
    whole = [DIALECT.example(utterances, {BOT}, 10_000) for utterances in dialogues()]
    assert [list(example.input_ids) for example in whole] == training["preprocessed_ids"]
    cut = [DIALECT.example(utterances, {BOT}, training["max_len"]) for utterances in dialogues()]
    for example, ids, labels in zip(cut, training["input_ids"], training["labels"], strict=True):
        padding = training["max_len"] - len(example.input_ids)
        assert [*example.input_ids, *[0] * padding] == ids
        assert [*example.labels, *[-100] * padding] == labels


def test_the_training_loss_is_the_originals(generator: Decoder) -> None:
    training = GOLDEN["training"]
    ids, labels = torch.tensor(training["input_ids"]), torch.tensor(training["labels"])
    assert isinstance(generator.model, CausalModel)
    with torch.inference_mode():
        output = generator.model.network(input_ids=ids, labels=labels)
    learned = labels[:, 1:] != -100
    right = output.logits[:, :-1].argmax(dim=-1)[learned] == labels[:, 1:][learned]
    assert float(output.loss) == pytest.approx(training["loss"], abs=1e-4)
    assert (int(right.sum()), int(learned.sum())) == (training["n_correct"], training["n_word"])


HABITS_OF_SPEECH = st.sampled_from(
    ["[SEP]", "[CLS]", "[PAD]", "[MASK]", "[UNK]", "［ＳＥＰ］", "##", " ", "你好", "ok"]
)
TEXTS = st.one_of(st.text(max_size=20), st.lists(HABITS_OF_SPEECH, max_size=6).map("".join))


@given(st.lists(st.tuples(st.sampled_from([BOT, 1, 2]), TEXTS), min_size=1, max_size=5))
def test_no_text_becomes_a_control_token(said: list[tuple[int, str]]) -> None:
    utterances = [Utterance(speaker, text) for speaker, text in said]
    begin, end = GOLDEN["special_ids"]["cls"], GOLDEN["special_ids"]["sep"]
    for ids in (DIALECT.encode(utterances, 10_000), [*DIALECT.example(utterances, {BOT}, 10_000).input_ids]):
        assert [i for i in ids if i in DIALECT.control_ids] == [begin, *[end] * len(said)]


@given(st.lists(TEXTS, min_size=1, max_size=6), st.integers(2, 40))
def test_a_context_that_is_too_long_keeps_its_beginning_and_whole_turns(texts: list[str], limit: int) -> None:
    utterances = [Utterance(PERSON, text) for text in texts]
    ids = DIALECT.encode(utterances, limit)
    assert len(ids) <= limit
    last = DIALECT.encode(utterances[-1:], 10_000)
    if len(last) > limit:
        assert ids == [last[0], *last[-(limit - 1) :]]
    else:
        assert ids in [DIALECT.encode(utterances[n:], 10_000) for n in range(len(utterances))]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return Path(shutil.copytree(PROJECT, tmp_path / "project"))


def test_the_project_its_models_and_a_copy_with_its_vocabulary_are_the_same_system(project: Path) -> None:
    shutil.copytree(project / "dialogue_model", project / "model" / "epoch40")
    shutil.copytree(project / "dialogue_model", project / "alone")
    shutil.copy(project / "vocab" / "vocab.txt", project / "alone")
    for place in (".", "dialogue_model", "mmi_model", "model/epoch40", "alone"):
        found = open_checkpoint(str(project / place))
        assert (found.system, found.dialect) == ("gpt2-chitchat", "gpt2-chitchat")
        assert found.read_tokenizer().size == 161
        assert [file.name for file in found.files].count("vocab.txt") == 1


def test_of_two_vocabularies_the_one_that_fits_is_taken(project: Path) -> None:
    own = project / "vocab" / "vocab.txt"
    own.rename(own.with_name("vocab_small.txt"))
    own.write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n", encoding="utf-8")
    assert open_checkpoint(str(project)).read_tokenizer().size == 161


@pytest.mark.parametrize("lines", [160, 162])
def test_a_vocabulary_of_another_size_is_refused_with_both_sizes(project: Path, lines: int) -> None:
    file = project / "vocab" / "vocab.txt"
    tokens = [*file.read_text(encoding="utf-8").splitlines(), "more"][:lines]
    file.write_text("\n".join(tokens) + "\n", encoding="utf-8")
    with pytest.raises(CheckpointError, match=rf"vocab_size is 161, but .*vocab\.txt has {lines} lines"):
        open_checkpoint(str(project))


def test_a_missing_vocabulary_is_asked_for(project: Path) -> None:
    shutil.rmtree(project / "vocab")
    with pytest.raises(CheckpointError, match=r"Put the vocab\.txt .* into this folder, or into .*vocab"):
        open_checkpoint(str(project / "dialogue_model"))


def test_a_vocabulary_without_its_special_tokens_is_refused_by_their_names(project: Path) -> None:
    file = project / "vocab" / "vocab.txt"
    text = file.read_text(encoding="utf-8").replace("[SEP]", "[S]").replace("[UNK]", "[U]")
    file.write_text(text, encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"vocab\.txt: The vocabulary has no \[UNK\], \[SEP\]"):
        load_generator(str(project))


def test_a_vocabulary_that_is_no_text_is_refused(project: Path) -> None:
    (project / "vocab" / "vocab.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CheckpointError, match=r"vocab\.txt: cannot be read as UTF-8 text"):
        open_checkpoint(str(project))


def test_a_saved_tokenizer_is_the_same_tokenizer(tmp_path: Path) -> None:
    TOKENIZER.save(tmp_path)
    assert (tmp_path / "vocab.txt").read_bytes() == (PROJECT / "vocab" / "vocab.txt").read_bytes()
    again = WordPieceTokenizer.from_file(tmp_path / "vocab.txt")
    assert [again.encode(case["text"]) for case in GOLDEN["tokenizer_cases"]] == [
        case["ids"] for case in GOLDEN["tokenizer_cases"]
    ]


def test_separators_of_unicode_end_no_token(tmp_path: Path) -> None:
    file = tmp_path / "vocab.txt"
    file.write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\na\u2028b\n\x0c\n好\n", encoding="utf-8")
    assert WordPieceTokenizer.from_file(file).encode("好") == [6]
