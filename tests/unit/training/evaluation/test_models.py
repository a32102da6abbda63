"""Models under measurement: the starter that ships, on a handful of talks."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch.nn import functional as F

from bot.config import load_config
from bot.context import Context
from bot.generator.candidates import Candidate
from bot.generator.decoder import Decoder
from bot.generator.dialects.base import BOT, IGNORED, Utterance
from bot.generator.engine import load_generator
from bot.generator.models.causal import CausalModel
from bot.reply import Judged, choose
from bot.training.evaluate_command import evaluate as command
from bot.training.evaluation.figures import Wording, all_figures
from bot.training.evaluation.modes import Mode, as_the_bot
from bot.training.evaluation.questions import Question
from bot.training.evaluation.run import Plan, evaluate
from bot.training.evaluation.talker import Talker
from tests.parity.natives import GENERATORS, NATIVES

torch.set_num_threads(1)

TALK = ("hi", "Hello! How are you?", "fine. do you like films?")


@pytest.fixture(autouse=True)
def no_java(monkeypatch: pytest.MonkeyPatch) -> None:
    """METEOR has its own tests; the program takes seconds to start."""
    monkeypatch.setenv("PATH", "")


@pytest.fixture(scope="module")
def talker() -> Talker:
    return Talker.load("starter")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("corpus") / "mine.jsonl"
    talks = [(list(TALK), ["I do!", "Not much."])] + [
        ([f"do you like {one}?"], [f"{one} is fine."])
        for one in ("tea", "rain", "cats", "soup", "jazz", "chess", "maths", "snow", "bread", "football", "trains")
    ]
    file.write_text("".join(json.dumps({"context": c, "references": r}) + "\n" for c, r in talks))
    return str(file)


def quiet(numbers: Iterable[int], _doing: str) -> Iterable[int]:
    return numbers


def never(_context: Any, _reply: str) -> bool:
    return False


def plan(corpus: str, **changes: Any) -> Plan:
    settings: dict[str, Any] = {"checkpoints": ["starter"], "rankers": ["starter"], "modes": [Mode.SAMPLE]}
    return Plan(**{**settings, "corpus": corpus, "candidates": 2, "judge": "starter", "limit": 3, **changes})


def test_a_replys_cost_is_the_networks_cross_entropy(talker: Talker) -> None:
    """Against the plain loss of the network on the dialect's training example, of which only the reply is learned."""
    generator = load_generator("starter")
    assert isinstance(generator, Decoder)
    assert isinstance(generator.model, CausalModel)
    utterances = [Utterance((place + 1) % 2, text) for place, text in enumerate(TALK)]
    example = generator.dialect.example([*utterances, Utterance(BOT, "I do!")], {BOT}, 200)
    first = len(generator.dialect.encode(utterances, 200))
    labels = torch.tensor([IGNORED] * first + list(example.labels[first:]))
    with torch.inference_mode():
        logits = generator.model.network(torch.tensor([example.input_ids])).logits[0]
    expected = F.cross_entropy(logits[:-1], labels[1:], reduction="sum")
    cost = (talker.losses(TALK, ["I do!"]) or [])[0]
    assert cost.total == pytest.approx(float(expected), rel=1e-4)
    assert cost.tokens == int((labels != IGNORED).sum())


def test_a_fitting_reply_costs_less_than_a_stray_one(talker: Talker) -> None:
    fitting, stray = talker.losses(("thanks a lot!",), ["You're welcome!", "welcome qua zebra"]) or []
    assert fitting.mean < stray.mean


def test_a_talk_longer_than_the_model_is_still_measured(talker: Talker) -> None:
    cost = (talker.losses(["word " * 400] * 3, ["I see."]) or [])[0]
    assert cost.tokens == (talker.losses(["hi"], ["I see."]) or [])[0].tokens


@pytest.mark.parametrize("text", ["I like tea", "fine. do you like films?", "Something quite new to say"])
def test_a_candidate_is_scored_as_the_bot_scores_it(text: str, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("version: 1\n")
    config = load_config(file)
    from bot.self_talk import HERE

    settings = config.for_channel(HERE)
    heads = [*settings.ranking.prior, *settings.ranking.cond]
    candidate = Candidate(token_ids=(1, 2), text=text, log_prob=-2.0, finished=True)
    question = Question(("hello", "I like tea", TALK[-1]), ("x",))
    context = Context(utterances=[], said=question.context[-1], earlier_replies=question.earlier)
    judged = Judged(
        candidate=candidate, text=text, scores=dict(zip([head.name for head in heads], (0.7, 0.6), strict=True))
    )
    assert choose([judged], context, settings).final == pytest.approx(as_the_bot(question, candidate, 0.7 * 0.6))


def test_every_family_can_be_measured(corpus: str) -> None:
    """What a family's network does not tell is missing with a reason, and nothing else is."""
    checkpoints = [str(NATIVES[name].path) for name in GENERATORS]
    outcome = evaluate(plan(corpus, checkpoints=checkpoints), never, quiet)
    assert outcome.stopped is None
    for row in all_figures(outcome, Wording())[1:]:
        assert row["replies"] == 3
        assert row["latency_ms"]["median"] > 0
        if row["perplexity_why"] is None:
            assert 1 < row["perplexity"] < math.inf
            assert row["hits@1"] is not None
        else:
            assert row["perplexity_why"].startswith("not computed: ")
            assert (row["perplexity"], row["hits@1"]) == (None, None)


def test_the_same_seed_gives_the_same_replies(corpus: str) -> None:
    first, second, other = (evaluate(plan(corpus, seed=seed), never, quiet) for seed in (1, 1, 2))
    texts = [[answer.text for answer in outcome.series[1].answers] for outcome in (first, second, other)]
    assert texts[0] == texts[1]
    assert texts[0] != texts[2]


def test_who_chose_does_not_judge(corpus: str) -> None:
    """The judge is the starter's mutual information, by which mmi chooses, and the bot in part."""
    outcome = evaluate(plan(corpus, modes=[Mode.SAMPLE, Mode.MMI, Mode.BOT]), never, quiet)
    _, sample, mmi, bot = outcome.series
    assert all(answer.on_topic is not None for answer in sample.answers)
    assert sample.judged_by_itself
    for one in (mmi, bot):
        assert all(answer.on_topic is None for answer in one.answers)
        assert one.why_not_on_topic == "not computed: the judge is what chose these replies"


def test_interrupted_it_keeps_what_it_has(corpus: str) -> None:
    def impatient(numbers: Iterable[int], doing: str) -> Iterable[int]:
        for number in numbers:
            if number == 2 and doing.endswith("sample"):
                raise KeyboardInterrupt
            yield number

    outcome = evaluate(plan(corpus, modes=[Mode.SAMPLE, Mode.RANKER]), never, impatient)
    assert outcome.stopped == "interrupted"
    assert [(one.mode, len(one.answers)) for one in outcome.series] == [("reference", 3), ("sample", 2)]


def test_models_stand_side_by_side(corpus: str) -> None:
    arguments = ["--corpus", corpus, "--limit", "2", "--candidates", "2", "--checkpoint", "starter", "--samples", "1"]
    arguments += ["--judge", "starter"]
    arguments += ["--checkpoint", "bot/starter/generator", "--mode", "ranker", "--mode", "beam", "--json"]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert [(row["checkpoint"], row["mode"]) for row in found["rows"]] == [
        ("people", "reference"),
        ("starter", "ranker"),
        ("starter", "beam"),
        ("bot/starter/generator", "ranker"),
        ("bot/starter/generator", "beam"),
    ]
    starter, again = found["rows"][1], found["rows"][3]
    del starter["latency_ms"], again["latency_ms"]
    assert {**starter, "checkpoint": "bot/starter/generator"} == again
    assert 0 <= starter["hits@1"] <= 1 < starter["perplexity"]
    assert len(found["samples"][0]["replies"]) == 5


def test_a_page_has_table_notes_and_samples(corpus: str) -> None:
    arguments = ["--corpus", corpus, "--limit", "2", "--mode", "sample", "--samples", "1", "--markdown"]
    arguments += ["--judge", "starter"]
    result = CliRunner().invoke(command, [*arguments, "--dialogpt-perplexity"])
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("|  | people, reference | starter, sample |\n| --- |")
    assert "| perplexity (DialoGPT's way) |" in result.stdout
    assert "kinder than a stranger" in result.stdout
    assert "> person: " in result.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (["--corpus", "reddit"], 1, "no corpus 'reddit'"),
        (["--checkpoint", "/no/such/model"], 1, "no such file or directory"),
        (["--ranker", "/no/such/head", "--judge", "starter", "--limit", "1"], 1, "/no/such/head"),
        (["--judge", "/no/such/judge", "--limit", "1"], 1, "/no/such/judge"),
        (["--ranker", "a", "--ranker", "b"], 64, "one for each --checkpoint"),
        (["--lines", "a.json", "--losses", "b.json"], 64, "--lines and --losses"),
        (["--lines", "a.json", "--checkpoint", "starter"], 64, "--checkpoint is about models"),
        (["--json", "--markdown"], 64, "not both"),
        (["--lines", "/no/such.json"], 1, "/no/such.json: cannot be read"),
    ],
)
def test_a_users_mistake_is_one_line(arguments: list[str], code: int, complaint: str) -> None:
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code in (code, 2), result.output
    assert complaint in result.output
    assert "Traceback" not in result.output


def test_ready_files_need_no_torch(tmp_path: Path) -> None:
    file = tmp_path / "case.json"
    file.write_text('{"lines": [{"hyp": "hello you", "refs": ["hello you"]}, {"hyp": "a", "refs": [""]}]}')
    code = (
        "import sys; from bot.training.evaluate_command import evaluate\n"
        f"evaluate(['--lines', {str(file)!r}, '--json'], standalone_mode=False); sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, env={**os.environ})
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["bleu"][1] == 1.0
    assert found["meteor"] is None
    assert found["meteor_why"].startswith("not computed: METEOR needs Java")
    assert found["lines_left_out"] == 1
    assert "1 of the lines" in done.stderr


@pytest.mark.parametrize("kind", ["ranking", "losses"])
def test_ready_scores_and_losses_are_printed_by_name(kind: str) -> None:
    name = {"ranking": "ranking.json", "losses": "perplexity.json"}[kind]
    file = Path(__file__).parents[1] / "metrics" / "fixtures" / name
    result = CliRunner().invoke(command, [f"--{kind}", str(file), "--json"])
    found, golden = json.loads(result.stdout), json.loads(file.read_text())["golden"]
    assert golden.keys() <= found.keys()
    plain = CliRunner().invoke(command, [f"--{kind}", str(file)])
    assert [line.split(":")[0] for line in plain.stdout.splitlines()] == list(found)
