"""DialogRPT's heads, ensembles, generator and mixing against the numbers of the original's code."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from ruamel.yaml import YAML

from bot.cli import main
from bot.generator.decoder import Decoder
from bot.generator.dialects.base import Utterance
from bot.generator.errors import CheckpointError
from bot.generator.formats.registry import open_checkpoint
from bot.generator.models.base import Prompt
from bot.generator.ranking.ensemble import Ensemble, load_ensemble
from bot.generator.ranking.ranker import load_ranker
from bot.generator.search.dialogrpt import Hypothesis, clean_up, dialogrpt_beam, dialogrpt_sampling

HERE = Path(__file__).parent / "dialogrpt"
RESTORE = HERE / "restore"
GOLDEN: dict[str, Any] = json.loads((HERE / "golden.json").read_text(encoding="utf-8"))
ALL_TURNS = [case for case in GOLDEN["scoring_cases"] if case["max_cxt_turn"] is None]
HEADS = ("human_vs_rand", "human_vs_machine", "updown", "depth", "width")
CLOSE = 1e-4


@pytest.fixture(scope="module")
def ensemble() -> Ensemble:
    return load_ensemble(RESTORE / "ensemble.yml", device="cpu")


@pytest.fixture(scope="module")
def generator() -> Decoder:
    return Decoder.load(open_checkpoint(str(RESTORE / "medium_ft.pkl")), dialect="auto", device="cpu", dtype="auto")


def kept(case: dict[str, Any]) -> list[str]:
    turns: list[str] = case["turns"]
    return turns[-case["max_cxt_turn"] :] if case["max_cxt_turn"] else turns


def banter(*arguments: object) -> Result:
    result = CliRunner().invoke(main, ["score", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result


def write_ensemble(folder: Path, content: object) -> Path:
    file = folder / "ensemble.yml"
    with file.open("w") as stream:
        YAML().dump(content, stream)
    return file


# Heads


@pytest.mark.parametrize("case", GOLDEN["scoring_cases"], ids=lambda case: case["id"])
def test_a_case_gives_the_originals_ids_scores_and_ranking(ensemble: Ensemble, case: dict[str, Any]) -> None:
    pairs = [(kept(case), reply) for reply in case["hyps"]]
    scores = ensemble.score_all(pairs)
    assert list(scores) == [*HEADS, "final"]
    for name, expected in case["ensemble"].items():
        assert scores[name] == pytest.approx(expected, abs=CLOSE)
    final = scores["final"]
    assert sorted(range(len(final)), key=lambda n: -final[n]) == case["ranking_by_final"]
    for name, head in ensemble.heads.items():
        rows = [head.encode(*pair) for pair in pairs]
        assert rows == [ids[:length] for ids, length in zip(case["batch_ids"], case["lengths"], strict=True)]
        assert head.logits(rows) == pytest.approx(case["head_logits"][name], abs=2e-4)


def test_more_replies_than_a_batch_holds_score_as_the_originals_do(ensemble: Ensemble) -> None:
    case = GOLDEN["more_than_32_hyps"]
    scores = ensemble.score([((case["cxt"],), reply) for reply in case["hyps"]])
    assert scores == pytest.approx(case["final"], abs=CLOSE)


def test_a_context_that_is_too_long_is_shortened_where_the_original_fails(ensemble: Ensemble) -> None:
    case = GOLDEN["overlong"]
    turns = case["cxt"].split("<|endoftext|>")
    assert ensemble.score([(turns[-2:], case["hyp"])]) == pytest.approx(case["with_max_cxt_turn_2_final"], abs=CLOSE)
    head = ensemble.heads["updown"]
    assert head.is_too_long(turns, case["hyp"])
    assert not head.is_too_long(turns[-2:], case["hyp"])
    ids = head.encode(turns, case["hyp"])
    longer = head.encode(turns[-2:], case["hyp"])
    assert len(longer) < len(ids) <= head.limit
    assert ids[-len(longer) :] == longer


def test_a_generator_file_can_be_read_as_a_head() -> None:
    head = load_ranker(str(RESTORE / "medium_ft.pkl"), name="likeable")
    for case, expected in zip(ALL_TURNS, GOLDEN["pkl_as_scorer_for_first_3_contexts_turnsNone"], strict=False):
        assert head.score([(case["turns"], reply) for reply in case["hyps"]]) == pytest.approx(expected, abs=CLOSE)


# Ensembles


@pytest.mark.parametrize("variant", GOLDEN["ensemble_variants"], ids=lambda variant: str(len(variant["ensemble"])))
def test_shortened_ensembles_score_as_the_originals_do(tmp_path: Path, variant: dict[str, Any]) -> None:
    (tmp_path / "restore").symlink_to(RESTORE)
    for name in ("config.json", "vocab.json", "merges.txt"):
        (tmp_path / name).symlink_to(HERE / name)
    ensemble = load_ensemble(write_ensemble(tmp_path, variant["ensemble"]), device="cpu")
    finals = variant["final_for_first_3_contexts_turnsNone"]
    for case, expected in zip(ALL_TURNS, finals, strict=False):
        assert ensemble.score([(case["turns"], reply) for reply in case["hyps"]]) == pytest.approx(expected, abs=CLOSE)


def test_a_directory_stands_for_its_only_ensemble(ensemble: Ensemble) -> None:
    for path in (RESTORE / "ensemble.yml", RESTORE, HERE):
        assert load_ranker(str(path), name="final").revision == ensemble.revision


UPDOWN = {"name": "updown", "wt": 1, "path": str(RESTORE / "updown.pth")}


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ([1], "the keys prior and cond"),
        ({"prior": []}, "names no head"),
        ({"pior": [UPDOWN]}, "no key 'pior'.*Did you mean prior"),
        ({"cond": {"updown": 1}}, "cond is no list"),
        ({"cond": ["updown"]}, r"cond\[0\] is no entry"),
        ({"cond": [{"name": "updown", "wt": 1}]}, r"cond\[0\] has no path"),
        ({"cond": [{**UPDOWN, "wt": "much"}]}, r"cond\[0\]\.wt is 'much'.*number"),
        ({"cond": [{**UPDOWN, "name": "final"}]}, r"cond\[0\]\.name is 'final'"),
        ({"prior": [UPDOWN, {**UPDOWN, "name": "b", "wt": -1}]}, "prior: .*sum to 0"),
        ({"prior": [UPDOWN], "cond": [UPDOWN]}, "two heads of the name 'updown'"),
    ],
)
def test_what_is_wrong_with_an_ensemble_is_named(tmp_path: Path, content: object, complaint: str) -> None:
    file = write_ensemble(tmp_path, content)
    with pytest.raises(CheckpointError, match=f"(?s){file.name}.*{complaint}"):
        load_ensemble(file)


def test_both_places_of_a_missing_head_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "deep"
    folder.mkdir()
    file = write_ensemble(folder, {"prior": [{**UPDOWN, "path": "restore/updown.pth"}]})
    with pytest.raises(CheckpointError, match=rf"{folder}/restore/updown\.pth nor {tmp_path}/restore/updown\.pth"):
        load_ensemble(file)


def test_a_file_that_is_no_yaml_or_not_there_is_named(tmp_path: Path) -> None:
    file = tmp_path / "ensemble.yml"
    with pytest.raises(CheckpointError, match=r"ensemble\.yml: cannot be read"):
        load_ensemble(file)
    file.write_text("prior: [")
    with pytest.raises(CheckpointError, match=r"ensemble\.yml: this is no YAML"):
        load_ensemble(file)


# The generator


@pytest.mark.parametrize("case", GOLDEN["generator_cases"], ids=lambda case: case["id"])
def test_both_searches_find_what_the_originals_find(generator: Decoder, case: dict[str, Any]) -> None:
    prompt = Prompt(tuple(case["input_ids"]))

    def check(found: list[Hypothesis], expected: list[Any]) -> None:
        assert [clean_up(generator.dialect.decode(one.token_ids)) for one in found] == [text for _, text in expected]
        assert [one.probability for one in found] == pytest.approx([prob for prob, _ in expected], abs=CLOSE)

    with torch.inference_mode():
        last = generator.model.read([prompt])[0][0]
    assert last[:16].tolist() == pytest.approx(case["logits_last"]["first16"], abs=2e-4)
    assert float(last.logsumexp(0)) == pytest.approx(case["logits_last"]["logsumexp"], abs=2e-4)
    for run in case["beam"]:
        params = run["params"]
        found = dialogrpt_beam(
            generator.model,
            prompt,
            GOLDEN["eos_id"],
            top_k=params["topk"],
            beams=params["beam"],
            top_p=params["topp"],
            max_new_tokens=params["max_t"],
        )
        check(found, run["finished"])
    for run in (case["sampling"], case["sampling_t1"]):
        params = run["params"]
        found = dialogrpt_sampling(
            generator.model,
            prompt,
            GOLDEN["eos_id"],
            temperature=params["temperature"],
            count=params["n_hyp"],
            max_new_tokens=params["max_t"],
        )
        check(found, run["finished"])


def test_a_search_ends_where_the_positions_do(generator: Decoder) -> None:
    prompt = Prompt((5,) * 140)
    found = dialogrpt_beam(generator.model, prompt, GOLDEN["eos_id"], top_k=3, beams=3, top_p=0.8, max_new_tokens=30)
    assert all(len(one.token_ids) <= generator.model.room(140) for one in found)


def test_the_last_token_of_a_search_needs_no_position(generator: Decoder) -> None:
    """Of 144 positions the context has 142 and a reply's first two tokens the rest: the third is never read."""
    prompt = Prompt((5,) * 142)
    with torch.inference_mode():
        logits, reading = generator.model.read([prompt])
        likeliest = [int(logits[0].argmax())]
        while len(likeliest) < 3:
            likeliest.append(int(reading.feed(torch.tensor(likeliest[-1:]))[0].argmax()))
    *before, end = likeliest
    assert end not in before
    (found,) = dialogrpt_beam(generator.model, prompt, end, top_k=1, beams=1, top_p=1e9, max_new_tokens=30)
    assert list(found.token_ids) == before


def test_a_context_that_leaves_room_for_thirty_tokens_is_read_whole(generator: Decoder, tmp_path: Path) -> None:
    text = "!"
    while len(ids := generator.dialect.encode([Utterance(1, text)], 1000)) < 144 - 29:
        text += "!"
    (tmp_path / "talk.json").write_text(json.dumps([text]))
    result = banter(tmp_path / "talk.json", "--task", "generate", "-pg", RESTORE, "-p", RESTORE)
    assert json.loads(result.stdout)["input_ids"] == ids


RUNS = [(case, run) for case in GOLDEN["generator_cases"] for run in case["integrated"]]


@pytest.mark.parametrize("generator_kind", ["beam", "sampling"])
@pytest.mark.parametrize("ranker", ["ensemble", "updown"])
@pytest.mark.parametrize("weight", [1.0, 0.5, 0.2])
def test_generated_replies_are_mixed_and_ranked_as_in_the_original(
    tmp_path: Path, generator_kind: str, ranker: str, weight: float
) -> None:
    runs = {
        case["id"]: run
        for case, run in RUNS
        if (run["generator"], run["ranker"], run["wt_ranker"]) == (generator_kind, ranker, weight)
    }
    assert len(runs) == len(GOLDEN["generator_cases"])
    path = RESTORE / ("ensemble.yml" if ranker == "ensemble" else f"{ranker}.pth")
    options = ["--sampling"] if generator_kind == "sampling" else []
    result = banter(
        HERE / "golden.json", "--task", "generate", "-pg", RESTORE, "-pr", path, "--wt-ranker", weight, *options
    )
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["id"] for line in lines] == list(runs)
    for line in lines:
        expected = runs[line["id"]]["ranked"]
        assert [entry[3] for entry in line["ranked"]] == [entry[3] for entry in expected]
        for ours, theirs in zip(line["ranked"], expected, strict=True):
            assert ours[:3] == pytest.approx(theirs[:3], abs=CLOSE)


def test_without_a_share_of_the_ranker_the_probability_alone_decides() -> None:
    """The original fails for this weight."""
    result = banter(HERE / "golden.json", "--task", "generate", "-pg", RESTORE, "-p", RESTORE, "--wt-ranker", "0")
    for line, case in zip(result.stdout.splitlines(), GOLDEN["generator_cases"], strict=True):
        ranked = json.loads(line)["ranked"]
        best = sorted((prob for prob, _ in case["beam"][0]["finished"]), reverse=True)
        assert [entry[0] for entry in ranked] == pytest.approx(best, abs=CLOSE)


def test_when_nothing_was_finished_the_answer_is_empty(tmp_path: Path) -> None:
    """The original fails for this."""
    (tmp_path / "talk.json").write_text('["How are you?"]')
    result = banter(tmp_path / "talk.json", "--task", "generate", "-pg", RESTORE, "-p", RESTORE, "--topp", "0")
    line = json.loads(result.stdout)
    assert (line["finished"], line["ranked"]) == ([], [])


# The command


@pytest.mark.parametrize(("ranker", "ranked"), [("ensemble.yml", "ensemble"), ("updown.pth", "updown")])
def test_a_file_of_replies_becomes_the_originals_ranked_lines(ranker: str, ranked: str) -> None:
    result = banter(HERE / "toy.tsv", "-p", RESTORE / ranker)
    theirs = (HERE / f"toy.{ranked}.ranked.jsonl").read_text(encoding="utf-8")
    assert shape(result.stdout) == shape(theirs + "\n")
    assert numbers(result.stdout) == pytest.approx(numbers(theirs), abs=CLOSE)
    assert "1 line(s) have no reply and were left out: 5" in result.stderr


NUMBER = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")


def shape(text: str) -> str:
    """The text byte for byte, but for its numbers."""
    return NUMBER.sub("#", text)


def numbers(text: str) -> list[float]:
    return [float(found) for found in NUMBER.findall(text)]


def test_a_file_of_cases_gives_every_number_of_the_original() -> None:
    report = json.loads(banter(HERE / "golden.json", "-p", RESTORE).stdout)
    ours = {case["id"]: case for case in report["scoring_cases"]}
    for case in GOLDEN["scoring_cases"]:
        found = ours[case["id"]]
        for exact in ("cxt", "hyps", "max_cxt_turn", "batch_ids", "lengths", "ranking_by_final"):
            assert found[exact] == case[exact], exact
        for group, close in (("head_scores", CLOSE), ("head_logits", 2e-4), ("ensemble", CLOSE)):
            assert found[group].keys() == case[group].keys()
            for name, expected in case[group].items():
                assert found[group][name] == pytest.approx(expected, abs=close)
    assert ours["more_than_32_hyps"]["ensemble"]["final"] == pytest.approx(
        GOLDEN["more_than_32_hyps"]["final"], abs=CLOSE
    )
    assert ours["overlong"]["shortened"] == [0]


def test_pairs_of_token_ids_are_judged_as_in_training(tmp_path: Path) -> None:
    """The original's predictions for these pairs say which of the two its head prefers."""
    batch = GOLDEN["training"]["batch"]
    lines = []
    for number in range(len(GOLDEN["training"]["pred"])):
        sides = []
        for side in ("pos", "neg"):
            row = batch[f"ids_{side}"][number][: batch[f"len_{side}"][number]]
            sides.append(row)
        context_tokens = batch["len_cxt"][number]
        if sides[0][: context_tokens + 1] != sides[1][: context_tokens + 1]:
            continue  # cut differently: the columns of one line cannot give both
        context, better, worse = (
            sides[0][:context_tokens],
            sides[0][context_tokens + 1 :],
            sides[1][context_tokens + 1 :],
        )
        columns = [" ".join(map(str, ids)) for ids in (context, better, worse)]
        lines.append(("\t".join([*columns, "a", "b", "c", "0.1", "9", "1", "0.9", "0.1"]), number))
    assert lines
    for line, number in lines:
        file = tmp_path / "pairs.tsv"
        file.write_text("# a comment\n" + line + "\n")
        result = banter(file, "--task", "eval_human_feedback", "-p", RESTORE / "updown.pth", "--max-cxt-turn", "0")
        accuracy = json.loads(result.stdout)["accuracy"]["updown"]
        assert accuracy == (1.0 if GOLDEN["training"]["pred"][number] > 0.5 else 0.0)


def test_one_head_in_its_own_file_is_a_ranker() -> None:
    head = load_ranker(str(RESTORE / "width.pth"), name="width")
    case = GOLDEN["scoring_cases"][0]
    assert head.score([(kept(case), reply) for reply in case["hyps"]]) == pytest.approx(
        case["head_scores"]["width"], abs=CLOSE
    )
