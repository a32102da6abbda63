"""The dialects by name."""

from collections.abc import Callable

from bot.generator.dialects.base import Dialect
from bot.generator.dialects.chat_template import ChatTemplate
from bot.generator.dialects.chitchat import Chitchat
from bot.generator.dialects.devjwsong import Devjwsong
from bot.generator.dialects.dialogpt import DialoGPT
from bot.generator.dialects.pingpong import PingPongGPT, PingPongMeena
from bot.generator.dialects.transfertransfo import TransferTransfo
from bot.generator.errors import CheckpointError
from bot.generator.tokenization.base import TextTokenizer

DIALECTS: dict[str, Callable[[TextTokenizer], Dialect]] = {
    DialoGPT.name: DialoGPT,
    ChatTemplate.name: ChatTemplate,
    PingPongGPT.name: PingPongGPT,
    PingPongMeena.name: PingPongMeena,
    Chitchat.name: Chitchat,
    Devjwsong.name: Devjwsong,
    TransferTransfo.name: TransferTransfo,
}


def dialect_named(name: str, tokenizer: TextTokenizer) -> Dialect:
    """The dialect of that name over a tokenizer. Raises CheckpointError for an unknown one."""
    try:
        family = DIALECTS[name]
    except KeyError:
        raise CheckpointError(f"There is no dialect {name!r}. Known: auto, {', '.join(sorted(DIALECTS))}.") from None
    return family(tokenizer)
