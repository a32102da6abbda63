"""What layouts share that put a speaker's token before every turn: trimming, lessons and token types."""

from collections.abc import Container, Sequence

from bot.generator.dialects.base import BOT, Utterance, fitting


def newest(turns: Sequence[list[int]], max_tokens: int) -> list[list[int]]:
    """`fitting`, but a last turn that is too long keeps its first token, which says whose it is."""
    if turns and 0 < max_tokens < len(turns[-1]):
        last = turns[-1]
        return [[last[0], *last[len(last) - max_tokens + 1 :]]]
    return fitting(turns, max_tokens)


def before_each_reply(utterances: Sequence[Utterance], max_turns: int) -> list[Sequence[Utterance]]:
    """The dialogue up to each turn of the bot, that turn included, of at most `max_turns` turns: one lesson each."""
    return [
        utterances[max(0, n + 1 - max_turns) : n + 1]
        for n, utterance in enumerate(utterances)
        if utterance.speaker == BOT
    ]


def types_by_speaker(ids: Sequence[int], speakers: Container[int], first: int) -> list[int]:
    """Every token has the speaker's token before it for its type, that token itself too; what precedes all, `first`."""
    types = []
    current = first
    for token in ids:
        if token in speakers:
            current = token
        types.append(current)
    return types
