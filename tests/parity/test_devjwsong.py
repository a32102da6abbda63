"""devjwsong's GPT-2: everything that the original's own code said, said by ours."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bot.generator.candidates import GenerationRequest
from bot.generator.decoder import Decoder
from bot.generator.dialects.base import BOT, IGNORED, TrainingExample, Utterance
from bot.generator.dialects.devjwsong import Devjwsong
from bot.generator.engine import load_generator
from bot.generator.errors import CheckpointError
from bot.generator.formats.registry import open_checkpoint
from bot.generator.models.base import Prompt
from bot.generator.models.causal import CausalModel

FOLDER = Path(__file__).parent / "devjwsong"
GOLDEN: dict[str, Any] = json.loads((FOLDER / "golden.json").read_text(encoding="utf-8"))
POSITIONS = 150
PLENTY = 10**6
EOS, BOS, SP1, SP2 = (GOLDEN["special_ids"][name] for name in ("eos", "bos", "sp1", "sp2"))
NAMES = ("<|endoftext|>", "<bos>", "<sp1>", "<sp2>")

torch.set_num_threads(1)

TOKENIZER = open_checkpoint(str(FOLDER)).read_tokenizer()
DIALECT = Devjwsong(TOKENIZER)


@dataclass(frozen=True)
class Turn:
    """One turn of a recorded session, with what was said before it."""

    context: tuple[Utterance, ...]
    golden: dict[str, Any]
    top_p: float

    @property
    def original_read_text_as_tokens(self) -> bool:
        return any(name in utterance.text for utterance in self.context for name in NAMES)

    @property
    def request(self) -> GenerationRequest:
        decoding = DIALECT.habits.decoding.model_copy(update={"top_p": self.top_p})
        ids = tuple(DIALECT.encode(self.context, POSITIONS - 1))
        return GenerationRequest(input_ids=ids, decoding=decoding, seed=0)


def recorded_turns() -> Iterator[Turn]:
    for session in GOLDEN["sessions"]:
        talk: list[Utterance] = []
        kept = session["options"]["max_turns"] - 1
        for golden in session["turns"]:
            talk.append(Utterance(1, golden["user"]))
            yield Turn(tuple(talk[-kept:]), golden, session["options"]["top_p"])
            talk.append(Utterance(BOT, golden["reply"]))


TURNS = list(recorded_turns())
ANSWERED = [turn for turn in TURNS if "note" not in turn.golden and not turn.original_read_text_as_tokens]


@pytest.fixture(scope="module")
def generator() -> Decoder:
    loaded = load_generator(str(FOLDER), device="cpu", dtype="float32")
    assert isinstance(loaded, Decoder)
    return loaded


def test_a_folder_with_speaker_tokens_is_recognised() -> None:
    checkpoint = open_checkpoint(str(FOLDER))
    assert (checkpoint.system, checkpoint.dialect) == ("devjwsong", "devjwsong")
    assert DIALECT.stop_ids == {EOS}
    assert DIALECT.control_ids == {EOS, BOS, SP1, SP2}


def test_history_and_sampling_are_the_chat_programs_own() -> None:
    habits = DIALECT.habits
    assert habits.turns == 4
    assert (habits.decoding.temperature, habits.decoding.top_p, habits.decoding.top_k) == (1.0, 0.9, 0)
    assert habits.decoding.candidates == 1


@pytest.mark.parametrize("case", GOLDEN["tokenizer_cases"], ids=lambda case: str(case["text"]))
def test_text_becomes_the_original_ids_and_back(case: dict[str, Any]) -> None:
    if not any(name in case["text"] for name in NAMES):  # the original lets people write control tokens
        assert TOKENIZER.encode(case["text"]) == case["ids"]
    assert DIALECT.decode(case["ids"]) == case["decoded_skip_special"]


def test_most_of_the_recorded_turns_are_compared() -> None:
    assert len(ANSWERED) == 31


@pytest.mark.parametrize("number", range(len(ANSWERED)))
def test_a_recorded_turn_is_read_and_answered_alike(generator: Decoder, number: int) -> None:
    turn = ANSWERED[number]
    golden, request = turn.golden, turn.request
    assert list(request.input_ids) == golden["input_ids"]
    types = DIALECT.type_ids(request.input_ids)
    assert types == golden["token_type_ids"]

    with torch.inference_mode():
        logits, _ = generator.model.read([Prompt(request.input_ids, tuple(types))])
    assert logits[0, :16].tolist() == pytest.approx(golden["logits_last"]["first16"], abs=2e-4)
    assert int(logits[0].argmax()) == golden["logits_last"]["argmax"]
    assert float(logits[0].logsumexp(0)) == pytest.approx(golden["logits_last"]["logsumexp"], abs=2e-4)

    row = generator.write(request, likeliest=True, watched=2)
    assert [*row.tokens, *([] if row.stop is None else [row.stop])] == golden["output_ids"]
    assert DIALECT.decode(row.tokens) == golden["reply"]
    for (ids, probabilities), kept in zip(row.survivors, golden["kept_first2_steps"], strict=True):
        assert ids == kept["ids"]
        assert probabilities == pytest.approx(kept["probs"], abs=1e-4)


def test_a_batch_of_recorded_turns_is_answered_as_each_alone(generator: Decoder) -> None:
    requests = [
        GenerationRequest(
            input_ids=turn.request.input_ids,
            decoding=turn.request.decoding.model_copy(update={"temperature": 0.0}),
            seed=0,
        )
        for turn in ANSWERED[:8]
    ]
    for turn, (candidate,) in zip(ANSWERED, generator.generate(requests), strict=False):
        assert [*candidate.token_ids, *[EOS] * candidate.finished] == turn.golden["output_ids"]
        assert candidate.text == turn.golden["reply"].strip()


def test_where_the_original_had_no_room_older_turns_are_dropped() -> None:
    full = [turn for turn in TURNS if "note" in turn.golden]
    assert full
    for turn in full:
        ids = list(turn.request.input_ids)
        assert len(ids) < POSITIONS
        assert ids[0] == BOS
        assert ids[1] in {SP1, SP2}
        assert ids[-1] == SP2
        last = [SP1, *TOKENIZER.encode(turn.context[-1].text), SP2]
        assert ids[-len(last) :] == last


def test_a_configured_n_ctx_ends_the_reply_before_the_positions_do(tmp_path: Path) -> None:
    folder = shutil.copytree(FOLDER, tmp_path / "short")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, "n_ctx": 40}), encoding="utf-8")
    assert load_generator(str(folder), device="cpu").context_budget(0) == 39


@pytest.mark.parametrize("places", ["neither", "alone"])
def test_n_positions_hold_where_n_ctx_is_not_given(tmp_path: Path, places: str) -> None:
    folder = shutil.copytree(FOLDER, tmp_path / "new")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    del config["n_ctx"]
    if places == "alone":
        config["n_positions"] = POSITIONS
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert load_generator(str(folder), device="cpu").context_budget(0) == POSITIONS - 1


# --- the layout ---------------------------------------------------------------------------------------------------


def test_a_context_that_begins_with_the_bot_has_its_type_from_the_start() -> None:
    ids = DIALECT.encode([Utterance(BOT, "ok"), Utterance(1, "ok")], PLENTY)
    word = TOKENIZER.encode("ok")
    assert ids == [BOS, SP2, *word, SP1, *word, SP2]
    assert DIALECT.type_ids(ids) == [SP2] * 3 + [SP1] * 2 + [SP2]


def test_several_people_in_a_row_are_all_the_person() -> None:
    ids = DIALECT.encode([Utterance(1, "ok"), Utterance(2, "ok")], PLENTY)
    word = TOKENIZER.encode("ok")
    assert ids == [BOS, SP1, *word, SP1, *word, SP2]
    assert DIALECT.type_ids(ids) == [SP1] * 5 + [SP2]


def test_an_empty_reply_stays_in_the_history_as_its_token() -> None:
    ids = DIALECT.encode([Utterance(1, "ok"), Utterance(BOT, ""), Utterance(1, "ok")], PLENTY)
    assert ids == [BOS, SP1, *TOKENIZER.encode("ok"), SP2, SP1, *TOKENIZER.encode("ok"), SP2]


texts = st.one_of(
    st.text(max_size=12),
    st.lists(st.sampled_from([*NAMES, "<sp1", "sp2>", "＜sp1＞", "<SP2>", " ", "hi", "<<bos>>"]), max_size=5).map(
        "".join
    ),
)
talks = st.lists(st.builds(Utterance, st.integers(0, 3), texts), min_size=1, max_size=6)


@given(talk=talks)
def test_text_never_becomes_a_control_token(talk: list[Utterance]) -> None:
    ids = DIALECT.encode(talk, PLENTY)
    assert [token for token in ids if token in DIALECT.control_ids] == [
        BOS,
        *(SP2 if utterance.speaker == BOT else SP1 for utterance in talk),
        SP2,
    ]


@given(talk=talks, max_tokens=st.integers(3, 60))
def test_trimming_keeps_whole_turns_the_beginning_and_the_closing_token(talk: list[Utterance], max_tokens: int) -> None:
    ids = DIALECT.encode(talk, max_tokens)
    assert len(ids) <= max_tokens
    assert (ids[0], ids[-1]) == (BOS, SP2)
    whole = [DIALECT.encode(talk[start:], PLENTY) for start in range(len(talk))]
    fitting = [context for context in whole if len(context) <= max_tokens]
    if fitting:
        assert ids == fitting[0]
    else:  # the last turn alone is too long: its speaker and its end stay
        assert len(ids) == max_tokens
        assert ids[1] == whole[-1][1]
        assert ids[2:] == whole[-1][len(whole[-1]) - max_tokens + 2 :]


@pytest.mark.parametrize("talk", [[], [Utterance(1, "hello")]])
def test_nothing_to_write_or_no_room_for_it_is_refused(talk: list[Utterance]) -> None:
    with pytest.raises(ValueError, match="context"):
        DIALECT.encode(talk, 2)


# --- training -----------------------------------------------------------------------------------------------------


def dialogues() -> list[list[Utterance]]:
    return [
        [Utterance(BOT if number % 2 else 1, text) for number, text in enumerate(dialogue)]
        for dialogue in GOLDEN["training"]["dialogues"]
    ]


def examples_of(run: dict[str, Any]) -> list[TrainingExample]:
    return [
        example for dialogue in dialogues() for example in DIALECT.examples(dialogue, run["max_turns"], run["max_len"])
    ]


def padded(rows: list[tuple[int, ...]], filler: int) -> list[list[int]]:
    longest = max(map(len, rows))
    return [[*row, *[filler] * (longest - len(row))] for row in rows]


@pytest.mark.parametrize("run", GOLDEN["training"]["runs"], ids=lambda run: f"{run['max_turns']}-{run['max_len']}")
def test_training_examples_and_their_loss_are_the_originals(generator: Decoder, run: dict[str, Any]) -> None:
    examples = examples_of(run)
    assert [
        {"input_ids": list(e.input_ids), "token_type_ids": list(e.type_ids or ()), "labels": list(e.labels)}
        for e in examples
    ] == run["examples"]

    batch = run["batch_of_first_3"]
    ids = padded([example.input_ids for example in examples[:3]], EOS)
    types = padded([example.type_ids or () for example in examples[:3]], EOS)
    labels = padded([example.labels for example in examples[:3]], IGNORED)
    assert (ids, types, labels) == (batch["input_ids"], batch["token_type_ids"], batch["labels"])
    assert isinstance(generator.model, CausalModel)
    with torch.inference_mode():
        loss = generator.model.network(
            input_ids=torch.tensor(ids), token_type_ids=torch.tensor(types), labels=torch.tensor(labels)
        ).loss
    assert float(loss) == pytest.approx(batch["loss"], abs=1e-4)


def test_the_data_files_hold_what_the_tokenizer_makes_of_the_dialogues() -> None:
    texts = json.loads((FOLDER / "train_utters.json").read_text(encoding="utf-8"))
    ids = json.loads((FOLDER / "train_ids.json").read_text(encoding="utf-8"))
    assert [[TOKENIZER.encode(text) for text in dialogue] for dialogue in texts] == ids


def test_one_example_learns_the_last_reply_alone() -> None:
    talk = [Utterance(1, "ok"), Utterance(BOT, "x"), Utterance(1, "ok"), Utterance(BOT, "really?"), Utterance(1, "ok")]
    example = DIALECT.example(talk, {BOT}, PLENTY)
    reply = (*TOKENIZER.encode("really?"), EOS)
    assert example.input_ids[-len(reply) :] == reply
    assert example.labels == (IGNORED,) * (len(example.labels) - len(reply)) + reply


@pytest.mark.parametrize("talk", [[], [Utterance(1, "a"), Utterance(2, "b")], [Utterance(BOT, "hello")]])
def test_without_a_reply_to_somebody_there_is_nothing_to_learn(talk: list[Utterance]) -> None:
    assert DIALECT.example(talk, {BOT}, PLENTY).input_ids == ()


# --- other files of the same system -------------------------------------------------------------------------------


def answer(folder: Path) -> list[int]:
    loaded = load_generator(str(folder), device="cpu", dtype="float32")
    assert isinstance(loaded, Decoder)
    return loaded.write(ANSWERED[0].request, likeliest=True, watched=0).tokens


def training_checkpoint(folder: Path) -> Path:
    """What the original's trainer writes: the state among other things, its loss a number of numpy's."""
    state = torch.load(folder / "pytorch_model.bin", weights_only=True)
    file = folder / "best_ckpt_epoch=3_valid_loss=2.1.ckpt"
    others = {"optim_state_dict": {"state": {}, "param_groups": []}, "sched_state_dict": {"last_epoch": 3}}
    torch.save({"model_state_dict": state, **others, "loss": np.float64(2.1), "epoch": 3}, file)
    (folder / "pytorch_model.bin").unlink()
    return file


def test_the_trainers_own_checkpoint_answers_alike(tmp_path: Path) -> None:
    folder = shutil.copytree(FOLDER, tmp_path / "trained")
    file = training_checkpoint(folder)
    assert answer(file) == answer(folder) == answer(FOLDER)


def test_of_several_training_checkpoints_one_must_be_named(tmp_path: Path) -> None:
    folder = shutil.copytree(FOLDER, tmp_path / "trained")
    shutil.copy(training_checkpoint(folder), folder / "other.ckpt")
    with pytest.raises(CheckpointError, match=r"Name one of them: .*other\.ckpt"):
        open_checkpoint(str(folder))


@pytest.mark.parametrize(
    ("missing", "complaint"), [("config.json", "weights alone"), ("special_tokens_map.json", "no GPT-2 with speaker")]
)
def test_a_training_checkpoint_without_its_model_says_what_it_needs(
    tmp_path: Path, missing: str, complaint: str
) -> None:
    folder = shutil.copytree(FOLDER, tmp_path / "trained")
    file = training_checkpoint(folder)
    (folder / missing).unlink()
    (folder / "added_tokens.json").unlink()
    with pytest.raises(CheckpointError, match=complaint):
        open_checkpoint(str(file))


def test_the_layout_tokens_may_have_other_names(tmp_path: Path) -> None:
    folder = shutil.copytree(FOLDER, tmp_path / "renamed")
    for name in ("added_tokens.json", "special_tokens_map.json"):
        text = (folder / name).read_text(encoding="utf-8")
        for old, new in (("<bos>", "<s>"), ("<sp1>", "<user>"), ("<sp2>", "<bot>")):
            text = text.replace(old, new)
        (folder / name).write_text(text, encoding="utf-8")
    assert answer(folder) == answer(FOLDER)
    dialect = Devjwsong(open_checkpoint(str(folder)).read_tokenizer())
    assert [i for i in dialect.encode([Utterance(1, "<user><bot><s>")], PLENTY) if i in dialect.control_ids] == [
        BOS,
        SP1,
        SP2,
    ]


def test_a_saved_tokenizer_keeps_the_names_of_its_tokens(tmp_path: Path) -> None:
    folder = shutil.copytree(FOLDER, tmp_path / "saved")
    for name in ("vocab.json", "merges.txt", "added_tokens.json", "special_tokens_map.json", "tokenizer_config.json"):
        (folder / name).unlink()
    TOKENIZER.save(folder)
    assert open_checkpoint(str(folder)).dialect == "devjwsong"
    assert answer(folder) == answer(FOLDER)


def test_a_tokenizer_without_the_layout_tokens_is_refused(tmp_path: Path) -> None:
    folder = shutil.copytree(FOLDER, tmp_path / "plain")
    for name in ("added_tokens.json", "special_tokens_map.json", "tokenizer_config.json"):
        (folder / name).unlink()
    assert open_checkpoint(str(folder)).dialect == "dialogpt"
    with pytest.raises(CheckpointError, match="<bos>"):
        load_generator(str(folder), dialect="devjwsong", device="cpu")
