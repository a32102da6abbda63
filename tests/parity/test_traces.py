"""`banter model trace` shows the numbers that the original programs wrote down, for every case that they recorded."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from bot.cli import main
from bot.trace.reading import read_json
from tests.parity import chat_models
from tests.parity.differences import CHECKPOINTS, HERE, Found, measured, pingpong_case, table

LEAST = {
    "dialogpt": 50,
    "dialogrpt": 80,
    "gpt2-chitchat": 600,
    "devjwsong": 300,
    "pingpong-gpt": 200,
    "pingpong-meena": 150,
}
"""So many values are compared at least: a comparison that finds nothing to compare would pass as well."""


def traced(path: Path, turns: Path, *arguments: str) -> Any:
    result = CliRunner().invoke(main, ["model", "trace", str(path), "--turns", str(turns), "--json", *arguments])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.mark.parametrize("system", CHECKPOINTS)
def test_a_trace_equals_what_the_original_recorded(system: str) -> None:
    found = measured(system)
    assert found.unequal == []
    assert found.compared >= LEAST[system]


def test_the_table_has_a_row_for_every_system() -> None:
    rows = list(table())
    assert len(rows) == 2 + len(CHECKPOINTS)
    assert all(row.count("|") == rows[0].count("|") for row in rows)


def test_the_decoders_positions_follow_those_of_the_encoder(tmp_path: Path) -> None:
    config = read_json(HERE / "pingpong-meena" / "config.json")
    record = traced(HERE / "pingpong-meena", written(tmp_path, ["안녕"]), "--mode", "greedy")["cases"][0]
    assert record["position_ids"] == list(range(len(record["input_ids"])))
    assert record["decoder_input_ids"] == [config["bos_token_id"]]
    assert record["decoder_position_ids"] == [config["max_encoder_length"]]


@pytest.mark.parametrize("system", ["pingpong-gpt", "pingpong-meena"])
def test_ids_that_a_person_could_not_type_are_traced_as_they_are(system: str, tmp_path: Path) -> None:
    """A recorded case has [SEPT] inside a turn. As text it stays text, so its ids are given instead."""
    recorded = [
        case for case in read_json(HERE / system / "golden.json")["cases"] if "[SEPT]" in "".join(case["context"])
    ]
    assert recorded
    keys = ("id", "input_ids", "runs", "teacher_forced")
    given = [{key: case[key] for key in keys if key in case} for case in recorded]
    record = traced(HERE / CHECKPOINTS[system], written(tmp_path, given))
    found = Found()
    for mine, case in zip(record["cases"], recorded, strict=True):
        pingpong_case(found, "typed", mine, {**case, "context": []})
    assert found.unequal == []
    assert found.compared > 15


def written(directory: Path, content: object) -> Path:
    file = directory / "turns.json"
    file.write_text(json.dumps(content), encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("system", "context", "words"),
    [
        ("gpt2-chitchat", ["你好"], {"topk": 5, "topp": 0.8, "repetition_penalty": 1.5, "max_len": 10}),
        ("devjwsong", ["how are you?"], {"max_turns": 3, "top_p": 0.5}),
        ("pingpong-gpt", ["안녕"], {"max_length": 27, "decoding_method": "beam_search"}),
        ("dialogpt", ["how are you?"], {"num_beams": 3, "max_length": 30}),
    ],
)
def test_settings_may_come_from_a_file_or_with_the_case(
    system: str, context: Sequence[str], words: dict[str, Any], tmp_path: Path
) -> None:
    settings = tmp_path / "settings.json"
    settings.write_text(json.dumps(words), encoding="utf-8")
    from_file = traced(HERE / CHECKPOINTS[system], written(tmp_path, context), "--decoding", str(settings))
    beside = traced(HERE / CHECKPOINTS[system], written(tmp_path, {"context": context, "options": words}))
    plain = traced(HERE / CHECKPOINTS[system], written(tmp_path, context))
    assert from_file["cases"][0] == {**beside["cases"][0], "id": from_file["cases"][0]["id"]}
    assert from_file["cases"][0]["filtered"] != plain["cases"][0]["filtered"] or "beam" in from_file["cases"][0]


def test_a_chat_model_is_traced_as_its_library_writes_and_searches(tmp_path: Path) -> None:
    folder = chat_models.write(tmp_path / "chatml", "chatml")
    words = {"num_beams": 3, "num_return_sequences": 2, "max_new_tokens": 8, "repetition_penalty": 1.2}
    turns = written(tmp_path, {"context": ["hi"], "persona": ["You are kind."], "options": words})
    case = traced(folder, turns, "--mode", "beam")["cases"][0]
    library = chat_models.tokenizer("chatml")
    messages = [{"role": "system", "content": "You are kind."}, {"role": "user", "content": "hi"}]
    expected = library.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert case["input_ids"] == expected
    assert case["pieces"] == library.convert_ids_to_tokens(expected)
    network = chat_models.network()
    with torch.inference_mode():
        rows = network.generate(
            torch.tensor([expected]), attention_mask=torch.ones(1, len(expected)), do_sample=False, **words
        )
    assert case["beam"]["sequences"] == rows.tolist()


def test_a_reply_and_talk_too_long_for_the_reverse_model_are_an_error_of_that_turn(tmp_path: Path) -> None:
    project = HERE / "gpt2-chitchat"
    long = {"history": ["好" * 300], "max_history_len": 5, "candidates": [[5, 6]]}
    short = {**long, "history": ["好"]}
    record = traced(project, written(tmp_path, {"mmi_candidate_cases": [long, short]}))
    failed, judged = record["mmi_candidate_cases"]
    assert "305 tokens" in failed["error"]
    assert judged["chosen_index"] == 0


def test_messages_with_roles_say_who_spoke(tmp_path: Path) -> None:
    said = [("user", "how are you?"), ("user", "hello"), ("assistant", "ok"), ("user", "why")]
    messages = [{"role": role, "content": text} for role, text in said]
    (case,) = traced(HERE / "devjwsong", written(tmp_path, messages), "--mode", "greedy")["cases"]
    special = read_json(HERE / "devjwsong" / "golden.json")["special_ids"]
    speakers = [token for token in case["input_ids"] if token in (special["sp1"], special["sp2"])]
    assert speakers == [special[name] for name in ("sp1", "sp1", "sp2", "sp1", "sp2")]
    assert case["context"] == [text for _, text in said]


def test_messages_without_roles_take_turns_and_a_system_message_is_the_persona(tmp_path: Path) -> None:
    plain = traced(HERE / "devjwsong", written(tmp_path, ["hi", "ok", "why"]), "--mode", "greedy")["cases"][0]
    said = {"turns": [{"text": "hi"}, {"text": "ok"}, {"text": "why"}]}
    assert traced(HERE / "devjwsong", written(tmp_path, said), "--mode", "greedy")["cases"][0] == plain
    folder = chat_models.write(tmp_path / "chatml", "chatml")
    system = [{"role": "system", "content": "You are kind."}, {"role": "user", "content": "hi"}]
    case = traced(folder, written(tmp_path, {"messages": system}), "--mode", "greedy")["cases"][0]
    expected = chat_models.tokenizer("chatml").apply_chat_template(
        system, add_generation_prompt=True, return_dict=False
    )
    assert case["input_ids"] == expected


@pytest.mark.parametrize(
    ("turns", "complaint"),
    [
        ([{"role": "narrator", "content": "hi"}], "user, assistant or system"),
        ({"messages": [{"role": "user", "content": "hi"}, {"content": "ok"}]}, "messages[1]"),
        ({"turns": [{"text": "hi"}, "ok"]}, "turns[1]"),
        ({"user_turns": "hi"}, "list of texts"),
    ],
)
def test_turns_of_no_known_form_are_told_what_is(turns: Any, complaint: str, tmp_path: Path) -> None:
    file = written(tmp_path, turns)
    result = CliRunner().invoke(main, ["model", "trace", str(HERE / "devjwsong"), "--turns", str(file)])
    assert result.exit_code == 2
    assert complaint in result.output


def test_ids_that_no_tokenizer_knows_are_an_error_of_their_case(tmp_path: Path) -> None:
    file = written(tmp_path, [{"input_ids": [-1]}, {"input_ids": [1 << 40]}])
    result = CliRunner().invoke(main, ["model", "trace", str(HERE / "devjwsong"), "--turns", str(file), "--json"])
    assert result.exit_code == 1
    assert all("vocabulary" in case["error"] for case in json.loads(result.stdout)["cases"])


def test_the_exit_code_says_when_nothing_could_be_answered(tmp_path: Path) -> None:
    system = HERE / "pingpong-gpt"
    full, short = {"input_ids": [2, *[7] * 60]}, {"input_ids": [2, 7]}  # 48 ids are the most that its program takes
    file = written(tmp_path, [full])
    result = CliRunner().invoke(main, ["model", "trace", str(system), "--turns", str(file), "--json"])
    assert result.exit_code == 1
    assert "no room for a reply" in json.loads(result.stdout)["cases"][0]["greedy"]["error"]
    assert "greedy" in traced(system, written(tmp_path, [full, short]), "--mode", "greedy")["cases"][1]
