"""The tokenizer of a chat model: the library's own, with the template by which it writes messages.

A template joins text, so what somebody wrote could pass for the template's own control tokens. Here every rendered
talk remembers where the contents of the messages lie, and no control token is read out of those places.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bot.generator.errors import CheckpointError


@dataclass(frozen=True, slots=True)
class Message:
    """One entry of a talk as templates read it; `role` is system, user or assistant."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Rendered:
    """A talk as text, with the place of each message's content, first to last character, in the messages' order."""

    text: str
    contents: tuple[range, ...]


@dataclass(frozen=True, slots=True)
class Token:
    """One token of a rendered talk and the characters that it stands for."""

    id: int
    start: int
    end: int


class TemplateRefusal(CheckpointError):
    """The template does not write such a talk: it raises an error, or does not write each message once."""


class ChatTokenizer:
    """See `bot.generator.tokenization.base.TextTokenizer`; besides, the template and what the checkpoint recommends."""

    def __init__(self, library: Any, generation: Mapping[str, Any]) -> None:
        """`library` is a fast tokenizer of transformers with a chat template, `generation` its generation config.

        Raises CheckpointError if the tokenizer is none that gives the place of its tokens, or has no template.
        """
        if not getattr(library, "is_fast", False) or not isinstance(library.chat_template, str | dict):
            raise CheckpointError(
                f"{library.name_or_path}: the dialect chat-template needs a tokenizer.json and a chat template."
            )
        self._library = library
        self._backend = library.backend_tokenizer
        self._backend.no_truncation()
        self._backend.no_padding()
        self.generation = generation
        self.size: int = self._backend.get_vocab_size(with_added_tokens=True)
        added = self._backend.get_added_tokens_decoder()
        # Some vocabularies add runs of spaces or line breaks: those are text.
        self.control_ids = frozenset(i for i, token in added.items() if token.special or not token.content.isspace())
        self._names = {i: token.content for i, token in added.items()}

    @property
    def eos_token_id(self) -> int | None:
        """The token that ends a text."""
        found = self._library.eos_token_id
        return None if found is None else int(found)

    def id_of(self, token: str) -> int | None:
        """See `TextTokenizer.id_of`."""
        found = self._backend.token_to_id(token)
        return None if found is None else int(found)

    def piece(self, token_id: int) -> str:
        """See `TextTokenizer.piece`."""
        return str(self._backend.id_to_token(token_id) or "")

    def encode(self, text: str) -> list[int]:
        """See `TextTokenizer.encode`."""
        return [token.id for token in self.tokens(Rendered(text, (range(len(text)),)))]

    def decode(self, ids: Sequence[int]) -> str:
        """See `TextTokenizer.decode`."""
        return str(self._library.decode([i for i in ids if i not in self.control_ids]))

    def save(self, directory: Path) -> None:
        """Write the files of the library, template included."""
        directory.mkdir(parents=True, exist_ok=True)
        self._library.save_pretrained(directory)

    def render(self, messages: Sequence[Message], *, open_reply: bool) -> Rendered:
        """A talk as its template writes it, ready for the assistant's reply if `open_reply`. Raises TemplateRefusal.

        Where a template does more to a content than to strip it, the content stands there as it was written.
        """
        marks = [f"\ue000{number}\ue001" for number in range(len(messages))]
        marked = [Message(message.role, mark) for message, mark in zip(messages, marks, strict=True)]
        frame = self._apply(marked, open_reply)
        if any(frame.count(mark) != 1 for mark in marks):
            raise TemplateRefusal("the chat template leaves out or repeats what was said")
        order = sorted(range(len(messages)), key=lambda number: frame.index(marks[number]))
        contents = [messages[number].content for number in order]
        pieces = _split(frame, [marks[number] for number in order])
        placed = _placed(pieces, contents, self._written(messages, open_reply))
        return Rendered(placed.text, tuple(placed.contents[order.index(number)] for number in range(len(messages))))

    def tokens(self, rendered: Rendered) -> list[Token]:
        """The tokens of a rendered talk: the library's, unless a content spells a control token; that stays text."""
        self._backend.encode_special_tokens = False
        found: list[Token] = []
        waiting = [(0, len(rendered.text))]
        while waiting:
            start, end = waiting.pop()
            tokens = self._stretch(rendered.text, start, end)
            forged = [token for token in tokens if self._is_forged(token, rendered)]
            if forged:
                waiting.extend(reversed(_around(start, end, [self._name_place(token, rendered) for token in forged])))
            else:
                found.extend(tokens)
        return found

    def _stretch(self, text: str, start: int, end: int) -> list[Token]:
        """The tokens of a part of a text; some tokenizers would put a space in front of it, were it the beginning."""
        if start > 0:
            tokens = self._encoded("\n" + text[start:end], start - 1)
            inside = [token for token in tokens if token.end > start]
            if all(token.start >= start for token in inside):
                return inside
        return self._encoded(text[start:end], start)

    def _encoded(self, text: str, place: int) -> list[Token]:
        encoding = self._backend.encode(text, add_special_tokens=False)
        return [
            Token(token_id, place + first, place + last)
            for token_id, (first, last) in zip(encoding.ids, encoding.offsets, strict=True)
        ]

    def _written(self, messages: Sequence[Message], open_reply: bool) -> str | None:
        try:
            return self._apply(messages, open_reply)
        except TemplateRefusal:  # this template minds what the text is, not only who speaks
            return None

    def _apply(self, messages: Sequence[Message], open_reply: bool) -> str:
        talk = [{"role": message.role, "content": message.content} for message in messages]
        try:
            text = self._library.apply_chat_template(talk, tokenize=False, add_generation_prompt=open_reply)
        except Exception as error:  # a template is a program: it may raise what it likes
            raise TemplateRefusal(str(error) or type(error).__name__) from error
        return str(text)

    def _is_forged(self, token: Token, rendered: Rendered) -> bool:
        if token.id not in self.control_ids:
            return False
        place = self._name_place(token, rendered)
        return any(place.start < content.stop and content.start < place.stop for content in rendered.contents)

    def _name_place(self, token: Token, rendered: Rendered) -> range:
        """Where a control token's name is; what the token takes up may have spaces around it."""
        name = self._names[token.id]
        start = rendered.text.find(name, token.start, token.end)
        return range(token.start, token.end) if start < 0 else range(start, start + len(name))


def _split(frame: str, marks: Sequence[str]) -> list[str]:
    pieces = []
    for mark in marks:
        before, _, frame = frame.partition(mark)
        pieces.append(before)
    return [*pieces, frame]


def _placed(pieces: Sequence[str], contents: Sequence[str], written: str | None) -> Rendered:
    """The pieces of a template with the contents between them, each stripped if the template strips it."""
    chosen = None if written is None else _stripped_as_in(written, pieces, contents)
    return _joined(pieces, contents if chosen is None else chosen)


def _joined(pieces: Sequence[str], contents: Sequence[str]) -> Rendered:
    text = pieces[0]
    places = []
    for content, piece in zip(contents, pieces[1:], strict=True):
        places.append(range(len(text), len(text) + len(content)))
        text += content + piece
    return Rendered(text, tuple(places))


def _stripped_as_in(written: str, pieces: Sequence[str], contents: Sequence[str]) -> list[str] | None:
    """The contents as they stand in what a template wrote; None if they are not just stripped."""
    at = len(pieces[0])
    chosen = []
    for content, piece in zip(contents, pieces[1:], strict=True):
        ways = (content, content.strip(), content.lstrip(), content.rstrip())
        way = next((way for way in ways if written.startswith(way + piece, at)), None)
        if way is None:
            return None
        chosen.append(way)
        at += len(way) + len(piece)
    return chosen if _joined(pieces, chosen).text == written else None


def _around(start: int, end: int, names: Sequence[range]) -> list[tuple[int, int]]:
    """The stretches of a text in which the names are broken after their first character, or left out if they have one.

    A name of no character comes from a token that stands for nothing that was written; it needs no place.
    """
    stretches = []
    for name in names:
        cut = name.start + 1 if len(name) > 1 else name.start
        stretches.append((start, cut))
        start = cut if len(name) > 1 else name.stop
    return [(first, last) for first, last in [*stretches, (start, end)] if first < last]
