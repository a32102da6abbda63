"""The page that goes with a converted checkpoint: where it came from and how it is used."""

from bot.generator.conversion.describe import Description
from bot.generator.dialects.base import Dialect, Habits, Utterance
from bot.generator.formats.base import Architecture, Checkpoint, Role

_EXAMPLE = (Utterance(1, "Hello!"), Utterance(0, "Hi."), Utterance(1, "How are you?"))
_OWN_NETWORKS = (Architecture.PINGPONG_GPT, Architecture.PINGPONG_MEENA)


def model_card(checkpoint: Checkpoint, found: Description, dialect: Dialect, *, dtype: str, family: str | None) -> str:
    """README.md of a checkpoint that was converted from `checkpoint`, which `found` describes."""
    title = f"{checkpoint.path.stem} ({checkpoint.system}), converted by Banter"
    sections = [
        _front_matter(checkpoint, family),
        f"# {title}\n",
        _origin(checkpoint, found, dtype),
        _sizes(found),
        _layout(checkpoint, dialect, found),
        _use(checkpoint, family),
    ]
    return "\n".join(sections)


def _front_matter(checkpoint: Checkpoint, family: str | None) -> str:
    task = "text-classification" if checkpoint.role is Role.RANKER else "text-generation"
    library = f"library_name: transformers\npipeline_tag: {task}\n" if family else ""
    tags = [checkpoint.system, checkpoint.dialect, "conversational", "banter"]
    listed = "".join(f"  - {tag}\n" for tag in dict.fromkeys(tags))
    return f"---\nlicense: unknown - see the source\n{library}tags:\n{listed}---\n"


def _origin(checkpoint: Checkpoint, found: Description, dtype: str) -> str:
    rows = "".join(f"| {file.name} | {file.bytes:,} | `{file.sha256}` |\n" for file in found.files)
    notes = "".join(f"- {note}\n" for note in found.notes)
    return (
        "## Source\n\n"
        f"Converted without training from `{checkpoint.path.name}` (system {checkpoint.system}, revision "
        f"{found.revision}); the weights are stored as {dtype}. The licence is that of the source.\n\n"
        f"| file | bytes | SHA-256 |\n| --- | --- | --- |\n{rows}"
        + (f"\nWhat was assumed:\n\n{notes}" if notes else "")
    )


def _sizes(found: Description) -> str:
    sizes = "".join(f"| {name.replace('_', ' ')} | {value:,} |\n" for name, value in found.sizes.items())
    words = found.vocabulary
    return (
        "## Sizes\n\n| what | how much |\n| --- | --- |\n"
        f"| parameters | {found.parameters:,} |\n{sizes}"
        f"| tokens | {words.tokenizer:,} |\n| rows of the embedding | {words.embedding_rows:,} |\n"
    )


def _layout(checkpoint: Checkpoint, dialect: Dialect, found: Description) -> str:
    names = {token_id: name for name, token_id in found.vocabulary.controls.items()}
    turns = _EXAMPLE[-1:] if checkpoint.role is Role.RANKER else _EXAMPLE
    ids = dialect.encode(turns, 64)
    written = " ".join(names.get(token_id, str(token_id)) for token_id in ids)
    stops = ", ".join(f"`{names.get(token_id, token_id)}`" for token_id in sorted(dialect.stop_ids))
    said = " / ".join(f'"{turn.text}"' for turn in turns)
    purpose = (
        "A head reads the turns so, then the reply without its end, and scores at the reply's last token; the score "
        "is the logistic function of the one logit.\n"
        if checkpoint.role is Role.RANKER
        else _habits(dialect.habits, stops)
    )
    return (
        f"## Layout\n\nThe dialect is `{dialect.name}`. {said} is written as these ids (structure by name):\n\n"
        f"    {written}\n\n{purpose}"
    )


def _habits(habits: Habits, stops: str) -> str:
    turns = "without a limit" if habits.turns is None else f"up to {habits.turns} turns"
    manner = habits.manner
    other = []
    if manner.penalty == "divide":
        other.append("its repetition penalty divides every score, also a negative one")
    if manner.penalised == "reply":
        other.append("only the reply counts as said for the repetition penalty")
    if manner.beam_length == "sequence":
        other.append("a beam's score is divided by the length of context and reply together")
    if manner.beam_must_stop:
        other.append("beam search must stop at the last position")
    beyond = f" Transformers cannot say the following, Banter does it: {'; '.join(other)}.\n" if other else "\n"
    return (
        f"A reply ends with {stops}. Its authors' program reads the history {turns}; how it decodes is in "
        f"`generation_config.json`.{beyond}"
    )


def _use(checkpoint: Checkpoint, family: str | None) -> str:
    if checkpoint.role is Role.RANKER:
        banter = (
            f"ranking:\n  prior:\n    - {{name: {checkpoint.path.stem}, checkpoint: THIS-DIRECTORY, weight: 1.0}}\n"
        )
    else:
        banter = "model: {checkpoint: THIS-DIRECTORY, dialect: auto}\n"
    text = f"## Use\n\nIn Banter's config.yaml:\n\n```yaml\n{banter}```\n"
    if family is None:
        return text + "\nTransformers has no such network; Banter brings it.\n"
    return text + (
        f"\nIn transformers:\n\n```python\nfrom transformers import {family}\n\n"
        f'model = {family}.from_pretrained("THIS-DIRECTORY")\n```\n'
    )
