"""METEOR 1.5 through the authors' own program (Denkowski & Lavie 2014); nothing else is ever printed under its name.

The program is a Java archive of 100 MB that the extra `meteor` brings along. It is spoken to by lines on its standard
input: `SCORE` gives a line's statistics, `EVAL` the score of the statistics of many.
"""

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

ARCHIVE = "meteor-1.5.jar"

_COMMAND = (
    "-XX:+UseSerialGC",  # collectors with a thread for every core fight for the cores
    "-Dfile.encoding=UTF-8",  # older Javas take that of the locale
    "-Xmx1g",
    *("-jar", ARCHIVE, "-", "-", "-stdio", "-l", "en", "-norm"),
)


@dataclass(frozen=True, slots=True)
class Meteor:
    """The score of a whole set, or why there is none."""

    score: float | None
    why: str | None = None


Scorer = Callable[[Sequence[str], Sequence[Sequence[str]]], Meteor]
"""The hypotheses and the references of each to one score: from the summed statistics of all lines, the best reference
of each; not a mean of line scores."""


def meteor(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Meteor:
    """One set alone. The program takes seconds to start: for several sets there is `meteor_program`."""
    with meteor_program() as score:
        return score(hypotheses, references)


@contextmanager
def meteor_program() -> Iterator[Scorer]:
    """Keep the program for several sets; where it cannot run, every answer is the reason."""
    java, archive = shutil.which("java"), _archive()
    if java is None:
        yield not_computed("METEOR needs Java, and there is no `java` on the PATH")
        return
    if archive is None:
        yield not_computed("METEOR comes with an extra; pip install 'banter[meteor]'")
        return
    program = _Program(java, archive)
    try:
        yield program.score
    finally:
        program.close()


def not_computed(why: str) -> Scorer:
    """A scorer that has nothing but this reason."""
    return lambda _hypotheses, _references: Meteor(None, f"not computed: {why}")


def _archive() -> Path | None:
    """Where the package keeps the program; asking does not import it."""
    package = importlib.util.find_spec("pycocoevalcap")
    for folder in (package.submodule_search_locations or ()) if package else ():
        file = Path(folder) / "meteor" / ARCHIVE
        if file.is_file():
            return file
    return None


class _Program:
    """Started with the first set that is to be scored."""

    def __init__(self, java: str, archive: Path) -> None:
        self._java = java
        self._folder = archive.parent
        self._process: subprocess.Popen[str] | None = None

    def score(self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Meteor:
        """See `Scorer`."""
        if not hypotheses:
            return Meteor(None, "not computed: there is no line")
        try:
            if self._process is None:
                self._process = self._start()
            questions, answers = self._process.stdin, self._process.stdout
            assert questions is not None
            assert answers is not None
            return Meteor(_asked(questions, answers, hypotheses, references))
        except (OSError, ValueError) as error:
            self.close()
            return Meteor(None, f"not computed: the METEOR program stopped ({error})")

    def close(self) -> None:
        """End the program."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(  # noqa: S603 - a fixed command; texts go through its standard input alone
            [self._java, *_COMMAND],
            cwd=self._folder,  # it looks for its paraphrases beside itself
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # progress, which nobody reads and which would fill the pipe
            encoding="utf-8",
        )


def _asked(
    questions: IO[str], answers: IO[str], hypotheses: Sequence[str], references: Sequence[Sequence[str]]
) -> float:
    statistics = []
    for hypothesis, row in zip(hypotheses, references, strict=True):
        _say(questions, "SCORE", *map(_line, row), _line(hypothesis))
        statistics.append(_answer(answers))
    _say(questions, "EVAL", *statistics)
    scores = [float(_answer(answers)) for _ in range(len(statistics) + 1)]  # one a line, then that of all together
    return scores[-1]


def _say(questions: IO[str], *fields: str) -> None:
    questions.write(" ||| ".join(fields) + "\n")
    questions.flush()


def _answer(answers: IO[str]) -> str:
    line = answers.readline()
    if not line:
        raise ValueError("it ended without an answer; it needs 1 GB of memory")
    return line.strip()


def _line(text: str) -> str:
    """The program reads one line each, with its fields between bars."""
    return re.sub(r"[\r\n]+|\|\|\|", " ", text)
