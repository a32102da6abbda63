"""`banter score`: rank replies with DialogRPT heads and ensembles. Torch is imported only when it runs."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from bot.generator.errors import GeneratorError
from bot.scoring import files

if TYPE_CHECKING:
    from bot.scoring.tasks import Judge, Notes

_TASKS = ("test", "stats", "eval-human-feedback", "eval-human-vs-rand", "eval-human-vs-machine", "generate", "play")
_NAMED_AT_MOST = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """The command line, its words turned into what they mean."""

    file: Path
    ranker: str
    max_turns: int | None
    max_lines: int | None
    min_score_gap: float
    min_rank_gap: float
    device: str
    generator: str
    wt_ranker: float
    search: dict[str, Any]

    def judge(self) -> "Judge":
        from bot.scoring.tasks import Judge

        return Judge.load(self.ranker, self.device)


class _Turns(click.IntRange):
    """A number of turns; 0, all or none: no limit."""

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> Any:
        return super().convert(0 if str(value).lower() in ("all", "none") else value, param, context)


class _Task(click.Choice[str]):
    """One of the tasks, also as the original spells it, with underscores."""

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> str:
        return str(super().convert(str(value).replace("_", "-"), param, context))


@click.command("score")
@click.argument("file", type=click.Path(exists=True, path_type=Path), required=False)
@click.option("--task", type=_Task(_TASKS), default="test", show_default=True, help="What to do, see above.")
@click.option(
    "-p",
    "-pr",
    "--ranker",
    default="starter",
    show_default=True,
    help="A head (.pth, .pkl, directory, hub id), an ensemble (.yml, or a directory with one), or starter.",
)
@click.option("--max-cxt-turn", type=_Turns(min=0), default=2, show_default=True, help="Turns of context; 0: all.")
@click.option("--max-n", type=click.IntRange(min=-1), default=5000, show_default=True, help="Lines to read; 0: all.")
@click.option("--min-score-gap", type=float, default=1.0, show_default=True, help="Feedback: least gap of the scores.")
@click.option("--min-rank-gap", type=float, default=0.0, show_default=True, help="Feedback: least gap of the ranks.")
@click.option(
    "-o", "--out", type=click.File("w", "utf-8", lazy=True), default="-", help="Write here, not to the terminal."
)
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, ...")
@click.option("--cpu", is_flag=True, help="The same as --device cpu.")
@click.option("-pg", "--generator", default="starter", show_default=True, help="generate: a DialoGPT checkpoint.")
@click.option("--wt-ranker", type=click.FloatRange(0, 1), default=1.0, show_default=True, help="generate: its share.")
@click.option("--topk", type=click.IntRange(1), default=3, show_default=True, help="generate: tokens tried a beam.")
@click.option("--beam", type=click.IntRange(1), default=3, show_default=True, help="generate: beams.")
@click.option("--topp", type=click.FloatRange(0, 1), default=0.8, show_default=True, help="generate: of the beams.")
@click.option("--sampling", is_flag=True, help="generate: draw replies instead.")
@click.option(
    "--temperature", type=click.FloatRange(0, 5, min_open=True), default=0.5, show_default=True, help="With --sampling."
)
@click.option("--n-hyp", type=click.IntRange(1), default=10, show_default=True, help="With --sampling: replies drawn.")
def score(  # one argument an option
    *,
    file: Path | None,
    task: str,
    ranker: str,
    max_cxt_turn: int,
    max_n: int,
    min_score_gap: float,
    min_rank_gap: float,
    out: TextIO,
    device: str,
    cpu: bool,
    generator: str,
    wt_ranker: float,
    **search: Any,
) -> None:
    """Score replies to a context with a ranker, by default those of every line of FILE.

    \b
    Tasks (also under the names of DialogRPT's score.py, with underscores):
      test                   FILE: context TAB reply TAB reply ...; turns of a
                             context are joined by <|endoftext|>. One JSON line
                             each, the best reply first. A .json file with
                             cases (cxt, hyps, max_cxt_turn) gives a report with
                             token ids, logits and every head's scores.
      stats                  FILE: what test wrote. Mean scores of the best and
                             of all replies, and by rank.
      eval-human-feedback    FILE: pairs of replies, of which people liked one
                             better (DialogRPT's training format, ids or text).
                             How often the ranker agrees.
      eval-human-vs-rand     FILE: real replies, or a directory with ref.tsv and
                             rand.tsv. How many of k real replies are among the
                             first k. Without rand.tsv the fakes are replies of
                             other lines.
      eval-human-vs-machine  FILE: a directory with ref.tsv and machine.tsv.
      generate               FILE: talks (JSON: a list of turns, or of objects
                             with turns). DialogRPT's search with the generator,
                             its replies mixed and ranked.
      play                   No FILE: type a context and replies to it.

    \b
    Examples:
      banter score replies.tsv
      banter score replies.tsv -p restore/ensemble.yml -o replies.ranked.jsonl
      banter score replies.ranked.jsonl --task stats
      banter score pairs.tsv --task eval-human-feedback -p restore/updown.pth
      banter score talk.json --task generate -pg medium_ft.pkl -p ensemble.yml
      banter score --task play -p restore/updown.pth
    """
    if file is None and task != "play":
        raise click.UsageError(f"The task {task} needs a FILE.")
    job = _Job(
        file=file or Path("-"),
        ranker=ranker,
        max_turns=max_cxt_turn or None,
        max_lines=max_n if max_n > 0 else None,
        min_score_gap=min_score_gap,
        min_rank_gap=min_rank_gap,
        device="cpu" if cpu else device,
        generator=generator,
        wt_ranker=wt_ranker,
        search=search,
    )
    try:
        for text in _DO[task](job):
            out.write(text + "\n")
            out.flush()
    except (files.ScoreFileError, GeneratorError) as error:
        raise click.ClickException(str(error)) from error


def _test(job: _Job) -> Iterator[str]:
    from bot.scoring.tasks import Notes, case_report, ranked_lines

    if job.file.suffix == ".json":
        cases = files.read_cases(job.file)
        judge = job.judge()
        reports = [case_report(judge, case) for case in _watched(islice(cases, job.max_lines))]
        yield _pretty({"ranker": job.ranker, "revision": judge.revision, "scoring_cases": reports})
        return
    tasks = islice(files.read_tasks(_plain(job.file)), job.max_lines)
    notes = Notes()
    for line in _watched(ranked_lines(job.judge(), tasks, job.max_turns, notes)):
        yield json.dumps(line)
    _say(notes)


def _stats(job: _Job) -> Iterator[str]:
    from bot.scoring.stats import statistics_of

    yield _pretty(statistics_of(islice(files.read_ranked(_plain(job.file)), job.max_lines)))


def _feedback(job: _Job) -> Iterator[str]:
    from bot.scoring.stats import pair_accuracy

    pairs = islice(files.read_feedback(_plain(job.file)), job.max_lines)
    yield _pretty(
        pair_accuracy(
            job.judge(),
            _watched(pairs),
            max_turns=job.max_turns,
            min_score_gap=job.min_score_gap,
            min_rank_gap=job.min_rank_gap,
        )
    )


def _against(fakes: str) -> Callable[[_Job], Iterator[str]]:
    def run(job: _Job) -> Iterator[str]:
        from bot.scoring.stats import hits, real_and_fake

        real, fake = real_and_fake(job.file, fakes, job.max_lines)
        yield _pretty(hits(job.judge(), _watched(list(zip(real, fake, strict=True))), job.max_turns))

    return run


def _generate(job: _Job) -> Iterator[str]:
    from bot.scoring.generate import Generation, Search

    talks = files.read_talks(_plain(job.file))
    judge = job.judge()
    generation = Generation(job.generator, job.device, Search(**job.search))
    for name, turns in _watched(islice(talks, job.max_lines)):
        yield json.dumps({"id": name, **generation.answer(turns, judge, job.wt_ranker)})


def _play(job: _Job) -> Iterator[str]:
    """A context, replies until an empty line, and again until the input ends."""
    judge = job.judge()
    click.echo(f"Turns of a context are joined by {files.END_OF_TURN}. End with Ctrl-D.", err=True)
    with suppress(EOFError):
        while True:
            task = files.Task(0, _asked("Context: "), ())
            while reply := _asked("Reply:   "):
                scores = judge.scores(judge.logits([(task.turns(job.max_turns), reply)]))
                yield "  ".join(f"{name} {values[0]:.3f}" for name, values in scores.items())


def _asked(prompt: str) -> str:
    click.echo(prompt, nl=False, err=True)
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.rstrip("\r\n")


_DO: dict[str, Callable[[_Job], Iterator[str]]] = {
    "test": _test,
    "stats": _stats,
    "eval-human-feedback": _feedback,
    "eval-human-vs-rand": _against("rand"),
    "eval-human-vs-machine": _against("machine"),
    "generate": _generate,
    "play": _play,
}


def _plain(path: Path) -> Path:
    if path.is_dir():
        raise files.ScoreFileError(f"{path}: this is a directory, the task needs a file.")
    return path


def _pretty(report: dict[str, Any]) -> str:
    return json.dumps(report, indent=2)


def _say(notes: "Notes") -> None:
    for lines, what in (
        (notes.skipped, "have no reply and were left out"),
        (notes.shortened, "are too long for the ranker; the oldest turns were left out"),
    ):
        if lines:
            named = ", ".join(str(line + 1) for line in lines[:_NAMED_AT_MOST])
            more = ", ..." if len(lines) > _NAMED_AT_MOST else ""
            click.echo(f"{len(lines)} line(s) {what}: {named}{more}", err=True)


def _watched(items: Iterable[Any]) -> Iterator[Any]:
    """The same, with a progress bar where somebody looks on."""
    from tqdm import tqdm

    bar: Any = tqdm
    yield from bar(items, unit=" lines", disable=not sys.stderr.isatty())
