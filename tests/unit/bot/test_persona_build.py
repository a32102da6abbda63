"""One command from a chat to a pack, killed on the way; then the pack is taken in, shown and sent on."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from bot.cli import main
from bot.config import load_config
from bot.generator.engine import load_generator
from bot.personas import learning
from bot.personas.pack import verify
from tests.unit.bot.persona_chats import animals, tiny_model

pytestmark = pytest.mark.timeout(300)  # the first test waits for a whole build
torch.set_num_threads(1)
DEADLINE_SECONDS = 100


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a configuration, a chat and a model, in which commands are given."""
    folder = tmp_path_factory.mktemp("personas")
    (folder / "config.yaml").write_text("# mine\nbot: {name: Banter}\npersonas:\n  default: {greeting: Hello}\n# end\n")
    animals().write(folder / "result.json")
    tiny_model(folder / "tiny")
    before = Path.cwd()
    os.chdir(folder)
    yield folder
    os.chdir(before)


BUILD = ["persona", "build", "result.json", "--speaker", "rosie", "--consent", "agreed.txt"]
OF_TINY = [*BUILD, "--base", "tiny", "--epochs", "6", "--learning-rate", "0.01", "--called", "Rosie"]


def banter(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def until(reached: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    end = time.monotonic() + DEADLINE_SECONDS
    while not reached():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        os.sched_yield()


@pytest.fixture(scope="module")
def built(place: Path) -> Result:
    """Killed while it trains, then started again."""
    (place / "agreed.txt").write_text("Rosie  # on Monday\nuser2\n")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "bot", *OF_TINY]
    with subprocess.Popen(command, env=environment, cwd=place, text=True, stderr=subprocess.PIPE) as process:
        until(lambda: any((place / "personas/rosie.build/model").glob("checkpoint-*/trainer_state.json")), process)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert not (place / "personas/rosie").exists()
    with pytest.MonkeyPatch.context() as patch:  # fewer samples and questions than people want
        patch.setattr(learning, "OPENINGS", learning.OPENINGS[:2])
        patch.setattr(learning, "TURNS", 3)
        patch.setattr(learning, "ASKED", 6)
        patch.setenv("PATH", "")  # without Java no METEOR, whose program takes longest of all to start
        return banter(*OF_TINY)


def test_a_killed_build_goes_on_in_the_stage_it_was_in(place: Path, built: Result) -> None:
    assert built.exit_code == 0, built.output
    said = built.stdout.splitlines()
    assert [line for line in said if line.endswith("done before")] == [
        "[1/8] read: done before",
        "[2/8] consent: done before",
        "[3/8] scrub: done before",
        "[4/8] split: done before",
    ]
    assert "[5/8] train ..." in said
    assert verify(place / "personas/rosie").name == "rosie"


def test_the_same_command_once_more_does_nothing_again(built: Result) -> None:
    again = banter(*OF_TINY)
    assert again.exit_code == 0, again.output
    assert again.stdout.count("done before") == 8


def test_no_word_of_those_who_did_not_agree_and_no_name_but_the_personas_is_kept(place: Path, built: Result) -> None:
    texts = [
        file.read_text(encoding="utf-8")
        for file in place.glob("personas/rosie*/**/*")
        if file.suffix in (".md", ".jsonl", ".yaml", ".json") and file.name not in ("build.json", "consent.json")
    ]
    assert len(texts) > 10
    for word in ("carl", "alice", "smith", "example.org", "secret of yours", "user1", "user2", "user3"):
        assert not any(word in text.lower() for text in texts), word


def test_the_card_says_from_what_with_whose_consent_and_how_it_can_be_built_again(place: Path, built: Result) -> None:
    card = (place / "personas/rosie/CARD.md").read_text(encoding="utf-8")
    consent = json.loads((place / "personas/rosie.build/consent.json").read_text(encoding="utf-8"))
    assert "336 messages of 3 people" in card
    assert "- 24 messages: no consent\n- 24 messages: answers to those without consent\n" in card
    assert len(consent["agreed"]) == 2
    for one in consent["agreed"]:
        assert f"| {one['person']} |" in card
        assert f"--yes-i-have-consent {one['person']}" in card
    assert "| name |" in card
    assert "--seed 0" in card
    assert "## Licence\n\nPrivate: for those who agreed." in card


def test_the_figures_are_the_new_models_beside_its_bases(place: Path, built: Result) -> None:
    figures = json.loads((place / "personas/rosie/figures.json").read_text(encoding="utf-8"))
    base, persona = figures["held_out"]["base"], figures["held_out"]["persona"]
    assert persona["perplexity"] < base["perplexity"] / 2
    assert figures["questions"] == 6
    assert 0 <= figures["samples"]["word_for_word"] <= 1


def test_the_packs_model_is_one_the_bot_can_use(place: Path, built: Result) -> None:
    generator = load_generator(str(place / "personas/rosie/model"))
    assert generator.dialect.name == "dialogpt"


def test_another_command_does_not_go_on_in_the_same_folder(built: Result) -> None:
    other = banter(*OF_TINY, "--seed", "1")
    assert other.exit_code == 1
    assert "a build with another seed was begun here" in other.output


@pytest.fixture(scope="module")
def imported(place: Path, built: Result) -> Result:
    return banter("persona", "import", "personas/rosie.tar.gz", "--as", "rose")


def test_an_imported_persona_stands_in_the_configuration_beside_every_remark(place: Path, imported: Result) -> None:
    assert imported.exit_code == 0, imported.output
    text = (place / "config.yaml").read_text()
    assert text == (
        '# mine\nbot: {name: Banter}\npersonas:\n  default: {greeting: Hello}\n  rose:\n    name: "Rosie"\n# end\n'
    )
    assert load_config(place / "config.yaml").personas["rose"].name == "Rosie"
    assert "model: {checkpoint: personas/rose/model}" in imported.stdout
    assert verify(place / "personas/rose").name == "rose"


def test_a_pack_that_lies_where_it_belongs_is_only_added(place: Path, imported: Result) -> None:
    before = hashlib.sha256((place / "personas/rosie/SHA256SUMS").read_bytes()).digest()
    result = banter("persona", "import", "personas/rosie")
    assert result.exit_code == 0, result.output
    assert "rosie" in load_config(place / "config.yaml").personas
    assert hashlib.sha256((place / "personas/rosie/SHA256SUMS").read_bytes()).digest() == before


def test_a_persona_that_is_there_is_not_replaced(imported: Result) -> None:
    result = banter("persona", "import", "personas/rosie.tar.gz", "--as", "rose")
    assert result.exit_code == 1
    assert "--as NAME" in result.output


def test_what_was_imported_is_exported_the_same(place: Path, imported: Result) -> None:
    result = banter("persona", "export", "rose", "sent.tar.gz")
    assert result.exit_code == 0, result.output
    assert banter("persona", "import", "sent.tar.gz", "--as", "third").exit_code == 0
    first, third = place / "personas/rose", place / "personas/third"
    for name in ("CARD.md", "samples.md", "figures.json", "model/model.safetensors"):
        assert (first / name).read_bytes() == (third / name).read_bytes()


def test_show_tells_all_of_it(imported: Result) -> None:
    shown = banter("persona", "show", "personas/rosie.tar.gz").stdout
    for part in ("whole and unchanged", "model: its own (whole weights)", "## Consent", "# Talks of Rosie"):
        assert part in shown
    assert "## Consent" in banter("persona", "show", "rose").stdout
    assert banter("persona", "show").stdout.splitlines()[0] == "default: Banter (speaks where nothing else is chosen)"
