"""Chat models: messages with roles, written by the template that the tokenizer brings along.

The persona is the system message, people are the user, the bot is the assistant. Ids are those of transformers'
`apply_chat_template`; only where somebody typed a control token do they differ, for there it stays text.
"""

from bisect import bisect_left
from collections.abc import Container, Mapping, Sequence
from typing import Any

from bot.generator.decoding import Decoding
from bot.generator.dialects.base import BOT, IGNORED, Habits, Manner, TrainingExample, Utterance
from bot.generator.errors import CheckpointError
from bot.generator.tokenization.base import TextTokenizer
from bot.generator.tokenization.chat import ChatTokenizer, Message, Rendered, TemplateRefusal, Token

SYSTEM, USER, ASSISTANT = "system", "user", "assistant"

_MANNER = Manner(penalised="reply")
"""The persona is part of the context, and a bot must be able to say its own name."""
_REPLY_TOKENS = 64
_MOST_REPLY_TOKENS = 1024


class ChatTemplate:
    """Any causal model whose tokenizer has a chat template."""

    name = "chat-template"

    def __init__(self, tokenizer: TextTokenizer) -> None:
        """Raises CheckpointError if there is no template, or it does not write every message exactly once."""
        if not isinstance(tokenizer, ChatTokenizer):
            raise CheckpointError(
                "The checkpoint has no chat template (chat_template in tokenizer_config.json, or chat_template.jinja), "
                f"which the dialect {self.name} needs."
            )
        self._tokenizer = tokenizer
        try:
            talk = self._render([USER, ASSISTANT, USER], open_reply=True)
        except TemplateRefusal as error:
            raise CheckpointError(
                f"The checkpoint's chat template cannot be used safely ({error}). Choose another dialect or checkpoint."
            ) from error
        self._has_system = self._writes([SYSTEM, USER])
        self._user_opens = not self._writes([ASSISTANT, USER])
        self.vocabulary_size = tokenizer.size
        self.control_ids = tokenizer.control_ids
        self.stop_ids = _stop_ids(tokenizer, talk)
        if not self.stop_ids:
            raise CheckpointError("The checkpoint names no token that ends a reply (eos_token). Add it to config.json.")
        self.banned_ids = self.control_ids - self.stop_ids
        self.habits = Habits(decoding=_recommended(tokenizer.generation), manner=_MANNER)

    def encode(self, utterances: Sequence[Utterance], max_tokens: int, persona: Sequence[str] = ()) -> list[int]:
        """See `Dialect.encode`: the persona is never left out for the sake of the history."""
        if not utterances:
            raise ValueError("a context needs at least one utterance")
        if max_tokens < 1:
            raise ValueError(f"a context of {max_tokens} tokens has no room for its last utterance")
        last = len(utterances) - 1
        first = bisect_left(
            range(last), True, key=lambda start: len(self._context(utterances[start:], persona)) <= max_tokens
        )
        ids = self._context(utterances[first:], persona)
        return ids if len(ids) <= max_tokens else self._shortened(utterances[last], max_tokens, persona)

    def type_ids(self, ids: Sequence[int]) -> None:
        """See `Dialect.type_ids`: there are none."""

    def decode(self, ids: Sequence[int]) -> str:
        """See `Dialect.decode`."""
        return self._tokenizer.decode(ids)

    def example(
        self,
        utterances: Sequence[Utterance],
        learned_speakers: Container[int],
        max_tokens: int,
        persona: Sequence[str] = (),
    ) -> TrainingExample:
        """See `Dialect.example`: the assistant's messages are learned, with the token that ends them, and no other."""
        length = bisect_left(
            range(1, len(utterances) + 1),
            True,
            key=lambda count: len(self._tokens(self._messages(utterances[:count], persona))) > max_tokens,
        )
        if length == 0:
            return TrainingExample((), ())
        messages = self._messages(utterances[:length], persona)
        tokens = self._tokens(messages)
        learned = self._learned(messages, tokens) if BOT in learned_speakers else frozenset()
        return TrainingExample(
            tuple(token.id for token in tokens),
            tuple(token.id if place in learned else IGNORED for place, token in enumerate(tokens)),
        )

    def _context(self, utterances: Sequence[Utterance], persona: Sequence[str]) -> list[int]:
        rendered = self._tokenizer.render(self._messages(utterances, persona), open_reply=True)
        return [token.id for token in self._tokenizer.tokens(rendered)]

    def _shortened(self, utterance: Utterance, max_tokens: int, persona: Sequence[str]) -> list[int]:
        """The end of one utterance; where even an empty one does not fit, the persona goes, and then the layout."""
        for facts in (persona, ()):
            cut = bisect_left(
                range(len(utterance.text)),
                True,
                key=lambda cut: len(self._context([_without(utterance, cut)], facts)) <= max_tokens,
            )
            ids = self._context([_without(utterance, cut)], facts)
            if len(ids) <= max_tokens:
                return ids
        return ids[-max_tokens:]

    def _messages(self, utterances: Sequence[Utterance], persona: Sequence[str]) -> list[Message]:
        """What one side says in a row is one message; the first is the user's where the template insists."""
        messages: list[Message] = []
        for utterance in utterances:
            role = ASSISTANT if utterance.speaker == BOT else USER
            if messages and messages[-1].role == role:
                messages[-1] = Message(role, f"{messages[-1].content}\n{utterance.text}")
            else:
                messages.append(Message(role, utterance.text))
        if self._user_opens and messages and messages[0].role == ASSISTANT:
            # A talk of which nothing else is left keeps its words: the user said nothing so far.
            messages = messages[1:] or [Message(USER, ""), *messages]
        if not persona or not messages:
            return messages
        facts = "\n".join(persona)
        if self._has_system:
            return [Message(SYSTEM, facts), *messages]
        if messages[0].role != USER:
            return [Message(USER, facts), *messages]
        return [Message(USER, f"{facts}\n\n{messages[0].content}"), *messages[1:]]

    def _tokens(self, messages: Sequence[Message]) -> list[Token]:
        return self._tokenizer.tokens(self._tokenizer.render(messages, open_reply=False))

    def _learned(self, messages: Sequence[Message], tokens: Sequence[Token]) -> frozenset[int]:
        """The places of the tokens that the assistant writes: from where its reply opens to where it ends."""
        whole = self._tokenizer.render(messages, open_reply=False)
        places: set[int] = set()
        for number, message in enumerate(messages):
            if message.role != ASSISTANT:
                continue
            content = whole.contents[number]
            limit = whole.contents[number + 1].start if number + 1 < len(messages) else len(whole.text)
            start = self._opening(messages[:number], whole, content)
            places |= self._written_between(tokens, start, content.stop, limit)
        return frozenset(places)

    def _opening(self, earlier: Sequence[Message], whole: Rendered, content: range) -> int:
        """Where a reply begins for a model that goes on after the earlier messages."""
        if earlier:
            context = self._tokenizer.render(earlier, open_reply=True).text
            if whole.text.startswith(context) and len(context) <= content.start:
                return len(context)
        return content.start

    def _written_between(self, tokens: Sequence[Token], start: int, content_end: int, limit: int) -> set[int]:
        inside = [place for place, token in enumerate(tokens) if start <= token.start and token.end <= limit]
        for place in inside:
            if tokens[place].start >= content_end and tokens[place].id in self.stop_ids:
                return {learned for learned in inside if learned <= place}
        return {learned for learned in inside if tokens[learned].start < content_end}

    def _render(self, roles: Sequence[str], *, open_reply: bool) -> Rendered:
        return self._tokenizer.render([Message(role, "x") for role in roles], open_reply=open_reply)

    def _writes(self, roles: Sequence[str]) -> bool:
        try:
            self._render(roles, open_reply=True)
        except TemplateRefusal:
            return False
        return True


def _without(utterance: Utterance, characters: int) -> Utterance:
    return Utterance(utterance.speaker, utterance.text[characters:])


def _stop_ids(tokenizer: ChatTokenizer, talk: Rendered) -> frozenset[int]:
    """What the checkpoint names as the end of a text, and the control token that follows what the assistant said."""
    named = tokenizer.generation.get("eos_token_id")
    stops = {int(stop) for stop in (named if isinstance(named, list) else [named]) if stop is not None}
    if tokenizer.eos_token_id is not None:
        stops.add(tokenizer.eos_token_id)
    said = talk.contents[1].stop
    for token in tokenizer.tokens(talk):
        if token.start < said or not talk.text[token.start : token.end].strip():  # a space may stand before it
            continue
        if token.id in tokenizer.control_ids:
            stops.add(token.id)
        break
    return frozenset(stop for stop in stops if 0 <= stop < tokenizer.size)


def _recommended(generation: Mapping[str, Any]) -> Decoding:
    """How the checkpoint's authors decode (generation_config.json), greedily if they do not say.

    Such models can write for minutes; without advice a reply ends after what one reads in a chat.
    """
    sampled = bool(generation.get("do_sample", False))
    longest = generation.get("max_new_tokens") or _REPLY_TOKENS
    return Decoding(
        candidates=1,
        max_new_tokens=min(int(longest), _MOST_REPLY_TOKENS),
        min_new_tokens=0,
        temperature=float(generation.get("temperature") or 1.0) if sampled else 0.0,
        top_k=int(generation.get("top_k", 50) or 0) if sampled else 0,
        top_p=float(generation.get("top_p") or 1.0) if sampled else 1.0,
        repetition_penalty=float(generation.get("repetition_penalty") or 1.0),
        no_repeat_ngram=int(generation.get("no_repeat_ngram_size") or 0),
    )
