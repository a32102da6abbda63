"""METEOR: the authors' program to the last digit where it can run, and the reason where it cannot."""

import importlib.util
import shutil
import stat
from pathlib import Path

import pytest

from bot.training.metrics.lines import figures, read_lines
from bot.training.metrics.meteor import ARCHIVE, meteor, meteor_program
from tests.unit.training.metrics.golden import runs


def can_run() -> bool:
    """Asked of the machine, not of the code under test."""
    package = importlib.util.find_spec("pycocoevalcap")
    folders = list(package.submodule_search_locations or ()) if package else []
    return shutil.which("java") is not None and any((Path(one) / "meteor" / ARCHIVE).is_file() for one in folders)


def test_every_case_has_the_programs_score_or_says_why_not() -> None:
    """One start of the program for all of them: it reads 60 MB of paraphrases first."""
    able = can_run()
    with meteor_program() as score:
        for run in runs():
            found = figures(read_lines(run.file), **run.settings, meteor=score)
            if able:
                assert found["meteor_why"] is None, run.label
                assert found["meteor"] == pytest.approx(run.expected["meteor"], abs=1e-9), run.label
            else:
                assert found["meteor"] is None
                assert found["meteor_why"].startswith("not computed: ")


def test_without_java_there_is_a_reason_and_no_figure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = meteor(["hello"], [["hello"]])
    assert found.score is None
    assert found.why == "not computed: METEOR needs Java, and there is no `java` on the PATH"


def test_without_the_archive_the_reason_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stand_in(tmp_path, "exit 1")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr("bot.training.metrics.meteor.ARCHIVE", "no-such-archive.jar")
    assert (
        meteor(["hello"], [["hello"]]).why == "not computed: METEOR comes with an extra; pip install 'banter[meteor]'"
    )


@pytest.mark.parametrize("behaviour", ["exit 1", "echo nonsense; cat"])
def test_a_program_that_fails_leaves_a_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, behaviour: str) -> None:
    stand_in(tmp_path, behaviour)
    archive = tmp_path / "meteor" / ARCHIVE
    archive.parent.mkdir()
    archive.touch()
    monkeypatch.setattr("bot.training.metrics.meteor._archive", lambda: archive)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    found = meteor(["hello"], [["hello"]])
    assert found.score is None
    assert found.why is not None
    assert found.why.startswith("not computed: the METEOR program stopped")


def stand_in(folder: Path, behaviour: str) -> None:
    """A `java` that cannot do what is asked of it."""
    java = folder / "java"
    java.write_text(f"#!/bin/sh\n{behaviour}\n")
    java.chmod(java.stat().st_mode | stat.S_IXUSR)
