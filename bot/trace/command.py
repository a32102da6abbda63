"""`banter model trace`."""

import json
import sys
from pathlib import Path

import click

from bot.exits import Exit
from bot.trace.errors import TraceError

_MODES = ("greedy", "filtered", "beam", "dialogrpt", "sample")


@click.command("trace")
@click.argument("path")
@click.option(
    "--turns",
    "turns_file",
    type=click.Path(path_type=Path),
    required=True,
    help="JSON: what is said to the model, in one of the forms below.",
)
@click.option(
    "--decoding",
    "settings_file",
    type=click.Path(path_type=Path),
    help="JSON: settings that differ from the family's own.",
)
@click.option(
    "--mode",
    "modes",
    multiple=True,
    type=click.Choice(_MODES),
    help="How a reply is written; may be given more than once. Default: greedy, filtered, and beam where the family "
    "searches.",
)
@click.option("--seed", type=click.IntRange(0), help="For the mode sample.")
@click.option("--mmi", help="The reverse model that chooses among replies (GPT2-chitchat).")
@click.option("--dialect", default="auto", show_default=True, help="How the talk is written as ids.")
@click.option("--device", default="cpu", show_default=True, help="Where to compute, in float32.")
@click.option("--trim", is_flag=True, help="Leave out the oldest turns of a context that is too long.")
@click.option("--json", "as_json", is_flag=True, help="Everything, as JSON.")
def trace(
    *,
    path: str,
    turns_file: Path,
    settings_file: Path | None,
    modes: tuple[str, ...],
    seed: int | None,
    mmi: str | None,
    dialect: str,
    device: str,
    trim: bool,
    as_json: bool,
) -> None:
    """Show what a model sees and says, to hold it against the code that it comes from.

    PATH is any checkpoint: a directory, a file of weights, a hub id, or "starter". Shown are the ids that the model
    reads, its scores at the last position, and its replies with their log probability.

    \b
    Modes:
      greedy     the likeliest token, no penalties, bans or least lengths
      filtered   the likeliest of what the settings left, with what they left in the first steps
      beam       beam search, best first
      dialogrpt  the two searches of DialogRPT's generation script
      sample     drawn with --seed

    \b
    Forms of the turns, a list of them too; "persona": [...] may stand beside any:
      ["hi", "hello", "how are you?"]              one context, oldest first
      {"context": ["hi"], "options": {"top_k": 5}} with settings of its own
      {"cxt": "hi<|endoftext|>hello"}              as DialogRPT writes several turns
      {"input_ids": [1, 2, 3]}                     ids as they are
      [{"role": "user", "content": "hi"}]          as chat programs keep it
      {"user_turns": ["hi", "and you?"]}           a talk: the model's replies are fed back
    A file of runs of the original programs ("cases", "sessions", ...) is traced case by case.

    \b
    Settings are those of config.yaml's decoding, or the words of the originals: topk, topp, max_len,
    max_history_len, batch_size; max_turns; decoding_method, num_beams, num_return_sequences, no_repeat_ngram_size;
    beam, max_t, n_hyp.

    \b
    Examples:
      echo '["how are you?"]' > turns.json
      banter model trace starter --turns turns.json
      banter model trace restore/medium_ft.pkl --turns turns.json --mode dialogrpt --json
      echo '{"num_beams": 4, "max_new_tokens": 20}' > beams.json
      banter model trace microsoft/DialoGPT-small --turns turns.json --decoding beams.json --mode beam
    """
    from bot.generator.errors import GeneratorError
    from bot.trace.output import listing
    from bot.trace.whole import Wishes, failed, sections_of, trace_file

    wishes = Wishes(
        turns_file=turns_file,
        settings_file=settings_file,
        modes=modes,
        seed=seed,
        mmi=mmi,
        dialect=dialect,
        device=device,
        trim=trim,
    )
    try:
        record = trace_file(path, wishes)
    except (TraceError, GeneratorError) as error:
        click.echo(str(error), err=True)
        sys.exit(Exit.CONFIG)
    click.echo(json.dumps(record, ensure_ascii=False, indent=1) if as_json else listing(record))
    nothing = all(failed(item) for items in sections_of(record).values() for item in items)
    sys.exit(Exit.FAILED if nothing else Exit.OK)
