"""The dialects by name."""

from tokenizers import Tokenizer

from bot.generator.dialects.base import Dialect
from bot.generator.dialects.dialogpt import DialoGPT
from bot.generator.errors import CheckpointError

DIALECTS = {DialoGPT.name: DialoGPT}


def dialect_named(name: str, tokenizer: Tokenizer) -> Dialect:
    """The dialect of that name over a tokenizer. Raises CheckpointError for an unknown one."""
    try:
        family = DIALECTS[name]
    except KeyError:
        raise CheckpointError(f"There is no dialect {name!r}. Known: auto, {', '.join(sorted(DIALECTS))}.") from None
    return family(tokenizer)
