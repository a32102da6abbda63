"""`banter model trace`: what it reads, what it shows, and what it says when something is wrong."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from transformers import GPT2LMHeadModel

from bot.cli import main
from bot.exits import Exit
from bot.generator.decoding import Decoding
from bot.generator.dialects.base import Habits
from bot.trace.errors import TraceError
from bot.trace.reading import Case, Choice, Session, read_tasks
from bot.trace.settings import Settings, habitual
from tests.unit.generator.conftest import END, POSITIONS, tiny_model, write_checkpoint

HABITS = Habits(decoding=Decoding(), turns=3)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("traced"), tiny_model())


def written(directory: Path, content: object, name: str = "turns.json") -> Path:
    file = directory / name
    file.write_text(json.dumps(content), encoding="utf-8")
    return file


def run(checkpoint: Path | str, turns: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["model", "trace", str(checkpoint), "--turns", str(turns), *arguments])


def traced(checkpoint: Path, directory: Path, content: object, *arguments: str) -> Any:
    result = run(checkpoint, written(directory, content), "--json", *arguments)
    assert result.exit_code == Exit.OK, result.output
    return json.loads(result.stdout)


def settings_file(directory: Path, **words: Any) -> tuple[str, str]:
    return "--decoding", str(written(directory, words, "settings.json"))


def generated(checkpoint: Path, ids: list[int], **settings: Any) -> list[list[int]]:
    model: Any = GPT2LMHeadModel.from_pretrained(checkpoint).eval()
    rows = model.generate(
        torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long), pad_token_id=END, **settings
    ).tolist()
    return [row[len(ids) :] for row in rows]


def test_what_is_seen_is_what_the_library_computes(checkpoint: Path, tmp_path: Path) -> None:
    case = traced(checkpoint, tmp_path, ["hi", "how are you?"])["cases"][0]
    model = GPT2LMHeadModel.from_pretrained(checkpoint).eval()
    with torch.inference_mode():
        logits = model(torch.tensor([case["input_ids"]])).logits[0, -1]
    assert case["input_ids"].count(END) == 2
    assert case["pieces"][-1] == "<|endoftext|>"
    assert case["logits_last"]["first16"] == pytest.approx(logits[:16].tolist(), abs=2e-4)
    assert case["logits_last"]["argmax"] == int(logits.argmax())
    assert case["logits_last"]["logsumexp"] == pytest.approx(float(logits.logsumexp(dim=0)), abs=2e-4)
    assert case["position_ids"] == list(range(len(case["input_ids"])))
    assert case["attention_mask"] == [1] * len(case["input_ids"])


@pytest.mark.parametrize(
    "words",
    [
        {"max_length": 40},
        {"max_length": 40, "repetition_penalty": 1.4},
        {"max_new_tokens": 15, "no_repeat_ngram_size": 2},
        {"max_new_tokens": 12, "num_beams": 4, "num_return_sequences": 3, "length_penalty": 0.5},
        {
            "max_new_tokens": 12,
            "num_beams": 3,
            "repetition_penalty": 1.3,
            "no_repeat_ngram_size": 2,
            "do_sample": False,
        },
    ],
)
def test_settings_in_the_librarys_words_give_its_replies(
    checkpoint: Path, tmp_path: Path, words: dict[str, Any]
) -> None:
    """The engine spares the end of a reply from penalties; a trace does as transformers' generate."""
    searched = "num_beams" in words
    mode = "beam" if searched else "filtered"
    case = traced(checkpoint, tmp_path, ["hi"], *settings_file(tmp_path, **words), "--mode", mode)["cases"][0]
    expected = generated(checkpoint, case["input_ids"], **{"do_sample": False, **words})
    said = case[mode]["reply_ids"] if searched else [case[mode]["reply_ids"]]
    assert [row[: len(expected[0])] for row in said[: len(expected)]] == expected


def test_the_log_probability_is_the_models_own(checkpoint: Path, tmp_path: Path) -> None:
    words = {"max_new_tokens": 8, "temperature": 0.5, "repetition_penalty": 1.5, "top_k": 5}
    case = traced(checkpoint, tmp_path, ["hi"], *settings_file(tmp_path, **words))["cases"][0]
    said = case["filtered"]
    model = GPT2LMHeadModel.from_pretrained(checkpoint).eval()
    with torch.inference_mode():
        log_probs = model(torch.tensor([said["output_ids"]])).logits[0].log_softmax(dim=-1)
    start = len(case["input_ids"]) - 1
    expected = sum(log_probs[start + n, token].item() for n, token in enumerate(said["reply_ids"]))
    assert said["log_prob"] == pytest.approx(expected, abs=1e-3)


def test_kept_steps_are_what_the_filters_left(checkpoint: Path, tmp_path: Path) -> None:
    case = traced(checkpoint, tmp_path, ["hi"], *settings_file(tmp_path, temperature=0.7, topk=5))["cases"][0]
    steps = case["filtered"]["kept_steps"]
    assert [step["kept"] for step in steps] == [5, 5, 5]
    model = GPT2LMHeadModel.from_pretrained(checkpoint).eval()
    with torch.inference_mode():
        logits = model(torch.tensor([case["input_ids"]])).logits[0, -1] / 0.7
    values, ids = logits.topk(5)
    assert steps[0]["ids"] == ids.tolist()
    assert steps[0]["probs"] == pytest.approx(values.softmax(dim=0).tolist(), abs=1e-4)
    assert [step["ids"][0] for step in steps] == case["filtered"]["reply_ids"][:3]


def test_without_filters_the_likeliest_are_listed_and_all_are_counted(checkpoint: Path, tmp_path: Path) -> None:
    step = traced(checkpoint, tmp_path, ["hi"])["cases"][0]["filtered"]["kept_steps"][0]
    assert len(step["ids"]) == len(step["probs"]) < step["kept"] == 420


def test_a_sample_hangs_on_its_seed(checkpoint: Path, tmp_path: Path) -> None:
    words = settings_file(tmp_path, temperature=1.5, max_new_tokens=12)

    def drawn(seed: int) -> Any:
        arguments = ("--mode", "sample", "--seed", str(seed))
        return traced(checkpoint, tmp_path, ["hi"], *words, *arguments)["cases"][0]["sample"]

    assert drawn(1) == drawn(1)
    assert drawn(1)["reply_ids"] != drawn(2)["reply_ids"]


def test_a_talk_feeds_the_models_replies_back(checkpoint: Path, tmp_path: Path) -> None:
    talk = {"user_turns": ["hi", "and you?"], "options": {"max_length": 40}}
    first, second = traced(checkpoint, tmp_path, talk)["sessions"][0]["turns"]
    ours = traced(checkpoint, tmp_path, [["and you?"]])["cases"][0]["input_ids"]
    assert second["input_ids"] == [*first["input_ids"], *first["reply_ids"], *ours]


def test_a_talk_goes_on_through_a_turn_that_cannot_be_answered(checkpoint: Path, tmp_path: Path) -> None:
    talk = {"turns": [{"user": "hi"}, {"user": "a " * POSITIONS}, {"user": "b"}], "options": {"max_len": 5, "turns": 1}}
    turns = traced(checkpoint, tmp_path, talk)["sessions"][0]["turns"]
    assert ["error" in turn for turn in turns] == [False, True, False]
    assert turns[1]["reply"] == ""


def test_what_does_not_fit_is_refused_unless_it_may_be_trimmed(checkpoint: Path, tmp_path: Path) -> None:
    turns = [["long " * POSITIONS, "hello", "hi"], ["hi"]]
    long, short = traced(checkpoint, tmp_path, turns)["cases"]
    assert "error" in long
    assert "logits_last" not in long
    assert "error" not in short
    trimmed = traced(checkpoint, tmp_path, turns, "--trim")["cases"][0]
    assert "error" not in trimmed
    assert trimmed["input_ids"][-len(short["input_ids"]) :] == short["input_ids"]
    assert trimmed["input_ids"].count(END) == 2


def test_a_context_without_room_for_a_reply_still_shows_its_scores(checkpoint: Path, tmp_path: Path) -> None:
    turns = written(tmp_path, [{"input_ids": [5, 6, 7], "options": {"max_length": 3}}])
    result = run(checkpoint, turns, "--json")
    assert result.exit_code == Exit.FAILED, "nothing in it was answered"
    case = json.loads(result.stdout)["cases"][0]
    assert case["logits_last"]["argmax"] >= 0
    assert "no room" in case["greedy"]["error"]


@pytest.mark.parametrize(("preset", "candidates"), [("original", 1), ("banter", 16)])
def test_a_decoding_section_of_the_configuration_is_understood(
    checkpoint: Path, tmp_path: Path, preset: str, candidates: int
) -> None:
    record = traced(checkpoint, tmp_path, ["hi"], *settings_file(tmp_path, preset=preset, top_k=5))
    assert (record["decoding"]["candidates"], record["decoding"]["top_k"]) == (candidates, 5)


def test_the_listing_shows_ids_scores_and_replies(checkpoint: Path, tmp_path: Path) -> None:
    content = [["hi"], {"user_turns": ["hello"]}, ["x" * 400]]
    result = run(checkpoint, written(tmp_path, content), *settings_file(tmp_path, num_beams=2, max_length=20))
    assert result.exit_code == Exit.OK
    for part in ("dialogpt", "'hi'", "logits", "greedy:", "filtered:", "beam:", "step 1:", "reply", "ERROR"):
        assert part in result.stdout


def test_dialogrpts_searches_have_their_own_settings(checkpoint: Path, tmp_path: Path) -> None:
    case = traced(checkpoint, tmp_path, {"cxt": " hi <|endoftext|>you"}, "--mode", "dialogrpt")["cases"][0]
    assert case["context"] == ["hi", "you"]
    assert set(case["dialogrpt"]) == {"beam", "sampling"}
    assert all(0 < probability <= 1 for probability, _ in case["dialogrpt"]["sampling"]["finished"])


def test_what_a_reverse_model_is_needed_for_says_so(checkpoint: Path, tmp_path: Path) -> None:
    choice = {"history": ["hi"], "candidates": [{"candidate_ids": [5]}], "max_history_len": 2}
    result = run(checkpoint, written(tmp_path, {"mmi_candidate_cases": [choice], "cases": [["hi"]]}), "--json")
    assert result.exit_code == Exit.OK
    assert "--mmi" in json.loads(result.stdout)["mmi_candidate_cases"][0]["error"]


def test_a_trace_in_which_nothing_worked_has_failed(checkpoint: Path, tmp_path: Path) -> None:
    assert run(checkpoint, written(tmp_path, ["a " * POSITIONS])).exit_code == Exit.FAILED


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "nothing to trace"),
        ({}, "nothing to trace"),
        ({"contxt": ["a"]}, "Did you mean context"),
        ([["a"], 5], r"\[1\]"),
        ({"context": ["a", 5]}, "list of texts"),
        ({"cxt": 5}, "must be a text"),
        ({"input_ids": ["a"]}, "list of token ids"),
        ({"user_turns": [5]}, "list of texts"),
        ({"context": ["a"], "options": 5}, "must be an object"),
        ({"context": ["a"], "options": {"top_kk": 5}}, "Did you mean top_k"),
        ({"context": ["a"], "options": {"top_k": -5}}, "top_k"),
        ({"context": ["a"], "options": {"max_turns": "x"}}, "max_turns is 'x'"),
        ({"context": ["a"], "runs": {"one": 5}}, "object of objects"),
        ({"cases": 5}, "must be a list"),
        ({"mmi_candidate_cases": [{"history": ["a"]}]}, "candidates must be a list"),
    ],
)
def test_mistakes_in_the_turns_name_file_and_place(
    checkpoint: Path, tmp_path: Path, content: object, message: str
) -> None:
    turns = written(tmp_path, content)
    result = run(checkpoint, turns)
    assert result.exit_code == Exit.CONFIG
    assert str(turns) in result.stderr
    assert re.search(message, result.stderr)
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("text", "message"), [("{", "no JSON"), ("[1]", "object"), ('{"tempretaure": 1}', "Did you mean temperature")]
)
def test_mistakes_in_the_settings_name_their_file(checkpoint: Path, tmp_path: Path, text: str, message: str) -> None:
    settings = tmp_path / "settings.json"
    settings.write_text(text, encoding="utf-8")
    result = run(checkpoint, written(tmp_path, ["hi"]), "--decoding", str(settings))
    assert result.exit_code == Exit.CONFIG
    assert str(settings) in result.stderr
    assert message in result.stderr


def test_files_that_are_not_there_are_named(checkpoint: Path, tmp_path: Path) -> None:
    missing = run(checkpoint, tmp_path / "none.json")
    assert missing.exit_code == Exit.CONFIG
    assert "none.json" in missing.stderr
    model = run(tmp_path / "nowhere", written(tmp_path, ["hi"]))
    assert model.exit_code == Exit.CONFIG
    assert "nowhere" in model.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ({"topk": 7, "topp": 0, "max_len": 9}, {"top_k": 7, "top_p": 1.0, "max_new_tokens": 9}),
        ({"decoding_method": "beam_search", "num_beams": 3}, {"search": "beam", "beams": 3}),
        ({"decoding_method": "top_p"}, {"search": "sampling"}),
        ({"num_beams": 1}, {"search": "sampling", "beams": 1}),
        ({"beam": 4, "max_t": 30, "n_hyp": 6}, {"beams": 4, "max_new_tokens": 30, "candidates": 6}),
        ({"max_length": 60}, {"max_length": 60, "max_new_tokens": 1024}),
        ({"max_length": 60, "max_len": 5}, {"max_length": 60, "max_new_tokens": 5}),
    ],
)
def test_words_of_the_originals_become_ours(words: dict[str, Any], expected: dict[str, Any]) -> None:
    decoding = habitual(HABITS).changed(words, "here").decoding
    assert {name: getattr(decoding, name) for name in expected} == expected


def test_limits_of_turns_are_read_as_each_program_means_them() -> None:
    def turns(**words: Any) -> int | None:
        return habitual(HABITS).changed(words, "here").turns

    assert turns() == 3
    assert turns(max_history_len=5) == 5
    assert turns(max_turns=5) == 4  # devjwsong's program drops as soon as there are so many
    assert turns(turns=0) is None
    with pytest.raises(TraceError, match="from 2 on"):
        turns(max_turns=1)


def test_later_settings_win_over_earlier_ones() -> None:
    settings: Settings = habitual(HABITS).changed({"topk": 5, "max_len": 9}, "file").changed({"top_k": 6}, "case")
    assert (settings.decoding.top_k, settings.decoding.max_new_tokens) == (6, 9)


def test_every_form_of_turns_is_understood(tmp_path: Path) -> None:
    forms = [
        ["a", "b"],
        {"turns": ["a"], "persona": ["I am a bot."]},
        {"user_turns": ["a"], "options": {"max_turns": 5}},
        {"steps": [{"user": "a"}], "max_length": 20, "id": "mine"},
    ]
    plain, with_persona, talk, steps = read_tasks(written(tmp_path, forms))
    assert isinstance(plain, Case)
    assert plain.turns == ("a", "b")
    assert isinstance(with_persona, Case)
    assert with_persona.persona == ("I am a bot.",)
    assert isinstance(talk, Session)
    assert talk.options == {"max_turns": 5}
    assert isinstance(steps, Session)
    assert (steps.id, steps.options) == ("mine", {"max_length": 20})
    (choice,) = read_tasks(
        written(tmp_path, {"mmi_candidate_cases": [{"history": ["a"], "candidates": [[1], {"candidate_ids": [2]}]}]})
    )
    assert isinstance(choice, Choice)
    assert choice.candidates == ((1,), (2,))


def test_the_group_lists_its_commands() -> None:
    result = CliRunner().invoke(main, ["model", "--help"])
    assert result.exit_code == Exit.OK
    assert all(name in result.stdout for name in ("inspect", "convert", "trace"))
